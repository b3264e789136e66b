"""Kills at any moment, damage between runs, a full disk, two runs at once: nothing is lost."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from curate.phantom.archives import write_phantom_archives
from curate.preparation.output_folder import exclusive
from manifests.ground.alone import InUseError
from manifests.ground.unpack import unpack
from manifests.table.manifest import read_manifest
from manifests.table.validate import validate
from tests.curate.preparation.host import INCOMPLETE, REFUSED, SET_ASIDE

ROOT = Path(__file__).parents[3]
LOCK = ".prepare.lock"
RECIPES = ("btcv", "kits19", "msd_liver")
CASES = {"btcv": 1, "kits19": 2, "msd_liver": 3}
SPACING_MM, OTHER_SPACING_MM = (8.0, 8.0, 8.0), (10.0, 10.0, 10.0)
KILLS = 30
SERIES = 5  # folders, with as many kills each


class Host:
    """A process that runs `prepare` in children which can be killed."""

    def __init__(self, raw):
        self.raw = raw
        self.log = raw.with_name("host.log")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.curate.preparation.host"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def start(self, out, *, spacing_mm=SPACING_MM, recipes=RECIPES, **options):
        request = {"recipes": recipes, "raw": str(self.raw), "out": str(out), **options}
        self.process.stdin.write(json.dumps({**request, "spacing_mm": spacing_mm}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ended(self):
        """The exit code of what was started last."""
        return int(self.process.stdout.readline())

    def run(self, out, **options):
        self.start(out, **options)
        return self.ended()

    def kill(self, out, seconds, **options):
        """Start a run and kill it with its workers after a while; whether it was still at work."""
        group = self.start(out, **options)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it had ended
            os.killpg(group, signal.SIGKILL)
        return self.ended() == -signal.SIGKILL


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Two archives, and an unpacked dataset of which one case cannot be read."""
    folder = tmp_path_factory.mktemp("raw")
    write_phantom_archives(folder, seed=3, cases=CASES, spacing_mm=(8.0, 8.0))
    unpack(folder / "Task03_Liver.tar", folder / "msd_liver")
    (folder / "Task03_Liver.tar").unlink()
    images = sorted((folder / "msd_liver").glob("*/imagesTr/*.nii.gz"))
    images[0].write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def host(raw):
    host = Host(raw)
    with host.process:
        yield host
        host.process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(host, tmp_path_factory):
    """What a run that nothing disturbs gives, and how long it takes in seconds."""
    seconds = []
    for _ in range(2):
        out = tmp_path_factory.mktemp("undisturbed")
        start = time.perf_counter()
        assert host.run(out) == SET_ASIDE
        seconds.append(time.perf_counter() - start)
    return tree(out), min(seconds)


def tree(out):
    """All files below a folder; of a record, what does not tell when archives were unpacked."""
    return {path.relative_to(out).as_posix(): content(path) for path in files_of(out)}


def files_of(out):
    return [path for path in out.rglob("*") if path.is_file() and path.name != LOCK]


def content(path):
    if path.name != "case.json":
        return path.read_bytes()
    record = json.loads(path.read_text())
    return {key: record[key] for key in ("settings", "recipe", "bytes", "row")}


def half_cases(out, spoilt):
    """Cases whose record tells of other volumes than lie there, unless we spoilt them."""
    excused = {path.parent for path, left in spoilt.items() if holds(path, left)}
    for record in out.glob("cases/*/*/case.json"):
        volumes = [record.with_name(f"{name}.nii") for name in ("image", "label")]
        if record.parent not in excused and all(path.exists() for path in volumes):
            row = json.loads(record.read_text())["row"]
            if list(map(sha256, volumes)) != [row["image_sha256"], row["label_sha256"]]:
                yield record.parent


def is_readable(manifest, spoilt):
    """Whether a manifest is whole, unless it is not there or we spoilt it."""
    left = not manifest.exists() or holds(manifest, spoilt.get(manifest))
    return left or len(read_manifest(manifest)) > 0


def holds(path, left):
    return path.is_file() and path.read_bytes() == left


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# What may happen to a folder between two runs; each is given the folder and a source of chance.


def delete_an_output(out, chance):
    for path in pick(out, chance, "cases/*/*/*"):
        path.unlink()


def delete_a_dataset(out, chance):
    for path in pick(out, chance, "cases/*"):
        shutil.rmtree(path)


def delete_an_unpacked_dataset(out, chance):
    for path in pick(out, chance, "unpacked/*"):
        shutil.rmtree(path)


def delete_a_list(out, chance):
    for path in pick(out, chance, "[a-z]*.*"):
        path.unlink()


