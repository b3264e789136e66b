"""Archives from elsewhere: what is good comes out whole, what is bad leaves nothing behind."""

import io
import stat
import tarfile
import zipfile

import pytest

from curate.unpack import unpack
from manifests.errors import SourceError


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
    with pytest.raises(SourceError, match="link or a device"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_in_a_zip_are_refused(tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("bad")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="link or a device"):
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
    monkeypatch.setattr("curate.unpack.shutil.disk_usage", lambda _: type("U", (), {"free": 4}))
    with pytest.raises(SourceError, match=r"unpacks to 5 bytes.* has 4 free"):
        unpack(path, tmp_path / "out")
