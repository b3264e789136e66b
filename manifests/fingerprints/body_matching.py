"""Matching of bodies: which of many CTs show the same slices, at whatever spacing.

A slice of the one that looks like a slice of the other may do so by chance. All slices that two
scans have in common look alike, and in the same order, only if they show the same: the places of
the one's slices in the other lie on a line.

Patients of one outline look alike, too. So what is unlike has to be little beside how much a scan
itself changes from one slice to the next: a copy lies nearer to a slice than the slice beside it.
A scan that hardly changes along itself, so that this says nothing, has no match but as a slab.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.body_slices import AXES, FREQUENCIES, SLICES, BodySlices

PROBES = np.arange(SLICES // 10, SLICES, SLICES // 5)  # slices by which candidates are found
LEAST_PROBES = 3  # of one scan that look like slices of the other
LEAST_ALIKE_UNSIGNED = 0.93  # of a probe, whichever way it is flipped
LEAST_ALIKE = 0.88
LEAST_AGREEMENT = 0.94  # the mean along the line
AGREES = 0.9  # of one place on it
PLACES = 16  # on the line that are looked at
# Unlikeness on the line, to that of slices next to each other: of whole scans, and of parts more,
# whose slices are thinner. Of copies of a real CT it is 0.04, of 60 % of its slices 0.10, and of
# 40 % 0.15; of patients of one outline whose organs lie 4 mm apart, 0.10 and more.
MOST_UNLIKE, MOST_UNLIKE_OF_PARTS = 0.07, 0.155
LEAST_SHARE, LEAST_GREATER_SHARE = 0.3, 0.8  # in common, of either scan and of one of the two
# A thin slab looks alike all along, and like others. It has to agree more, as a whole:
LEAST_VARIED = 0.85  # mean likeness of slices half of a scan, or of the common part, apart
LEAST_AGREEMENT_OF_SLABS = 0.99
LEAST_SEEN = 0.75  # of the places show a body in both
CHUNK = 1 << 24  # pairs of slices at a time
PAIRS_AT_A_TIME = 1024
FLIPS = np.array(list(product((1, -1), repeat=2)))  # of the body's shorter and longer side

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True)
class BodyMatch:
    """Two CTs whose slices look alike.

    Attributes:
        agreeing: Number of places on the line where they do.
        seen: Number of places where both show a body.
        common: Share of the first, and of the second, that is in the other.
        turn: 3 x 3; sends steps along the first array's axes (z, y, x) to the second's.
    """

    first: int
    second: int
    agreeing: int
    seen: int
    common: tuple[float, float]
    turn: tuple[tuple[int, ...], ...]


def find_body_matches(bodies: Sequence[BodySlices], *, second_from: int = 0) -> Iterator[BodyMatch]:
    """Yield the matches, the earlier CT first.

    Args:
        bodies: Of the CTs.
        second_from: Only pairs are looked at of which just one has this number or a greater one;
            all for 0.
    """
    known = [number for number, body in enumerate(bodies) if len(body.code)]
    if len(known) < 2:
        return
    codes = np.stack([bodies[n].directions for n in known])
    first_of_second = int(np.searchsorted(known, second_from))
    if second_from and first_of_second in (0, len(known)):
        return
    pairs = _candidates(codes, first_of_second)
    for start in range(0, len(pairs), PAIRS_AT_A_TIME):
        some = pairs[start : start + PAIRS_AT_A_TIME]
        for number, flip in _alike(codes, some):
            i, j = (int(n) for n in some[number])
            found = _best_line(codes[i], codes[j] * _signs(flip))
            if found is not None:
                first, second = known[i], known[j]
                turn = _turn(bodies[first].axes, bodies[second].axes, flip, found.reverse)
                yield BodyMatch(first, second, found.agreeing, found.seen, found.common, turn)


def _candidates(codes: Floats, second_from: int) -> Ints:
    """Return pairs [n, 2] of which one has probes like slices of the other, however flipped."""
    size = np.abs(codes)
    count = len(codes)
    parts = [np.arange(count)] * 2
    if second_from:
        parts = [np.arange(second_from), np.arange(second_from, count)]
    keys = [_with_probes(size, a, b) for a, b in ((parts[0], parts[1]), (parts[1], parts[0]))]
    key = np.unique(np.concatenate(keys))
    return np.stack([key // count, key % count], axis=1)


def _with_probes(size: Floats, ones: Ints, others: Ints) -> Ints:
    """Return the numbers of pairs of which `ones` have probes that look like slices of `others`."""
    if not len(ones) or not len(others):
        return np.zeros(0, np.int64)
    slices = np.ascontiguousarray(size[others].reshape(-1, len(FREQUENCIES)).T)
    found: list[Ints] = []
    step = max(1, CHUNK // (slices.shape[1] * len(PROBES)))
    for some in (ones[start : start + step] for start in range(0, len(ones), step)):
        probes = size[some][:, PROBES].reshape(-1, len(FREQUENCIES))
        hit = np.flatnonzero(probes @ slices > LEAST_ALIKE_UNSIGNED)
        probe, other = hit // slices.shape[1], hit % slices.shape[1] // SLICES
        once = np.unique(probe * len(others) + other)
        one, other = once // len(others) // len(PROBES), once % len(others)
        pair, votes = np.unique(one * len(others) + other, return_counts=True)
        pair = pair[votes >= LEAST_PROBES]
        a, b = some[pair // len(others)], others[pair % len(others)]
        found.append((np.minimum(a, b) * len(size) + np.maximum(a, b))[a != b])
    return np.concatenate(found)


def _alike(codes: Floats, pairs: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield which pairs have like probes, and in which flip."""
    first, second = codes[pairs[:, 0]], codes[pairs[:, 1]]
    for flip in FLIPS:
        flipped = (second * _signs(flip)).swapaxes(1, 2)
        alike = np.matmul(first, flipped, dtype=np.float32)
        votes = [(alike.max(axis=side)[:, PROBES] > LEAST_ALIKE).sum(axis=1) for side in (1, 2)]
        for number in np.flatnonzero(np.maximum(votes[0], votes[1]) >= LEAST_PROBES):
            yield int(number), flip


