"""Places: where labels lie in the body, and pairs of labels that lie in each other's place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from curate.suspicion.coarse import CoarseCase, Part
from curate.suspicion.organs import organs
from manifests.anatomy.anatomy import AXES, Axis, Evidence, Positions, anatomy
from manifests.anatomy.organ_positions import SPINE, organ_order_evidence
from manifests.anatomy.torso import Torso
from manifests.anatomy.torso_evidence import torso_evidence
from manifests.classes.structures import Structure

Place = tuple[float, float, float]

GAIN = 8.0  # in the score of two organs' order among the others, by their exchange
AGAINST = -0.5  # score of an observation that contradicts the places as they are


@dataclass(frozen=True)
class Located:
    """Where an organ's label lies, and whether its volume is possible; see `organs.toml`."""

    middle_mm: Place
    volume_ml: float
    cut_by_scan: bool


@dataclass(frozen=True)
class Exchange:
    """Two organs whose labels lie in each other's place.

    Attributes:
        gain: In the score of their order, by an exchange.
        seen: What contradicts the labels as they are.
    """

    first: str
    second: str
    gain: float
    seen: str


def middle_mm(case: CoarseCase, part: Part) -> Place:
    """Return the median of a label's voxels along each axis, LPS."""
    middles = [
        int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + box.start
        for counts, box in zip(_counts(part), part.box, strict=True)
    ]
    x, y, z = case.grid.position_mm(middles[::-1]).tolist()
    return x, y, z


def _counts(part: Part) -> list[np.ndarray]:
    by_row = part.mask.sum(axis=2)
    return [by_row.sum(axis=1), by_row.sum(axis=0), part.mask.sum(axis=(0, 1))]


def place_in_body(torso: Torso, position_mm: Place) -> Place:
    """Return where a position is in the box around the body: 0 at its right, front and foot ends.

    The box is that of the median section: arms and shoulders beyond it do not count.
    """
    sections = torso.body[torso.body.any(axis=(1, 2))]
    spans = [
        _span(np.asarray(sections.any(axis=1))),
        _span(np.asarray(sections.any(axis=2))),
        (0.0, len(torso.body) - 1.0),
    ]
    index = torso.grid.index_xyz(position_mm)
    x, y, z = (
        float((i - low) / max(high - low, 1.0)) for i, (low, high) in zip(index, spans, strict=True)
    )
    return x, y, z


def _span(profiles: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the medians of the first and the last place that each profile fills."""
    first = np.median(profiles.argmax(axis=1))
    last = np.median(profiles.shape[1] - 1 - profiles[:, ::-1].argmax(axis=1))
    return float(first), float(last)


def exchanges(
    located: Mapping[str, Located], torso: Torso | None, structures: Mapping[str, Structure]
) -> list[Exchange]:
    """Find pairs of organs that anatomy would have the other way round.

    Their order among the other organs and the spine gains by an exchange, and something contradicts
    it as it is: a place, or a volume that only the other organ can have. What remains must support
    the header: if all is the wrong way round, it is not the labels that are exchanged.
    """
    known: dict[str, tuple[float, ...]] = {name: o.middle_mm for name, o in located.items()}
    if torso is not None and torso.spine is not None:
        known[SPINE] = torso.spine.position_mm
    shown = [] if torso is None else torso_evidence(torso)

    def evidence(places: Positions) -> list[Evidence]:
        return organ_order_evidence(_with_groups(places), structures)

    found: list[Exchange] = []
    now = evidence(known)
    for first, second in combinations(sorted(located), 2):
        rest = evidence({n: p for n, p in known.items() if n not in (first, second)})
        then = evidence({**known, first: known[second], second: known[first]})
        gains = {axis: _score(then, axis) - _score(now, axis) for axis in AXES}
        gain, axis = sum(gains.values()), max(AXES, key=lambda a: gains[a])
        if gain <= 0 or _score([*rest, *shown], axis) <= 0:
            continue
        worst = min((e for e in now if e not in rest), key=lambda e: e.score)
        if gain >= GAIN and worst.score <= AGAINST:
            found.append(Exchange(first, second, gain, worst.description))
        elif seen := _impossible_volumes(first, second, located):
            found.append(Exchange(first, second, max(gain, GAIN), seen))
    return _best(found)


def _score(evidence: Sequence[Evidence], axis: Axis) -> float:
    return sum(e.score for e in evidence if e.axis == axis)


def _impossible_volumes(first: str, second: str, located: Mapping[str, Located]) -> str:
    """Say which of two volumes only the other organ can have; empty if none or both are odd."""
    one, other = located[first], located[second]
    if not (_is_possible(one, second) and _is_possible(other, first)):
        return ""
    odd = [
        f"{organ} {label.volume_ml:.0f} mL"
        for organ, label in ((first, one), (second, other))
        if not _is_possible(label, organ)
    ]
    return " and ".join(odd)


def _is_possible(label: Located, organ: str) -> bool:
    low, high = organs().volume_ml.get(organ, (0.0, np.inf))
    return label.volume_ml <= high and (label.cut_by_scan or label.volume_ml >= low)


def _with_groups(places: Positions) -> Positions:
    """Add the groups of organs of which all members have a place."""
    groups = {
        name: tuple(np.mean(np.array([places[m] for m in members]), axis=0).tolist())
        for name, members in anatomy().groups.items()
        if all(m in places for m in members)
    }
    return {**places, **groups}


def _best(found: Sequence[Exchange]) -> list[Exchange]:
    """Keep the strongest exchange of each organ."""
    kept: list[Exchange] = []
    for exchange in sorted(found, key=lambda e: -e.gain):
        taken = {name for e in kept for name in (e.first, e.second)}
        if not taken & {exchange.first, exchange.second}:
            kept.append(exchange)
    return kept
