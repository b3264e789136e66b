"""Measure the commands of `manifests` on a manifest of a million rows, as whole processes.

Run `python tests/benchmarks/manifest_scale.py [FOLDER] [--rows 1000000] [--rounds 5] [--writing]`.
The simulated manifest (about 4 GB, most of it fingerprints) is written to FOLDER unless it is
there; with `--writing`, two more of that size are, by commands that are then measured instead of
`inspect`. `validate` is left out, since the manifest names volumes that are not there. Tells the
median, over rounds that go through all commands in turn, of seconds on the clock and of CPU
seconds (user and system, all threads), and the greatest resident memory.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from manifests.classes.label_space import load_label_space
from manifests.classes.merged import annotated_classes, merged_classes
from manifests.table.case import BY_CLASS, SCHEMA
from manifests.table.dataset_facts import DatasetFacts, as_settings
from manifests.table.manifest import FILE_NAME, Manifest, write_manifest

REAL = pa.float64()
PIECE_ROWS = 50_000
FINGERPRINT_BYTES = 2897  # of base64 3.9 kB, as of a CT with all its keypoints
WHOLE = [
    ["spleen"],
    *([n, f"{n}_tumour"] for n in ("liver", "pancreas", "left_kidney", "right_kidney")),
]
# What a dataset labels and its share of the rows; the paper's five, and a large one of the day.
DATASETS: dict[str, tuple[list[list[str]], float]] = {
    "btcv": (WHOLE, 0.05),
    "kits19": (WHOLE[3:], 0.15),
    "msd_liver": (WHOLE[1:2], 0.1),
    "msd_pancreas": (WHOLE[2:3], 0.1),
    "msd_spleen": (WHOLE[:1], 0.1),
    "totalsegmentator": (WHOLE, 0.5),
}
COMMANDS = (
    ("--help", ["inspect", "--help"]),
    ("inspect", ["inspect", "{}"]),
    ("one dataset", ["inspect", "{}", "--where", "dataset = 'msd_liver'"]),
    ("a list", ["inspect", "{}", "--where", "list_contains(annotated, 'pancreas')"]),
    ("numbers", ["inspect", "{}", "--where", "spacing_mm[3] < 3.5 and voxels[3] = 0"]),
    ("findings", ["inspect", "{}", "--where", "len(findings) > 0"]),
    ("texts", ["inspect", "{}", "--where", "case_id like '%7' and hu_mean > 0"]),
    ("no case", ["inspect", "{}", "--where", "dataset = 'msd_livr'"]),
    ("one case", ["inspect", "{}", "--case", "kits19/case_000017"]),
)
WRITING = (
    ("split", ["split", "{}", "--test", "0.2", "--out", "{}.split.parquet"]),
    ("edit", ["edit", "{}", "--drop", "spleen", "--out", "{}.edit.parquet"]),
    ("diff, a column", ["diff", "{}", "{}.split.parquet"]),
    ("diff, five", ["diff", "{}", "{}.edit.parquet"]),
)


def simulated_manifest(rows: int, folder: Path) -> Manifest:
    """A manifest with the schema's columns, as full as those of real datasets."""
    space, rng = load_label_space("abdomen5"), np.random.default_rng(0)
    parts = [
        _piece(name, range(start, min(start + PIECE_ROWS, count)), rng)
        for name in DATASETS
        for count in [round(rows * DATASETS[name][1])]
        for start in range(0, count, PIECE_ROWS)
    ]
    facts = {
        name: DatasetFacts(
            title=name, version="1", licence="CC-BY-4.0", commercial_use=True, citation="none"
        )
        for name in DATASETS
    }
    return Manifest(pa.concat_tables(parts), space, folder, as_settings(facts))