def truncate_a_file(out, chance):
    for path in pick(out, chance, "cases/*/*/*"):
        os.truncate(path, path.stat().st_size // 2)


def truncate_a_list(out, chance):
    for path in pick(out, chance, "[a-z]*.*"):
        os.truncate(path, path.stat().st_size // 2)


def flip_a_bit(out, chance):
    for path in pick(out, chance, "cases/*/*/*"):
        flipped = bytearray(path.read_bytes())
        flipped[chance.randrange(len(flipped))] ^= 1
        path.write_bytes(flipped)


def add_a_case_that_is_no_more(out, chance):
    for path in pick(out, chance, "cases/*/*/case.json"):
        if path.parent.name != "gone":
            shutil.copytree(path.parent, path.parent.with_name("gone"), dirs_exist_ok=True)


def leave_what_other_runs_left(out, chance):
    names = [
        *(".0a.partial.manifest.parquet", ".0b.partial.rejected.csv"),
        *(".partial/0c/1/cases/btcv/0001/image.nii", "unpacked/btcv.partial/RawData/x"),
        "cases/kits19/.0d.partial.dataset.json",
    ]
    for name in chance.sample(names, 3):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"half")


DISTURBANCES = (
    *(delete_an_output, delete_a_dataset, delete_an_unpacked_dataset, delete_a_list),
    *(truncate_a_file, truncate_a_list, flip_a_bit),
    *(add_a_case_that_is_no_more, leave_what_other_runs_left),
)


def pick(out, chance, pattern):
    """One path of a pattern, if there is any."""
    found = sorted(path for path in out.glob(pattern) if path.name != LOCK)
    return [chance.choice(found)] if found else []


def disturb(out, chance, spoilt):
    """Do one of them; the files that it spoilt are noted with what they hold now."""
    before = {path: path.read_bytes() for path in files_of(out)}
    chance.choice(DISTURBANCES)(out, chance)
    for path in files_of(out):
        if not holds(path, before.get(path)):
            spoilt[path] = path.read_bytes()


@pytest.mark.slow
def test_kills_and_damage_leave_no_trace_after_one_clean_run(host, undisturbed, tmp_path):
    whole, seconds = undisturbed
    chance = Random(8)
    for series in range(SERIES):
        out, spoilt, kills = tmp_path / str(series), {}, 0
        while kills < KILLS // SERIES:
            spacing_mm = OTHER_SPACING_MM if chance.random() < 0.2 else SPACING_MM
            kills += host.kill(out, chance.uniform(0, seconds), spacing_mm=spacing_mm)
            assert list(half_cases(out, spoilt)) == []
            assert is_readable(out / "manifest.parquet", spoilt)
            disturb(out, chance, spoilt)
        assert host.run(out, verify=True) == SET_ASIDE
        for copy in out.glob("cases/*/gone"):  # what is no case of ours stays
            shutil.rmtree(copy)
        assert tree(out) == whole
        assert validate(out, hashes=True) == []


@pytest.mark.slow
def test_the_command_survives_being_killed(raw, undisturbed, tmp_path):
    """The same by the command itself, whose workers import everything anew."""
    command = [sys.executable, "-m", "marginalia", "prepare", *RECIPES, "--jobs", "2"]
    command += ["--raw", str(raw), "--spacing", *map(str, SPACING_MM), "--out"]
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "start_new_session": True}
    start = time.perf_counter()
    assert subprocess.run([*command, str(tmp_path / "whole")], **quiet).returncode == SET_ASIDE
    seconds = time.perf_counter() - start
    out = tmp_path / "killed"
    for share in (0.6, 0.85):
        with subprocess.Popen([*command, str(out)], **quiet) as process:
            time.sleep(share * seconds)
            os.killpg(process.pid, signal.SIGKILL)
    assert subprocess.run([*command, str(out)], **quiet).returncode == SET_ASIDE
    assert tree(out) == tree(tmp_path / "whole") == undisturbed[0]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_workers_end_when_their_parent_is_killed(host, tmp_path):
    parent = host.start(tmp_path / "out")
    wait_until(lambda: len(group_of(parent)) == 3)  # with two workers
    os.kill(parent, signal.SIGKILL)
    assert host.ended() == -signal.SIGKILL
    wait_until(lambda: group_of(parent) == [])


def wait_until(holds):
    for _ in range(6000):
        if holds():
            return
        time.sleep(0.01)
    pytest.fail("it never came to that")


def group_of(pid):
    """The living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, group = path.read_text().rpartition(")")[2].split()[:3]
            found += [path.parent.name] if group == str(pid) and state not in "ZX" else []
    return found


def test_a_disk_that_takes_no_more_leaves_no_half_case(host, undisturbed, tmp_path):
    out = tmp_path / "out"
    assert host.run(out) == SET_ASIDE
    images = sorted(out.glob("cases/*/*/image.nii"), key=lambda p: p.stat().st_size)
    for path in images:
        path.unlink()
    room = images_bytes(undisturbed[0])[-1] - 1  # for all but the largest
    assert host.run(out, file_bytes=room) == INCOMPLETE
    assert list(half_cases(out, {})) == []
    assert "not_written" in (out / "rejected.csv").read_text()
    assert len(read_manifest(out)) == len(images) - 1
    assert validate(out, hashes=True) == []
    assert host.run(out) == SET_ASIDE
    assert tree(out) == undisturbed[0]


def images_bytes(files):
    return sorted(len(held) for path, held in files.items() if path.endswith("image.nii"))


def test_a_disk_without_room_for_a_manifest_is_an_error(host, undisturbed, tmp_path):
    out = tmp_path / "out"
    assert host.run(out) == SET_ASIDE
    (out / "manifest.parquet").unlink()
    assert host.run(out, file_bytes=1000) == REFUSED
    assert "make room" in host.log.read_text()
    assert host.run(out) == SET_ASIDE
    assert tree(out) == undisturbed[0]


HOLDER = """
import sys
from pathlib import Path
from curate.preparation.output_folder import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_refused_at_once_and_a_killed_one_gives_the_folder_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InUseError, match=str(tmp_path)), exclusive(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with exclusive(tmp_path), exclusive(tmp_path):
            assert (tmp_path / LOCK).exists()
