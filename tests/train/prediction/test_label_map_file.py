"""Label map files: what is one of ours, and what is not."""

import gzip

import pytest

from train.prediction.label_map_file import note_of


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x1f\x8b" + bytes(500),
        b"\x1f\x8b\x08" + b"\xff" * 500,
        gzip.compress(bytes(range(256)) * 4)[:200],
    ],
)
def test_a_damaged_file_is_no_label_map_of_ours(tmp_path, content):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert note_of(tmp_path / "a.nii.gz") == ""
