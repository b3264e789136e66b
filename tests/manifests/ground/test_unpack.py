"""Archives from elsewhere: what is good comes out whole, what is bad leaves nothing behind."""

import gzip
import io
import stat
import tarfile
import tracemalloc
import zipfile
from itertools import product

import pytest

from manifests.ground.errors import SourceError
from manifests.ground.unpack import unpack


def write_tar(path, entries, mode="w"):
    with tarfile.open(path, mode) as tar:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                tar.addfile(info)
    return path


def write_zip(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


GOOD = {"a/one.txt": b"1", "a/b/two.txt": b"22", "a/._one.txt": b"junk", "__MACOSX/a/x": b"junk"}


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "zip"])
def test_plain_files_come_out_and_junk_does_not(tmp_path, suffix):
    path = tmp_path / f"data.{suffix}"
    if suffix == "zip":
        write_zip(path, GOOD)
    else:
        write_tar(path, GOOD, "w:gz" if suffix == "tar.gz" else "w")
    seen = []
    unpack(path, tmp_path / "out", notify=lambda done, total: seen.append((done, total)))
    files = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file()
    }
    assert files == {"a/one.txt": b"1", "a/b/two.txt": b"22"}
    assert seen[-1] == (3, 3)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "C:/evil"])
@pytest.mark.parametrize("writer", [write_tar, write_zip])
def test_paths_outside_are_refused(tmp_path, name, writer):
    path = writer(tmp_path / "data", {"good": b"1", name: b"2"})
    with pytest.raises(SourceError, match="leaves the folder"):
        unpack(path, tmp_path / "deep" / "out")
    assert not list((tmp_path / "deep").iterdir())
    assert not list(tmp_path.glob("evil*"))


@pytest.mark.parametrize(
    "content",
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "good"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, content):
    path = write_tar(tmp_path / "data.tar", {"good": b"1", "bad": content})
    with pytest.raises(SourceError, match="link, a device or sparse"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("bad")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="link, a device or sparse"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("keep", [0.5, 0.95])
def test_truncated_archive_leaves_nothing(tmp_path, keep):
    path = write_tar(tmp_path / "data.tar.gz", {"a": bytes(range(256)) * 400}, "w:gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["data.tar.gz"]


def test_too_large_for_the_disk_is_refused_with_the_numbers(tmp_path, monkeypatch):
    path = write_tar(tmp_path / "data.tar", {"a": b"12345"})
    monkeypatch.setattr(
        "manifests.ground.unpack.shutil.disk_usage", lambda _: type("U", (), {"free": 4})
    )
    with pytest.raises(SourceError, match=r"unpacks to 5 bytes.* has 4 free"):
        unpack(path, tmp_path / "out")


# --- bombs ------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
    """Limits that a test can reach: ten times the archive, or a tenth of a megabyte."""
    monkeypatch.setattr("manifests.ground.archive.MAX_RATIO", 10)
    monkeypatch.setattr("manifests.ground.archive.SMALL_BYTES", 100_000)


def compressed(path, entries):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        return path
    return write_tar(path, entries, f"w:{path.suffix[1:]}")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
@pytest.mark.parametrize("entries", [1, 40])
@pytest.mark.usefixtures("small")
def test_a_bomb_is_refused_with_the_numbers(tmp_path, suffix, entries):
    content = {f"zeros{n}": bytes(4_000_000 // entries) for n in range(entries)}
    path = compressed(tmp_path / f"bomb.{suffix}", content)
    size = path.stat().st_size
    with pytest.raises(SourceError, match="refused as a bomb") as error:
        unpack(path, tmp_path / "out")
    assert f"has {size:,} bytes" in str(error.value)
    assert f"at most {max(100_000, 10 * size):,} bytes (10 times" in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("small")
def test_a_bomb_among_what_is_passed_over_is_not_even_read(tmp_path):
    path = compressed(tmp_path / "bomb.tar.gz", {"__MACOSX/zeros": bytes(4_000_000), "a": b"1"})
    with pytest.raises(SourceError, match="refused as a bomb"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_what_compresses_well_and_is_small_is_no_bomb(tmp_path, suffix):
    path = compressed(tmp_path / f"masks.{suffix}", {"zeros": bytes(4_000_000)})
    unpack(path, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").read_bytes() == bytes(4_000_000)


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("manifests.ground.unpack.MAX_ENTRIES", 5)
    with pytest.raises(SourceError, match="entries"):
        unpack(write_tar(tmp_path / "d.tar", {f"{n}": b"" for n in range(6)}), tmp_path / "out")
    unpack(write_tar(tmp_path / "d.tar", {f"{n}": b"" for n in range(5)}), tmp_path / "out")


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path):
    path = compressed(tmp_path / "data.zip", {"a": bytes(5000)})
    content = path.read_bytes()
    lie, truth = (n.to_bytes(4, "little") for n in (50, 5000))
    assert content.count(truth) == 2
    path.write_bytes(content.replace(truth, lie))
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_whose_header_asks_for_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 3 << 30
    path = tmp_path / "data.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1 << 20)))
    tracemalloc.start()
    with pytest.raises(SourceError, match="expected headers of"):
        unpack(path, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_a_sparse_entry_is_refused(tmp_path):
    info = tarfile.TarInfo("sparse")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"77777777777\0"  # its real size: 8 GB, without a byte in the archive
    block[148:156] = b"        "
    block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "data.tar").write_bytes(block + bytes(1024))
    with pytest.raises(SourceError, match="sparse"):
        unpack(tmp_path / "data.tar", tmp_path / "out")


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writer", "names"),
    list(
        product(
            ["tar", "zip"],
            [("a/x", "a/x"), ("a/x", "A/X"), ("a/x", "./a/x"), ("\u00e9", "e\u0301")],
        )
    ),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_that_are_one_file_are_refused(tmp_path, writer, names):
    path = tmp_path / f"data.{writer}"
    if writer == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, name)
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                info = tarfile.TarInfo(name)
                info.size = 1
                archive.addfile(info, io.BytesIO(b"1"))
    with pytest.raises(SourceError, match="are one file"):
        unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_file_where_a_folder_must_be_leaves_nothing(tmp_path):
    path = write_tar(tmp_path / "data.tar", {"a": b"1", "a/b": b"2"})
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["data.tar"]