def _signs(flip: Ints) -> Floats:
    """Return the sign that a flip gives to each frequency."""
    return np.prod(np.where(FREQUENCIES % 2, flip, 1), axis=1).astype(np.float32)


@dataclass(frozen=True)
class _Line:
    agreeing: int
    seen: int
    common: tuple[float, float]
    reverse: bool


def _best_line(first: Floats, second: Floats) -> _Line | None:
    """Return the line on which slices of one scan look most like those of another."""
    slab = max(_likeness_along(codes, 1.0) for codes in (first, second)) > LEAST_VARIED
    lines = [_Lines.of(first, second[::step]) for step in (1, -1)]
    best = [each.whole() if slab else each.best() for each in lines]
    reverse = best[1][0] > best[0][0]
    mean, start, stop = best[int(reverse)]
    if mean < (LEAST_AGREEMENT_OF_SLABS if slab else LEAST_AGREEMENT):
        return None
    common = tuple(float(share) for share in _shares(np.array(start), np.array(stop)))
    line = _Line(*_agreeing(lines[int(reverse)], start, stop), (common[0], common[1]), reverse)
    if slab:
        return line
    scans = first, second[::-1] if reverse else second
    if max(map(_likeness_along, scans, common)) > LEAST_VARIED:
        return None
    # that which shows more has the thicker slices
    change = _change(scans[0], start, stop)
    if common[1] < common[0]:
        change = _change(scans[1], -start, -stop)
    parts = 1 - min(common)
    most_unlike = MOST_UNLIKE * (1 - parts) + MOST_UNLIKE_OF_PARTS * parts
    return line if 1 - mean <= most_unlike * change else None


def _agreeing(lines: "_Lines", start: float, stop: float) -> tuple[int, int]:
    """Return at how many places on a line slices agree, and at how many both show a body."""
    alike, seen = lines.along(np.array([start]), np.array([stop]))
    return int((alike[seen] >= AGREES).sum()), int(seen.sum())


def _change(codes: Floats, start: float, stop: float) -> float:
    """Return how unlike the slices next to each other are, without what lies beyond the ends."""
    first, last = (max(0, round(SLICES * share)) for share in (start, stop))
    return 1 - _likeness(codes[first : SLICES - last], 1)


def _likeness_along(codes: Floats, common: float) -> float:
    """Return how much alike slices look that lie half of the common part apart."""
    return _likeness(codes, max(1, round(SLICES * common / 2)))


