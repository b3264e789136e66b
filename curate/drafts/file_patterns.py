"""Patterns of file names: what in a path names the case, and what says image or label."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from curate.recipes.layouts import CASE
from manifests.classes.case_names import BIDS_CASE, PIECE, around_case
from manifests.classes.structure_names import known_words, structures_named

SUFFIX = re.compile(r"\.(nii(\.gz)?|nrrd|mha)$", re.IGNORECASE)
BIDS_FOLDER = re.compile(r"(sub|ses)-")
JOINED = frozenset({"maj", "majority", "staple", "consensus"})  # of several annotators
SHAPES = 3  # more kinds of names than this are told as any name

Role = Literal["image", "label"]


@dataclass(frozen=True)
class PatternedPath:
    """A file's path as a pattern, and the case in it.

    Attributes:
        path: Below the folder.
        pattern: The path with `{case}` for the case, as in a recipe's layout.
    """

    path: str
    role: Role
    pattern: str
    case: str


def patterned_paths(paths: Iterable[str]) -> list[PatternedPath]:
    """Read the volumes among paths; those that name no case are left out."""
    volumes = [PurePosixPath(p) for p in sorted(paths) if SUFFIX.search(p)]
    folders = defaultdict[str, set[str]](set)
    for path in volumes:
        folders[path.name].add(_naming_folder(path))
    labelled = frozenset(around_case(_stem(p))[1] for p in volumes if _role(p) == "label") - {""}
    found = (
        _read(path, labelled, fixed_name=len(folders[path.name] - {""}) > 1) for path in volumes
    )
    return [f for f in found if f]


def best_patterns(files: Sequence[PatternedPath], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the fewest patterns that give a file to as many of the wanted cases as possible.

    Of patterns that give the same cases, the one that speaks of CT goes first, and then one that
    speaks of a label that several annotators' labels were joined to.
    """
    open_ = set(wanted)
    cases = defaultdict[str, set[str]](set)
    for f in files:
        cases[f.pattern].add(f.case)
    order = sorted(
        cases,
        key=lambda p: (
            *(-len(cases[p] & open_), not _speaks_of_ct(p), not has_word(p, JOINED)),
            *(len(p), p),
        ),
    )
    chosen = []
    for pattern in order:
        if cases[pattern] & open_:
            chosen.append(pattern)
            open_ -= cases[pattern]
    return tuple(chosen)


def mask_folder(labels: Sequence[PatternedPath]) -> tuple[str, tuple[str, ...]] | None:
    """Return the folder of masks, as a pattern, and the masks' names, if a case has several."""
    names = defaultdict[str, Counter[str]](Counter)
    for f in labels:
        path = PurePosixPath(f.pattern)
        if CASE in str(path.parent) and CASE not in path.name:
            names[str(path.parent)][path.name] += 1
    several = {folder: found for folder, found in names.items() if len(found) > 1}
    if not several:
        return None
    folder = max(several, key=lambda f: sum(several[f].values()))
    return folder, tuple(sorted(several[folder]))


def case_expression(cases: Iterable[str]) -> str:
    """Return a regular expression of these names and of others like them."""
    shapes = sorted({re.sub(r"\d+", r"\\d+", re.escape(case)) for case in cases})
    return "|".join(shapes) if len(shapes) <= SHAPES else "[^/]+?"


def names_in(pattern: str) -> frozenset[str]:
    """Return words and numbers of a pattern that name neither the case, nor image or label."""
    pieces = PIECE.findall(SUFFIX.sub("", pattern.replace(CASE, "/")))
    return (
        frozenset(p.lower() for p in pieces if p.isalnum())
        - known_words("image")
        - known_words("label")
    )


def structure_words(name: str) -> str:
    """Return a file's name without its suffix and without words for a label, as of `seg_liver`."""
    pieces = PIECE.findall(SUFFIX.sub("", name.replace(CASE, "")))
    return "".join(p for p in pieces if p.lower() not in known_words("label")).strip("_-. ")


def has_word(path: str, words: frozenset[str]) -> bool:
    """Return whether a path has one of these words."""
    return not words.isdisjoint(p.lower() for p in PIECE.findall(SUFFIX.sub("", path)))


def _read(
    path: PurePosixPath, labelled: frozenset[str], *, fixed_name: bool
) -> PatternedPath | None:
    stem = _stem(path)
    folder = _naming_folder(path)
    same_name = fixed_name and not BIDS_CASE.match(stem)  # BIDS names the subject in the file
    by_folder = bool(folder) and (same_name or bool(structures_named(structure_words(stem))))
    known = labelled if _role(path) == "image" else frozenset[str]()
    before, case, after = ("", "", "") if by_folder else around_case(stem, known)
    name = f"{before}{CASE}{after}{path.name[len(stem) :]}" if case else path.name
    if not case and folder:
        before, case, after = around_case(folder)
    if not case:
        return None
    folders = [_folder(part, case) for part in path.parts[:-1]]
    return PatternedPath(str(path), _role(path), "/".join([*folders, name]), case)


def _naming_folder(path: PurePosixPath) -> str:
    """Return the innermost folder whose name is more than a word for images or labels."""
    return next((part for part in reversed(path.parts[:-1]) if around_case(part)[1]), "")


def _stem(path: PurePosixPath) -> str:
    return SUFFIX.sub("", path.name)


def _folder(part: str, case: str) -> str:
    """Return a folder of the pattern: the case's, `*` for one of BIDS, or the folder as it is."""
    before, found, after = around_case(part)
    if found == case:
        return f"{before}{CASE}{after}"
    return "*" if BIDS_FOLDER.match(part) else part


def _role(path: PurePosixPath) -> Role:
    structures = structures_named(SUFFIX.sub("", path.name))
    return "label" if structures or has_word(str(path), known_words("label")) else "image"


def _speaks_of_ct(pattern: str) -> bool:
    return has_word(pattern, frozenset({"ct"})) or "_0000." in pattern
