"""The record of a case is believed only where it tells the truth."""

from pathlib import Path

import pytest

from curate.cases.record import move_case

NAMES = ("image.nii", "label.nii", "case.json")


class KilledError(Exception):
    """Stands for the moment at which the process is killed."""


def write(folder, word, names=NAMES):
    folder.mkdir()
    for name in names:
        (folder / name).write_text(word)
    return folder


@pytest.mark.parametrize("steps", range(5))
def test_a_case_that_is_moved_has_a_record_only_when_it_is_whole(tmp_path, monkeypatch, steps):
    made, folder = write(tmp_path / "made", "new"), write(tmp_path / "case", "old")
    left = iter(range(steps))
    for method in ("replace", "unlink"):
        monkeypatch.setattr(f"pathlib.Path.{method}", stopping(method, left))
    if steps < 4:
        with pytest.raises(KilledError):
            move_case(made, folder)
    else:
        move_case(made, folder)
    told = (folder / "case.json").exists()
    words = {(folder / name).read_text() for name in NAMES if (folder / name).exists()}
    assert not told or len(words) == 1
    assert (told and words == {"new"}) == (steps == 4)


def stopping(method, left):
    """The same method, until nothing is left to be done."""
    real = getattr(Path, method)

    def call(*arguments, **options):
        if next(left, None) is None:
            raise KilledError
        return real(*arguments, **options)

    return call


def test_a_new_record_alone_leaves_the_volumes(tmp_path):
    made = write(tmp_path / "made", "new", names=["case.json"])
    folder = write(tmp_path / "case", "old")
    move_case(made, folder)
    assert [(folder / name).read_text() for name in NAMES] == ["old", "old", "new"]
