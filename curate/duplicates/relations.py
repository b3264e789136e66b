"""Relations: which cases show one image or one patient, and what a user is told of it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from curate.duplicates.known_relations import known_relations
from manifests.ground.findings import Finding
from manifests.table.case import Case
from manifests.table.subjects import common_subjects

if TYPE_CHECKING:
    from manifests.fingerprints.matching import Match

Code = Literal["duplicate_image", "related_image", "same_patient"]
AXES = ("third", "second", "first")  # of a file, in the order of an array's


@dataclass(frozen=True)
class Relation:
    """What ties two cases, by their ids; the reason is worded to follow the other case's id."""

    first: str
    second: str
    code: Code
    reason: str


def find_relations(cases: Sequence[Case]) -> list[Relation]:
    """Return the relations among cases, by image and by what is known; one for each two."""
    found: dict[frozenset[str], Relation] = {}
    for relation in (*_same_voxels(cases), *_alike(cases), *_known(cases)):
        found.setdefault(frozenset((relation.first, relation.second)), relation)
    return sorted(found.values(), key=lambda r: (r.first, r.second))


def with_relations(cases: Sequence[Case], relations: Sequence[Relation]) -> list[Case]:
    """Return the cases with the findings of their relations, and one subject for tied cases."""
    ties: defaultdict[str, dict[str, Finding]] = defaultdict(dict)
    for r in relations:
        ties[r.first][r.second] = Finding(r.code, f"{r.second}: {r.reason}")
        ties[r.second][r.first] = Finding(r.code, f"{r.first}: {r.reason}")
    subjects = common_subjects((c.case_id, c.subject_id, ties[c.case_id]) for c in cases)
    return [
        replace(
            case,
            subject_id=subjects[case.case_id],
            related=tuple(sorted(ties[case.case_id])),
            findings=(*case.findings, *(f for _, f in sorted(ties[case.case_id].items()))),
        )
        for case in cases
    ]


def _same_voxels(cases: Sequence[Case]) -> Iterator[Relation]:
    same: defaultdict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
    for case in cases:
        same[case.voxels_sha256, case.size].append(case.case_id)
    for ids in same.values():
        for a, b in combinations(sorted(ids), 2):
            yield Relation(a, b, "duplicate_image", "the same voxels")


def _alike(cases: Sequence[Case]) -> Iterator[Relation]:
    if len(cases) < 2:
        return
    from manifests.fingerprints.fingerprint import Fingerprint  # slow to import
    from manifests.fingerprints.matching import find_keypoint_matches

    # not by the body: patients of one outline may look alike
    for match in find_keypoint_matches([Fingerprint.from_text(c.fingerprint) for c in cases]):
        a, b = cases[match.first].case_id, cases[match.second].case_id
        code: Code = "duplicate_image" if match.whole else "related_image"
        yield Relation(a, b, code, _words(match, a, b))


def _known(cases: Sequence[Case]) -> Iterator[Relation]:
    for a, b, text in known_relations().pairs(cases):
        yield Relation(min(a, b), max(a, b), "same_patient", text)


def _words(match: "Match", first: str, second: str) -> str:
    percent = " and ".join(
        f"{share:.0%} of {name}" for share, name in zip(match.common, (first, second), strict=True)
    )
    words = [f"{match.votes} of {match.candidates} keypoints agree on {percent}"]
    if match.by != "voxels":
        words.append("on another grid")
    axes = [[abs(step) for step in row].index(1) for row in match.turn]
    if axes != [0, 1, 2]:
        words.append("with the axes in another order")
    if flipped := [AXES[row] for row, steps in enumerate(match.turn) if min(steps) < 0]:
        words.append(f"flipped along the {' and '.join(flipped)} axis of {second}")
    return ", ".join(words)