def _likeness(codes: Floats, apart: int) -> float:
    """Return how much alike slices look that lie so far apart; those without a body do not count.

    Air beyond the body would make a scan seem to change, so that others could be more unlike it.
    """
    first, second = codes[:-apart], codes[apart:]
    seen = first.any(axis=1) & second.any(axis=1)
    return float((first * second).sum() / max(seen.sum(), 1))


@dataclass(frozen=True)
class _Lines:
    """How two scans look alike on all lines.

    A line is told by what one scan shows beyond the other at the start and at the stop: a positive
    share is of the first scan, a negative one of the second.
    """

    alike: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, first: Floats, second: Floats) -> "_Lines":
        return cls(first @ second.T, first @ first.T, second @ second.T)

    def best(self) -> tuple[float, float, float]:
        """Return the greatest mean, and the start and the stop of its line."""
        steps = np.arange(-SLICES + 1, SLICES) / SLICES
        best = 0.0, 0.0, 0.0
        for width in (1, 2, 4):
            start, stop = (grid.ravel() for grid in np.meshgrid(*(best[n] + steps for n in (1, 2))))
            mean = self.mean(start, stop)
            n = int(mean.argmax())
            best = float(mean[n]), float(start[n]), float(stop[n])
            steps = np.array([-1, 0, 1]) / (2 * width * SLICES)
        return best

    def whole(self) -> tuple[float, float, float]:
        """Return the mean on the line from end to end, and its start and stop."""
        return float(self.mean(np.zeros(1), np.zeros(1))[0]), 0.0, 0.0

    def mean(self, start: Shares, stop: Shares) -> Shares:
        """Return how much alike the slices on lines look; -1 if there is too little on them."""
        alike, seen = self.along(start, stop)
        mean = np.where(seen, alike, 0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
        mean[~_allowed(start, stop) | (seen.mean(axis=1) < LEAST_SEEN)] = -1
        return mean

    def along(self, start: Shares, stop: Shares) -> tuple[Shares, NDArray[np.bool_]]:
        """Return how much alike places on lines look [lines, 16], and whether both show a body."""
        share = (np.arange(PLACES) + 0.5) / PLACES
        places: list[tuple[Ints, Shares]] = []
        for a, b in zip(_ends(start), _ends(stop), strict=True):
            place = (a[:, None] + (1 - a - b)[:, None] * share) * SLICES - 0.5
            place = place.clip(0, SLICES - 1 - 1e-6)
            places.append((place.astype(np.int64), place % 1))
        (i, s), (j, t) = places
        across = (1 - s) * ((1 - t) * self.alike[i, j] + t * self.alike[i, j + 1])
        across += s * ((1 - t) * self.alike[i + 1, j] + t * self.alike[i + 1, j + 1])
        lengths = [
            (1 - u) ** 2 * own[k, k] + u**2 * own[k + 1, k + 1] + 2 * u * (1 - u) * own[k, k + 1]
            for own, k, u in ((self.first, i, s), (self.second, j, t))
        ]
        length = np.sqrt(lengths[0] * lengths[1])
        return across / np.maximum(length, 1e-6), length > 0.1


def _ends(beyond: Shares) -> tuple[Shares, Shares]:
    """Return the shares of the first scan and of the second that lie beyond the other."""
    return np.maximum(beyond, 0), np.maximum(-beyond, 0)


def _shares(start: Shares, stop: Shares) -> list[Shares]:
    """Return the shares of the first scan and of the second that they have in common."""
    return [1 - a - b for a, b in zip(_ends(start), _ends(stop), strict=True)]


def _allowed(start: Shares, stop: Shares) -> NDArray[np.bool_]:
    """Return whether two scans have enough in common."""
    shares = _shares(start, stop)
    return (np.minimum(*shares) >= LEAST_SHARE) & (np.maximum(*shares) >= LEAST_GREATER_SHARE)


def _turn(first: int, second: int, flip: Ints, reverse: bool) -> tuple[tuple[int, ...], ...]:
    turn = np.zeros((3, 3), np.int64)
    signs = (-1 if reverse else 1, *flip.tolist())
    for row, column, sign in zip(AXES[second], AXES[first], signs, strict=True):
        turn[row, column] = sign
    return tuple(tuple(row) for row in turn.tolist())
