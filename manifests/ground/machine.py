"""Machine: the cores and the memory that this process may use, which may be a share of a machine.

Batch systems and containers give shares by the affinity of the process and by control groups, of
version 1 or 2. Python counts all cores (`os.cpu_count`), and from 3.13 on those of the affinity.
Dask has the same function, and reads the innermost group of version 2 alone; it is optional here.
"""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return on how many cores this process may run at a time, rounded up."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # Linux alone has it
        cores = os.cpu_count() or 1
    quotas = [math.ceil(q) for group in _groups("cpu") if (q := _quota(group)) is not None]
    return max(1, min([cores, *quotas]))


def usable_bytes() -> int | None:
    """Return how much memory this process may use, used or not; None where it is not known."""
    files = ("memory.max", "memory.limit_in_bytes")
    limits = [n for group in _groups("memory") for f in files if (n := _number(group / f))]
    with suppress(AttributeError, ValueError, OSError):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(limits, default=None)


def usable_workers(bytes_each: int) -> int:
    """Return how many processes of one core and so much memory may run at a time; 1 at least."""
    memory = usable_bytes()
    cores = usable_cores()
    return cores if memory is None else max(1, min(cores, memory // bytes_each))


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, from within; not all need exist."""
    try:
        lines = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return
    for _, names, path in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if names and controller not in names.split(","):
            continue
        # version 2 has no names, and its own folder where both versions are in use
        for root in (GROUPS / (names or "unified"), GROUPS / controller if names else GROUPS):
            group = root / path.lstrip("/")
            # a limit of an outer group holds too; in a container, the root may be the own group
            yield from (g for g in (group, *group.parents) if g.is_relative_to(root))


def _quota(group: Path) -> float | None:
    """Return how many cores a group may use; None for all."""
    try:
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((group / n).read_text(encoding="ascii") for n in names)
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # none: "max"
        return None
    return cores if cores > 0 else None  # none: -1


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # none: "max"
        return None
