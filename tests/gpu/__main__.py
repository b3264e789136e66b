"""All that needs a GPU, in one command of at most eight minutes that needs no second try.

    python -m tests.gpu [--out gpu] [--seconds 470] [--only loss,step]
    python -m tests.gpu --device cpu --quick     # that the command works, without a GPU

Each section (`sections.py`, `trainings.py`) is a process of its own with its own limit, so that a
fault, a crash or a hang loses the rest of that section and nothing else. After each figure its
section writes what it has, and after each section OUT/gpu.json and OUT/gpu.md are written anew.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.gpu.figure import Bench, Figure, Section

HEAD = "| what | measured | goal | met |\n|---|---|---|---|\n"
PATIENCE_SECONDS = 5  # for a process that was told to end


def sections() -> tuple[Section, ...]:
    """The sections in order; the most telling ones first."""
    from tests.gpu import sections as parts
    from tests.gpu import trainings

    return (
        Section("tests", parts.tests, 100),
        Section("loss", parts.loss, 75),
        Section("step", parts.step, 90),
        Section("memory", trainings.memory, 45),
        Section("waits", trainings.waits, 30),
        Section("training", trainings.training, 75),
        Section("prediction", parts.prediction, 45),
        Section("table3", trainings.table3, 480),
    )


def work(run: Callable[[Bench], Iterator[Figure]], bench: Bench, path: Path) -> None:
    """Write a section's figures as they come, and its error if it has one."""
    os.setsid()
    sys.stdout = sys.stderr = path.with_suffix(".log").open("w", buffering=1)
    found: list[dict[str, Any]] = []
    error = ""
    try:
        for figure in run(bench):
            found.append(asdict(figure))
            write(path, json.dumps({"figures": found, "error": "it was ended at its limit"}))
    except BaseException as caught:
        traceback.print_exc()
        error = f"{type(caught).__name__}: {caught}"[:500]
    write(path, json.dumps({"figures": found, "error": error}))


def run_section(section: Section, bench: Bench, seconds: float) -> dict[str, Any]:
    """Run a section in a process and return its figures, its error and its time."""
    path, started = bench.folder / f"{section.name}.json", time.perf_counter()
    write(path, json.dumps({"figures": [], "error": "it ended before its first figure"}))
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(section.run, bench, path)
    )
    process.start()
    process.join(seconds)
    if process.is_alive():
        for how in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):  # it has ended
                os.killpg(process.pid or 0, how)
            process.join(PATIENCE_SECONDS)
    return {**json.loads(path.read_text()), "seconds": time.perf_counter() - started}


def write(path: Path, text: str) -> None:
    """Write a whole file."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)


def markdown(document: dict[str, Any]) -> str:
    """The table, with a line for each section that did not end well."""
    text = f"{document['device']}, {document['versions']}\n\n{HEAD}"
    for name, section in document["sections"].items():
        for raw in section["figures"]:
            figure = Figure(**raw)
            met = {True: "yes", False: "no", None: ""}[figure.met]
            text += f"| {figure.what} | {figure.shown} | {figure.goal} | {met} |\n"
        if section["error"]:
            error = section["error"].replace("|", "/").replace("\n", " ")
            text += f"| {name} | {error} | | no |\n"
    return text


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Measure and check what needs a GPU.")
    parser.add_argument("--device", default="cuda:0", help="a CUDA device, or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: that it works at all")
    parser.add_argument("--out", type=Path, default=Path("gpu"))
    parser.add_argument("--seconds", type=float, default=470, help="of all sections together")
    parser.add_argument("--only", default="", help="names of sections, separated by commas")
    return parser.parse_args()


def main() -> int:
    """Run all sections; return 1 if one of them had an error."""
    options, started = parsed(), time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "device": options.device,
        "versions": f"Python {platform.python_version()}",
        "sections": {},
    }
    if options.device == "cpu":  # a GPU must not be touched before the processes are forked
        importlib.import_module("train.training.loop")
    wanted = [s for s in sections() if not options.only or s.name in options.only.split(",")]
    for section in wanted:
        left = options.seconds - (time.perf_counter() - started)
        bench = Bench(options.device, options.quick, options.out.resolve(), left)
        done = run_section(section, bench, min(section.seconds, max(left, 1)))
        document["sections"][section.name] = done
        told = [str(f["value"]) for f in done["figures"] if f["what"] == "device"]
        document["device"] = told[0] if told else document["device"]
        write(options.out / "gpu.json", json.dumps(document, indent=2) + "\n")
        write(options.out / "gpu.md", markdown(document))
        sys.stdout.write(f"{section.name}: {done['seconds']:.0f} s {done['error']}\n")
        sys.stdout.flush()
    sys.stdout.write(markdown(document))
    return int(any(done["error"] for done in document["sections"].values()))


if __name__ == "__main__":
    sys.exit(main())
