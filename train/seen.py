"""Which scans show what a network was trained on, whatever they are called."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifests.fingerprints.body_matching import find_body_matches
from manifests.fingerprints.fingerprint import Fingerprint
from manifests.fingerprints.matching import LEAST_VOTES, Match, find_matches
from train.learnt import Learnt

VIEWS = ("on_voxels", "on_lattice")


@dataclass(frozen=True)
class KnownScans:
    """The fingerprints of cases, and where each of their codes is from, to find a scan fast."""

    ids: tuple[str, ...]
    fingerprints: tuple[Fingerprint, ...]
    codes: tuple[NDArray[np.uint64], ...]
    places: tuple[NDArray[np.int64], ...]

    @classmethod
    def trained(cls, learnt: Iterable[Learnt]) -> "KnownScans":
        """Return the cases that changed the weights of one of several networks."""
        texts = {
            c.case_id: c.fingerprint for each in learnt for c in each.cases if c.part == "train"
        }
        known = {name: f for name, text in texts.items() if (f := read_fingerprint(text))}
        views = [[getattr(f, view).code for f in known.values()] for view in VIEWS]
        none = np.zeros(0, np.uint64)
        return cls(
            tuple(known),
            tuple(known.values()),
            tuple(np.concatenate([none, *codes]) for codes in views),
            tuple(np.repeat(np.arange(len(codes)), [*map(len, codes)]) for codes in views),
        )

    def shown_by(self, scan: Fingerprint) -> str:
        """Return which case a scan shows, whole or in part, in words; empty if none."""
        alike = self._alike(scan)
        found = find_matches([*(self.fingerprints[n] for n in alike), scan])
        matches = [match for match in found if match.second == len(alike)]
        if not matches:
            return ""
        best = max(matches, key=lambda match: match.votes)
        return _words(best, self.ids[alike[best.first]])

    def _alike(self, scan: Fingerprint) -> Sequence[int]:
        """Return the cases that have enough codes, or the body, in common with a scan."""
        enough = np.zeros(len(self.ids), bool)
        for view, codes, places in zip(VIEWS, self.codes, self.places, strict=True):
            common = np.isin(codes, getattr(scan, view).code)
            enough |= np.bincount(places[common], minlength=len(enough)) >= LEAST_VOTES
        bodies = [*(f.of_body for f in self.fingerprints), scan.of_body]
        for match in find_body_matches(bodies, second_from=len(self.ids)):
            enough[match.first] = True
        return np.flatnonzero(enough).tolist()


def seen_in_training(learnt: Iterable[Learnt], fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Return of each scan that a network was trained on which case it shows, in words.

    Args:
        learnt: What the network, or the networks of an ensemble, learnt from.
        fingerprints: Of the scans, as text, by any names; one that cannot be read is not found.
    """
    known = KnownScans.trained(learnt)
    asked = {name: f for name, text in fingerprints.items() if (f := read_fingerprint(text))}
    return {name: words for name, scan in asked.items() if (words := known.shown_by(scan))}


def read_fingerprint(text: str) -> Fingerprint | None:
    """Return a fingerprint from its text; None if it is none."""
    try:
        return Fingerprint.from_text(text) if text else None
    except (ValueError, IndexError, TypeError):
        return None


def _words(match: Match, case_id: str) -> str:
    part = "" if match.whole else "a part of "
    what = "places of the body" if match.by == "body" else "keypoints"
    return (
        f"the network was trained on {part}this scan, as {case_id} "
        f"({match.votes} of {match.candidates} {what} agree)"
    )
