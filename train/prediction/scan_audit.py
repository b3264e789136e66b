"""Audit of a scan: whether its header fits the anatomy of the image and of its new label map."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from manifests.anatomy.audit import audit_orientation, orientation_findings
from manifests.anatomy.repetition import find_repetition, repetition_finding
from manifests.anatomy.torso import find_torso
from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import Block
from manifests.ground.findings import Finding
from manifests.volumes.grid import Grid
from manifests.volumes.volume import Volume


@dataclass(frozen=True)
class _Organs:
    volume: Volume
    blocks: tuple[Block, ...]
    number_of: NDArray[np.uint8]


def audit_scan(image: sitk.Image, labels: sitk.Image, space: LabelSpace) -> tuple[Finding, ...]:
    """Return a finding for every axis of the header that the anatomy contradicts, and for a repeat.

    Each axis is judged by the image, as `prepare` does it. Only where the image leaves it undecided
    does the label map count: a network errs more than an annotator. An organ that has a side counts
    together with its counterpart, since the network took the sides from the header in question.

    Args:
        image: The scan (HU), on its own grid.
        labels: The class ids that the network gave it, on the same grid.
        space: What they mean.
    """
    grid = Grid.of(image)
    torso = find_torso(Volume(sitk.GetArrayViewFromImage(image), grid))
    repetition = None if torso is None else find_repetition(torso)
    repeated = (repetition_finding(repetition),) if repetition else ()
    by_image = audit_orientation(torso)
    if all(v.verdict != "undecided" for v in by_image):
        return (*orientation_findings(by_image), *repeated)
    organs = _without_sides(Volume(sitk.GetArrayViewFromImage(labels), grid), space)
    by_both = audit_orientation(torso, organs, declared=space.structures)
    verdicts = (
        both if image.verdict == "undecided" else image
        for image, both in zip(by_image, by_both, strict=True)
    )
    return (*orientation_findings(tuple(verdicts)), *repeated)


def _without_sides(volume: Volume, space: LabelSpace) -> _Organs:
    left_of = {right: left for left, right in space.left_right_pairs}
    blocks: dict[str, Block] = {}
    for c in space.classes:
        name = left_of.get(c.name, c.name)
        blocks[name] = blocks.get(name, frozenset()) | frozenset(c.structures)
    numbers = {name: n for n, name in enumerate(blocks, start=1)}
    number_of = [0, *(numbers[left_of.get(c.name, c.name)] for c in space.classes)]
    return _Organs(volume, tuple(blocks.values()), np.array(number_of, np.uint8))
