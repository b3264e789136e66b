"""The hash of a file and of a folder."""

import hashlib

import pytest

from manifests.ground.content_hash import sha256_of


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    (tmp_path / "scan").write_bytes(b"voxels")
    assert sha256_of(tmp_path / "scan") == hashlib.sha256(b"voxels").hexdigest()


@pytest.fixture
def masks(tmp_path):
    for name, content in (("a/liver", b"1"), ("a/spleen", b"2"), ("kidney", b"3")):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "masks" / name).write_bytes(content)
    return tmp_path / "masks"


@pytest.mark.parametrize(
    "moves",
    [
        [("a/liver", "x"), ("a/spleen", "a/liver"), ("x", "a/spleen")],  # exchanged
        [("a/liver", "a/lung")],  # in the same order as before
        [("a", "b")],
    ],
)
def test_the_hash_of_a_folder_changes_with_names(masks, moves):
    before = sha256_of(masks)
    for old, new in moves:
        (masks / old).rename(masks / new)
    assert sha256_of(masks) != before


def test_the_hash_of_a_folder_stays_where_it_is_moved(masks):
    before = sha256_of(masks)
    assert sha256_of(masks.rename(masks.with_name("other"))) == before


def test_bytes_that_go_from_one_file_to_the_next_change_the_hash(masks):
    before = sha256_of(masks)
    (masks / "a" / "liver").write_bytes(b"12")
    (masks / "a" / "spleen").write_bytes(b"")
    assert sha256_of(masks) != before
