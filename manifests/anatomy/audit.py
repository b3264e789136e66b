"""Whether a header's axes are what the anatomy says: left and right, front and back, head and foot.

Each axis is judged by evidence that does not change when another axis is turned round, so an image
that lies upside down (two axes turned) is told as well as a mirrored one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Literal

from manifests.anatomy.anatomy import AXES, Axis, Evidence
from manifests.anatomy.organ_positions import (
    SPINE,
    Labels,
    known_structures,
    organ_order_evidence,
    organ_positions,
)
from manifests.anatomy.torso import Torso, find_torso
from manifests.anatomy.torso_evidence import torso_evidence
from manifests.classes.structures import Structure
from manifests.ground.findings import Finding
from manifests.volumes.volume import Volume

DECIDED = 4.0  # of the score of an axis, either way
MOST = 6.0  # that the image or the labels may say: their evidence is not independent
SHOWN = 3  # observations in a finding
CODES: Mapping[Axis, str] = MappingProxyType(
    {
        "left_right": "laterality_suspect",
        "back_front": "anteroposterior_suspect",
        "head_foot": "craniocaudal_suspect",
    }
)


@dataclass(frozen=True)
class Verdict:
    """What the anatomy says of one axis of the header.

    Attributes:
        score: The sum of what the image and the labels say, each at most `MOST`.
    """

    axis: Axis
    score: float
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> Literal["plausible", "suspect", "undecided"]:
        """Whether the axis points where the header says; a score of `DECIDED` decides."""
        if abs(self.score) < DECIDED:
            return "undecided"
        return "plausible" if self.score > 0 else "suspect"


def audit_orientation(
    image: Volume | Torso | None = None,
    labels: Labels | None = None,
    *,
    declared: Mapping[str, Structure] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Judge each axis of a case's header by its anatomy.

    The image shows the spine behind the body's middle, the liver's bulk on the right, the lungs
    towards the head, and the table, which hardly counts since some patients lie prone. The labels
    show the order of the organs. Labels whose sides were named by means of the header must be left
    out. Where both are silent or contradict each other the verdict is `undecided`.

    Args:
        image: The CT (HU), any grid, or the torso that was found in it.
        labels: The annotation, on any grid in the same frame.
        declared: Structures that a recipe declares beside the vocabulary.

    Returns:
        The verdicts on left-right, back-front and head-foot, in the order of LPS.
    """
    torso = find_torso(image) if isinstance(image, Volume) else image
    shown = [] if torso is None else torso_evidence(torso)
    labelled = [] if labels is None else _order(labels, torso, known_structures(declared))
    return tuple(_verdict(axis, shown, labelled) for axis in AXES)


def orientation_findings(verdicts: tuple[Verdict, ...]) -> tuple[Finding, ...]:
    """Return a finding for every axis that is suspect."""
    return tuple(
        Finding(CODES[v.axis], f"score {v.score:.1f}: {'; '.join(_strongest(v))}")
        for v in verdicts
        if v.verdict == "suspect"
    )


def _order(
    labels: Labels, torso: Torso | None, structures: Mapping[str, Structure]
) -> list[Evidence]:
    positions = dict(organ_positions(labels, structures))
    if torso is not None and torso.spine is not None:
        positions[SPINE] = torso.spine.position_mm
    return organ_order_evidence(positions, structures)


def _verdict(axis: Axis, *sources: list[Evidence]) -> Verdict:
    mine = [[e for e in source if e.axis == axis] for source in sources]
    said = [max(-MOST, min(sum(e.score for e in source), MOST)) for source in mine]
    return Verdict(axis, sum(said), tuple(chain.from_iterable(mine)))


def _strongest(verdict: Verdict) -> list[str]:
    against = sorted((e for e in verdict.evidence if e.score < 0), key=lambda e: e.score)
    return [e.description for e in against[:SHOWN]]
