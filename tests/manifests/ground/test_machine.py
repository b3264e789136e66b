"""Machine: shares of cores and memory, as Linux tells them."""

import os

import pytest

from manifests.ground import machine
from manifests.ground.machine import usable_bytes, usable_cores, usable_workers

GB = 10**9


@pytest.fixture
def share(tmp_path, monkeypatch):
    """Make a machine of 128 cores and 512 GB, with control groups as given."""

    def make(own, files, affinity=128):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "groups" / name).write_text(text + "\n")
        monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "own")
        monkeypatch.setattr(machine, "GROUPS", tmp_path / "groups")
        monkeypatch.setattr(os, "cpu_count", lambda: 128)
        affine = set(range(affinity))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: affine, raising=False)
        pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 512 * GB // 4096}
        monkeypatch.setattr(os, "sysconf", pages.__getitem__)

    return make


V2 = "0::/system.slice/job_7/step_0\n"
V1 = "4:memory:/slurm/job_7\n3:cpuset:/slurm/job_7\n2:cpu,cpuacct:/slurm/job_7\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 128),
        (V2, {"system.slice/job_7/step_0/cpu.max": "max 100000"}, 128),
        (V2, {"system.slice/job_7/step_0/cpu.max": "250000 100000"}, 3),
        (
            V2,
            {
                "system.slice/job_7/step_0/cpu.max": "max 100000",
                "system.slice/job_7/cpu.max": "800000 100000",
                "system.slice/cpu.max": "max 100000",
            },
            8,
        ),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),  # in a container
        ("0::/../../other\n", {"cpu.max": "200000 100000"}, 2),
        (V2, {"unified/system.slice/job_7/cpu.max": "400000 100000"}, 4),
        (V2, {"system.slice/job_7/cpu.max": "strange"}, 128),
        (
            V1,
            {
                "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "600000",
                "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
            },
            6,
        ),
        (
            V1,
            {
                "cpu/slurm/job_7/cpu.cfs_quota_us": "-1",
                "cpu/slurm/job_7/cpu.cfs_period_us": "100000",
                "cpu/cpu.cfs_quota_us": "100000",
                "cpu/cpu.cfs_period_us": "50000",
            },
            2,
        ),
    ],
)
def test_cores_are_those_of_every_group_that_the_process_is_in(share, own, files, expected):
    share(own, files)
    assert usable_cores() == expected


def test_cores_are_those_of_the_affinity_where_it_is_known(share, monkeypatch):
    share("", {}, affinity=8)
    assert usable_cores() == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 128


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("", {}, 512 * GB // 4096 * 4096),
        (V2, {"system.slice/job_7/memory.max": str(16 * GB)}, 16 * GB),
        (V2, {"system.slice/job_7/memory.max": "max", "memory.max": str(9 * GB)}, 9 * GB),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": str(4 * GB)}, 4 * GB),
        (V1, {"memory/slurm/job_7/memory.limit_in_bytes": str(2**63 - 4096)}, 512 * GB),
    ],
)
def test_memory_is_that_of_the_machine_or_of_the_least_group(share, own, files, expected):
    share(own, files)
    assert usable_bytes() == pytest.approx(expected, rel=1e-6)


def test_workers_fit_into_the_cores_and_into_the_memory(share):
    share(V2, {"system.slice/job_7/memory.max": str(5 * GB)}, affinity=8)
    assert usable_workers(1 * GB) == 5
    assert usable_workers(GB // 10) == 8
    assert usable_workers(9 * GB) == 1
