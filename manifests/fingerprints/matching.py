"""Matching: which of many CTs show the same image, whole or in part.

Keypoints with the same code propose how one array lies in the other: a turn or flip, from their
frames, and a shift. Where several propose the same, the images are the same there. The codes are
sorted, so that no two CTs are compared which have none in common. Where no keypoints agree, the
slices may: see `body_matching`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.body_matching import BodyMatch, find_body_matches
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.keypoints import BORDER, FRAMES, Keypoints

LEAST_VOTES = 4
MOST_ALIKE = 256  # a code that more keypoints have says nothing
SHIFT_TOLERANCE = 1  # voxels
WHOLE = 0.98  # of an image, from which on it is all of it;
WHOLE_RESAMPLED = 0.9  # the same where grids differ, and so do their outermost points

Ints = NDArray[np.int64]
By = Literal["voxels", "space", "body"]


@dataclass(frozen=True)
class Match:
    """Two CTs that show the same image, at least in part.

    Attributes:
        first: Number of the one; `second`, of the other, is greater.
        votes: Keypoints' codes that agree on how the one lies in the other, or places of the body.
        candidates: The fewer of the keypoints that either has in the common part, or all places.
        common: Share of the first, and of the second, that is in the common part.
        turn: 3 x 3; sends steps along the first array's axes (z, y, x) to the second's.
        shift: To be added after the turn; empty if they agree in the body only.
        by: Whether they agree voxel by voxel, or at points of space, or only in what they show of
            the body, at whatever spacing.
    """

    first: int
    second: int
    votes: int
    candidates: int
    common: tuple[float, float]
    turn: tuple[tuple[int, ...], ...]
    shift: tuple[int, ...]
    by: By

    @property
    def whole(self) -> bool:
        """Whether each shows all that the other shows."""
        return min(self.common) >= (WHOLE if self.by == "voxels" else WHOLE_RESAMPLED)


def find_matches(fingerprints: Sequence[Fingerprint], *, second_from: int = 0) -> list[Match]:
    """Return all matches ordered by their numbers, for each two CTs the one with the most votes.

    Args:
        fingerprints: Of the CTs.
        second_from: Only pairs are looked for of which just one has this number or a greater one;
            by default, all.
    """
    best = {(m.first, m.second): m for m in find_keypoint_matches(fingerprints)}
    for seen in find_body_matches([f.of_body for f in fingerprints], second_from=second_from):
        best.setdefault((seen.first, seen.second), _in_body(seen))
    across = (p for p in best if not second_from or p[0] < second_from <= p[1])
    return [best[pair] for pair in sorted(across)]


def find_keypoint_matches(fingerprints: Sequence[Fingerprint]) -> list[Match]:
    """Return the matches of `find_matches` but those that agree in the body only."""
    best: dict[tuple[int, int], Match] = {}
    views: tuple[tuple[By, list[Keypoints]], ...] = (
        ("voxels", [f.on_voxels for f in fingerprints]),
        ("space", [f.on_lattice for f in fingerprints]),
    )
    for by, view in views:
        for match in _in_view(view, by):
            pair = match.first, match.second
            if pair not in best or best[pair].votes < match.votes:
                best[pair] = match
    return [best[pair] for pair in sorted(best)]


def _in_body(seen: BodyMatch) -> Match:
    pair = seen.first, seen.second
    return Match(*pair, seen.agreeing, seen.seen, seen.common, seen.turn, (), "body")


def _in_view(view: Sequence[Keypoints], by: By) -> Iterator[Match]:
    case = np.repeat(np.arange(len(view)), [len(k.code) for k in view])
    if not len(case):
        return
    code, frame, position = (
        np.concatenate([getattr(k, name) for k in view]) for name in ("code", "frame", "position")
    )
    one, other = _same_code(code, case)
    turn = _turns()[frame[one], frame[other]]
    for agreeing in _groups((case[one] * len(view) + case[other]) * len(FRAMES) + turn):
        i, j = one[agreeing], other[agreeing]
        matrix = FRAMES[turn[agreeing[0]]]
        shift = position[j] - position[i] @ matrix.T
        votes, centre = _most_agreeing(shift, code[i])
        if votes >= LEAST_VOTES:
            numbers = int(case[i[0]]), int(case[j[0]])
            pair = (view[numbers[0]], view[numbers[1]])
            yield _match(numbers, pair, votes, matrix, centre, by)


def _same_code(code: NDArray[np.uint64], case: Ints) -> tuple[Ints, Ints]:
    """Return pairs of keypoints with one code, of two cases; the earlier case comes first."""
    order = np.argsort(code, kind="stable")  # within a code by case
    stops = np.append(np.flatnonzero(np.diff(code[order])) + 1, len(order))
    length = np.diff(stops, prepend=0)
    kept = order[np.repeat(length <= MOST_ALIKE, length)]
    pairs = [(kept[:0], kept[:0])]
    for step in range(1, min(MOST_ALIKE, len(kept))):
        same = np.flatnonzero(code[kept[step:]] == code[kept[:-step]])
        if not len(same):
            break
        pairs.append((kept[same], kept[same + step]))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    apart = case[one] != case[other]
    return one[apart], other[apart]


def _groups(key: Ints) -> list[Ints]:
    """Return the indices of each key that occurs at least `LEAST_VOTES` times."""
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    stops = np.append(starts[1:], len(key))
    often = stops - starts >= LEAST_VOTES
    return [order[a:b] for a, b in zip(starts[often], stops[often], strict=True)]


def _most_agreeing(shift: Ints, code: NDArray[np.uint64]) -> tuple[int, Ints]:
    """Return the number of codes that agree on the most popular shift, and that shift.

    Codes count, not keypoints: what repeats itself, such as a table, has many of one code.
    """
    best = 0, shift[0]
    for candidate in np.unique(shift, axis=0):
        near = np.abs(shift - candidate).max(axis=1) <= SHIFT_TOLERANCE
        votes = len(np.unique(code[near]))
        if votes > best[0]:
            best = votes, candidate
    return best


def _match(
    numbers: tuple[int, int],
    pair: tuple[Keypoints, Keypoints],
    votes: int,
    turn: Ints,
    shift: Ints,
    by: By,
) -> Match:
    first, second = pair
    corners = np.array(list(product(*((0, n - 1) for n in first.size)))) @ turn.T + shift
    low = np.maximum(corners.min(axis=0), 0)
    high = np.minimum(corners.max(axis=0), np.array(second.size) - 1)
    common = np.prod(np.maximum(high - low + 1, 0), dtype=float)
    inside = [
        int(((at >= low + BORDER) & (at <= high - BORDER)).all(axis=1).sum())
        for at in (first.position @ turn.T + shift, second.position)
    ]
    return Match(
        *numbers,
        votes,
        max(min(inside), votes),
        (float(common / math.prod(first.size)), float(common / math.prod(second.size))),
        tuple(tuple(row) for row in turn.tolist()),
        tuple(shift.tolist()),
        by,
    )


@cache
def _turns() -> Ints:
    """Return [48, 48] the number of the turn from one frame to another."""
    turned = np.einsum("bji,ajk->abik", FRAMES, FRAMES)
    return (turned[:, :, None] == FRAMES).all(axis=(3, 4)).argmax(axis=2)
