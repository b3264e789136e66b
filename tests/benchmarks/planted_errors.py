"""Errors planted into the labels of real CTs: how many are found, and what right labels are told.

    python -m tests.benchmarks.planted_errors ../shared/data

The folder has `totalsegmentator/example_ct*` and, for other patients' kidneys, `kits19`.
"""

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from curate.suspicion.judgement import Judgement, judge_labels
from manifests.anatomy.torso import Torso, find_torso
from manifests.classes.label_space import load_label_space
from manifests.volumes.volume import Volume
from tests.real.labelled_ct import harmonised_ct, kidney_masks

SPACE = load_label_space("abdomen5")
NAMES = ("example_ct", "example_ct_sm", "example_ct_dicom")
ENOUGH_ML = 15.0
MM = np.array((3.0, 1.5, 1.5))  # of the harmonised voxels, z, y, x


@dataclass(frozen=True)
class Scan:
    name: str
    image: Volume
    ids: np.ndarray
    torso: Torso | None

    def judge(self, ids: np.ndarray) -> Judgement:
        merged = tuple(range(len(SPACE)))
        return judge_labels(self.image, ids, space=SPACE, merged=merged, torso=self.torso)

    def organs(self) -> list[int]:
        counts = np.bincount(self.ids.ravel(), minlength=len(SPACE)) * self.image.grid.voxel_ml
        return [n for n in range(1, len(SPACE)) if counts[n] > ENOUGH_ML]

    def with_label(self, n: int, mask: np.ndarray) -> np.ndarray:
        return np.where(mask, n, np.where(self.ids == n, 0, self.ids)).astype(np.uint8)


def moved(mask: np.ndarray, mm_zyx: np.ndarray) -> np.ndarray:
    return ndimage.shift(mask, np.rint(mm_zyx / MM), order=0)


def planted(scan: Scan, rng: np.random.Generator) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield the kind of each error, the finding that names it, and the labels."""
    for n in scan.organs():
        mask = scan.ids == n
        for mm, axis, sign in itertools.product((10, 20, 30), range(3), (-1, 1)):
            there = moved(mask, sign * mm * np.eye(3)[axis])
            if there.sum() > 0.3 * mask.sum():
                yield f"moved by {mm} mm", "label_misplaced", scan.with_label(n, there)
        for axis, name in enumerate(("head to foot", "front to back", "left to right")):
            flipped = scan.with_label(n, np.flip(mask, axis))
            yield f"one label flipped {name}", "label_misplaced", flipped
        if SPACE.names[n] != "pancreas":
            yield from _with_islands(scan, n, mask, rng)
        yield from _erased(scan, n, mask)
    for pair in itertools.combinations(scan.organs(), 2):
        table = np.arange(256, dtype=np.uint8)
        table[list(pair)] = pair[::-1]
        yield "ids of two organs exchanged", "labels_exchanged", table[scan.ids]
    for axis in range(3):
        yield "all labels flipped", "label_misplaced", np.flip(scan.ids, axis).copy()


def _erased(scan: Scan, n: int, mask: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    middle = len(filled) // 2 - 7
    if len(filled) > 25:
        for erased in (filled[-15:], filled[:15], filled[middle : middle + 15]):
            less = mask.copy()
            less[erased] = False
            yield "15 slices erased", "label_cut", scan.with_label(n, less)


def _with_islands(
    scan: Scan, n: int, mask: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield balls of 0.9 mL at least 10 mm from the label and from the image's edge."""
    index = np.indices(mask.shape)
    margin = np.rint(16 / MM).astype(int)
    apart_mm = ndimage.distance_transform_edt(~mask, sampling=MM.tolist())
    for _ in range(4):
        centre = rng.integers(margin, np.array(mask.shape) - margin)
        square_mm = sum(((index[axis] - centre[axis]) * MM[axis]) ** 2 for axis in range(3))
        ball = square_mm < 6.0**2
        if apart_mm[ball].min() > 10:
            yield "an island of 0.9 mL", "label_fragments", scan.with_label(n, mask | ball)


def of_others(scans: list[Scan], data: Path) -> Iterator[tuple[str, Scan, np.ndarray]]:
    """Yield another patient's labels: in the middle of the image, and right on the same organ."""
    by_name = {s.name: s for s in scans}
    for source, target in (("example_ct", "example_ct_dicom"), ("example_ct_dicom", "example_ct")):
        one, other = by_name[source], by_name[target]
        for n in one.organs():
            mask = one.ids == n
            middle = np.array(other.ids.shape) / 2 - np.array(one.ids.shape) / 2
            ids = _put(other, n, mask, middle)
            if np.count_nonzero(ids == n) > 0.3 * mask.sum():
                yield "another patient's, image on image", other, ids
    scan = by_name["example_ct"]
    for side in kidney_masks(data, (1.5, 1.5, 3.0)):
        for value, n in ((1, 4), (2, 5)):
            mask = side == value
            if mask.any():
                there = np.argwhere(scan.ids == n).mean(axis=0) - np.argwhere(mask).mean(axis=0)
                kind = "another patient's kidney, centred on the kidney"
                yield kind, scan, _put(scan, n, mask, there)


def _put(scan: Scan, n: int, mask: np.ndarray, offset: np.ndarray) -> np.ndarray:
    points = np.argwhere(mask) + np.rint(offset).astype(int)
    points = points[((points >= 0) & (points < scan.ids.shape)).all(axis=1)]
    there = np.zeros(scan.ids.shape, bool)
    there[tuple(points.T)] = True
    return scan.with_label(n, there)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    scans = []
    for name in NAMES:
        image, ids = harmonised_ct(data / "totalsegmentator" / name, SPACE, (1.5, 1.5, 3.0))
        scans.append(Scan(name, image, ids, find_torso(image)))
    found: defaultdict[str, list[bool]] = defaultdict(list)
    for scan in scans:
        for finding in scan.judge(scan.ids).findings:
            say(f"FALSE ALARM {scan.name}: {finding.code}: {finding.reason}")
        for kind, code, ids in planted(scan, np.random.default_rng(0)):
            found[kind].append(code in {f.code for f in scan.judge(ids).findings})
    for kind, scan, ids in of_others(scans, data):
        codes = {f.code for f in scan.judge(ids).findings}
        found[kind].append("label_misplaced" in codes)
    say("| error | planted | found |\n|---|---|---|")
    for kind, hits in found.items():
        say(f"| {kind} | {len(hits)} | {sum(hits)} ({np.mean(hits):.0%}) |")


if __name__ == "__main__":
    main()
