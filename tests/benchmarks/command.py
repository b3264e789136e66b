"""CPU time and memory of one command as a whole process, of several builds in turns.

    python -m tests.benchmarks.command --builds OLDER . -- prepare btcv --raw RAW --out {}

`{}` in a word stands for a new folder in each run. The time is that of all threads and of all
processes that the command starts, imports included; the memory is that of the greatest of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TELL = """
import resource, sys
import marginalia
if __name__ == "__main__":
    try:
        marginalia.main()
    finally:
        used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = [u.ru_utime + u.ru_stime for u in used]
        sys.stderr.write(f"USED {cpu[0]} {cpu[1]} {max(u.ru_maxrss for u in used)}\\n")
"""


def measure(build: Path, words: list[str], folder: Path) -> list[float]:
    """CPU seconds of the command and of its children, and the peak in MiB."""
    program = folder / "program.py"  # a file, since workers may import it again
    program.write_text(TELL)
    command = [sys.executable, str(program), *(word.replace("{}", str(folder)) for word in words)]
    environment = {**os.environ, "PYTHONPATH": str(build.resolve()), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if "USED" not in done.stderr or done.returncode:
        sys.exit(f"{build}: {done.stdout}{done.stderr}")
    own, children, kib = map(float, done.stderr.rpartition("USED")[2].split())
    return [own, children, kib / 1024]


def main() -> None:
    """Print a line for each build: medians, and the ratio to the first, round by round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=Path, nargs="+", default=[Path()], help="checkouts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("words", nargs="+", help="the command, after --")
    asked = parser.parse_args()
    told: dict[Path, list[list[float]]] = {build: [] for build in asked.builds}
    for _ in range(asked.rounds):
        for build in asked.builds:
            with tempfile.TemporaryDirectory() as name:
                told[build].append(measure(build, asked.words, Path(name)))
    for build, runs in told.items():
        own, children, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        both = zip(runs, told[asked.builds[0]], strict=True)
        ratio = statistics.median(sum(run[:2]) / sum(first[:2]) for run, first in both)
        total = statistics.median(sum(run[:2]) for run in runs)
        words = f"{total:7.2f} CPU s ({own:.2f} + {children:.2f}) {ratio:5.2f} {peak:6.0f} MiB"
        sys.stdout.write(f"{words}  {build}\n")
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f}\n")


if __name__ == "__main__":
    main()