def _piece(dataset: str, numbers: range, rng: np.random.Generator) -> pa.Table:
    n, space = len(numbers), load_label_space("abdomen5")
    blocks = [list(block) for block in DATASETS[dataset][0]]
    merged = merged_classes(tuple(frozenset(b) for b in blocks), space)
    names = [f"{dataset}/case_{i:06}" for i in numbers]
    size = np.stack(
        [rng.integers(low, high, n) for low, high in ((180, 300), (180, 300), (80, 400))]
    )
    voxels = rng.integers(1000, 10**6, (n, len(space))) * (np.array(merged) == range(len(space)))
    voxels[:, 1:] *= rng.random((n, len(space) - 1)) > 0.02
    voxels[:, 0] = size.prod(axis=0) - voxels[:, 1:].sum(axis=1)
    spacing = np.tile((1.5, 1.5, 3.0), (n, 1))
    hu = rng.normal(0, 100, (8, n))
    judged = [SCHEMA.field(name) for name in BY_CLASS if SCHEMA.field(name).type == pa.list_(REAL)]
    columns: dict[str, Any] = {
        **{f.name: _same(None, n) for f in SCHEMA if f.nullable},
        "case_id": names,
        "dataset": _same(dataset, n),
        "subject_id": [f"{dataset}/{i // 2}" for i in numbers],
        "split": rng.choice(["train", "validation", "test"], n, p=(0.7, 0.1, 0.2)).tolist(),
        "image": [f"cases/{name}/image.nii" for name in names],
        "label": [f"cases/{name}/label.nii" for name in names],
        "blocks": _same(blocks, n),
        "merged": _same(list(merged), n),
        "annotated": _same([space.names[c] for c in annotated_classes(merged)], n),
        "voxels": _lists(voxels),
        "volume_ml": _lists(voxels * 0.00675),
        **{name: _hex(n, rng) for name in SCHEMA.names if name.endswith("sha256")},
        "fingerprint": _base64(n, rng),
        "related": _same([], n),
        "source_size": _lists(size.T * 2),
        "source_spacing_mm": _lists(rng.choice((0.7, 0.8, 0.9, 2.5, 5.0), (n, 3))),
        "source_origin_mm": _lists(rng.normal(-200, 50, (n, 3))),
        "source_orientation": _same("LPS", n),
        "ignored": _same(0, n),
        "size": _lists(size.T),
        "spacing_mm": _lists(spacing),
        "origin_mm": _lists(rng.normal(-200, 50, (n, 3))),
        **dict(
            zip([f.name for f in SCHEMA if "hu_" in f.name and f.type == REAL], hu, strict=True)
        ),
        **{f.name: _lists(rng.random((n, len(space)))) for f in judged},
        "findings": [
            [{"code": "single_kidney", "reason": "left only"}] if rare else []
            for rare in rng.random(n) < 0.03
        ],
        "recipe": _same(dataset, n),
        "recipe_version": _same("1", n),
        "licence": _same("CC-BY-4.0", n),
    }
    arrays = [_array(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _array(values: Any, of: pa.DataType) -> pa.Array:
    return values.cast(of) if isinstance(values, pa.Array) else pa.array(values, of)


def _same(value: object, n: int) -> list[object]:
    return [value] * n


def _lists(values: np.ndarray) -> pa.Array:
    n, length = values.shape
    offsets = np.arange(0, (n + 1) * length, length, dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _texts(characters: np.ndarray) -> pa.Array:
    n, length = characters.shape
    offsets = pa.array(np.arange(0, (n + 1) * length, length, dtype=np.int32))
    return pa.StringArray.from_buffers(n, offsets.buffers()[1], pa.py_buffer(characters.tobytes()))


def _hex(n: int, rng: np.random.Generator) -> pa.Array:
    return _texts(np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (n, 64))])


def _base64(n: int, rng: np.random.Generator) -> pa.Array:
    letters = np.frombuffer(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8
    )
    length = FINGERPRINT_BYTES * 4 // 3
    return _texts(letters[rng.integers(0, 64, (n, length), dtype=np.uint8)])


def build(rows: int, path: Path) -> None:
    write_manifest(simulated_manifest(rows, path.parent), path)


def measured(words: list[str]) -> tuple[float, float, float]:
    """Seconds on the clock, CPU seconds and greatest resident MiB of one process."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "marginalia", *words], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    assert status == 0, words
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("scale"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--writing", action="store_true")
    asked = parser.parse_args()
    commands = WRITING if asked.writing else COMMANDS
    path = asked.folder / FILE_NAME
    if not path.exists():
        asked.folder.mkdir(parents=True, exist_ok=True)
        # in a process of its own: a child's greatest memory counts that of the parent it left
        builder = multiprocessing.get_context("spawn").Process(
            target=build, args=(asked.rows, path)
        )
        builder.start()
        builder.join()
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name, _ in commands}
    for _ in range(asked.rounds):
        for name, words in commands:
            runs[name].append(measured([word.format(path) for word in words]))
    table = Table(title=f"{path.stat().st_size / 2**30:.2f} GiB, load {os.getloadavg()[0]:.1f}")
    for column in ("command", "seconds", "least", "CPU seconds", "peak, MiB"):
        table.add_column(column, justify="right")
    for name, figures in runs.items():
        wall, cpu, memory = zip(*figures, strict=True)
        cells = (statistics.median(wall), min(wall), statistics.median(cpu))
        table.add_row(name, *(f"{c:.2f}" for c in cells), f"{max(memory):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
