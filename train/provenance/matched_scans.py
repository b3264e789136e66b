"""Pairs of scans that show the same, from two files of fingerprints, as a table."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from manifests.fingerprints.fingerprint import LATTICE_MM, Fingerprint
from manifests.fingerprints.matching import Match, find_matches
from manifests.ground.atomic import whole_file

Row = dict[str, Any]
AXES = ("z", "y", "x")


@dataclass(frozen=True)
class MatchedScans:
    """Two scans of which the one shows what the other shows, in whole or in part.

    Attributes:
        shows: `whole` if each shows all of the other; else `part`.
        share_of_a: How much of the first is in the second.
        turn: How the axes of the first lie in the second, as in `-x y z`; `as it is` if alike.
        shift_mm: Where the first voxel of the first lies in the second, along the second's x, y, z;
            of a pair that agrees in space, by how much they lie apart there, to 3 mm; of one that
            agrees in the body, empty.
        votes: Keypoints that agree, or places of the body, of so many `candidates`.
        by: Whether they agree in their `voxels`, in `space`, or only in what is seen of the `body`.
        header_a: Size, spacing in mm and orientation of the first.
    """

    a: str
    b: str
    shows: str
    share_of_a: float
    share_of_b: float
    turn: str
    shift_mm: str
    votes: int
    candidates: int
    by: str
    header_a: str
    header_b: str


def match_scans(first: Sequence[Row], second: Sequence[Row]) -> Iterator[MatchedScans]:
    """Yield all pairs of a scan of one file and a scan of another; of one file, all its pairs."""
    if not first or not second:
        return
    alone = first == second
    rows = [*first] if alone else [*first, *second]
    prints = [Fingerprint.from_text(row["fingerprint"]) for row in rows]
    for match in find_matches(prints, second_from=0 if alone else len(first)):
        yield _described(match, rows[match.first], rows[match.second])


def write_csv(pairs: Sequence[MatchedScans], path: Path) -> None:
    """Write one line for each pair, and a heading."""
    names = [field.name for field in fields(MatchedScans)]
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(pair) for pair in pairs)


def _described(match: Match, a: Row, b: Row) -> MatchedScans:
    step = (LATTICE_MM,) * 3 if match.by == "space" else tuple(reversed(b["spacing_mm"]))
    shift = [s * mm for s, mm in zip(match.shift, step, strict=False)]
    return MatchedScans(
        a=a["name"],
        b=b["name"],
        shows="whole" if match.whole else "part",
        share_of_a=round(match.common[0], 3),
        share_of_b=round(match.common[1], 3),
        turn=_turn(match.turn),
        shift_mm=" ".join(f"{mm:g}" for mm in reversed(shift)),
        votes=match.votes,
        candidates=match.candidates,
        by=match.by,
        header_a=_header(a),
        header_b=_header(b),
    )


def _turn(turn: Sequence[Sequence[int]]) -> str:
    """Return which axis of the first lies along x, y and z of the second, and whether reversed."""
    words = []
    for row in reversed(turn):
        axis = [abs(step) for step in row].index(1)
        words.append(f"{'-' if row[axis] < 0 else ''}{AXES[axis]}")
    return "as it is" if words == ["x", "y", "z"] else " ".join(words)


def _header(row: Row) -> str:
    size = "x".join(map(str, row["size"]))
    spacing = "x".join(f"{mm:.4g}" for mm in row["spacing_mm"])
    return f"{size} {spacing} mm {row['orientation']}"
