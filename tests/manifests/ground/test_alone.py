"""A folder that one run at a time writes to."""

import pytest
from filelock import FileLock

from manifests.ground.alone import InUseError, alone


def test_a_folder_in_which_nothing_was_written_is_gone_afterwards(tmp_path):
    with pytest.raises(FileNotFoundError), alone(tmp_path / "new", command="a"):
        (tmp_path / "nothing").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_or_holds_something_stays(tmp_path):
    (tmp_path / "old").mkdir()
    for name in ("old", "new"):
        with alone(tmp_path / name, command="a"):
            (tmp_path / "new").mkdir(exist_ok=True)
            (tmp_path / "new" / "result").touch()
    assert (tmp_path / "old").is_dir()
    assert (tmp_path / "new" / "result").exists()


def test_a_second_run_is_refused_and_takes_nothing_away(tmp_path):
    with FileLock(tmp_path / ".a.lock"):  # of another process
        with pytest.raises(InUseError), alone(tmp_path, command="a"):
            pass
        assert (tmp_path / ".a.lock").exists()
