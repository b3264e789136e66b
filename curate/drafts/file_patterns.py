"""Patterns of file names: what in a path names the case, and what says image or label."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from curate.drafts.structure_names import structures_named

CASE = "{case}"
SUFFIX = re.compile(r"\.(nii(\.gz)?|nrrd|mha)$", re.IGNORECASE)
BIDS_CASE = re.compile(r"sub-[^_]+(?:_ses-[^_]+)?")
BIDS_FOLDER = re.compile(r"(sub|ses)-")
CHANNEL = re.compile(r"(?<=\d)_0000$")  # nnU-Net numbers channels behind the name
PIECE = re.compile(r"[A-Za-z]+|\d+|[^A-Za-z\d]+")
IMAGE_WORDS = frozenset(
    {
        *("ct", "data", "image", "images", "imagestr", "imagesva", "imagests", "imaging", "img"),
        *("imgs", "orig", "original", "raw", "scan", "scans", "vol", "volume", "volumes"),
    }
)
LABEL_WORDS = frozenset(
    {
        *("annotation", "annotations", "dseg", "gt", "instance", "instances", "label", "labels"),
        *("labelstr", "labelsva", "lbl", "mask", "masks", "roi", "seg", "segmentation"),
        *("segmentations", "segs", "truth"),
    }
)
SHAPES = 3  # more kinds of names than this are told as any name

Role = Literal["image", "label"]


@dataclass(frozen=True)
class Patterned:
    """A file's path as a pattern, and the case in it.

    Attributes:
        path: Below the folder.
        role: Whether it looks like an image or a label.
        pattern: The path with `{case}` for the case, as in a recipe's layout.
        case: What `{case}` stands for.
    """

    path: str
    role: Role
    pattern: str
    case: str


def patterned(paths: Iterable[str]) -> list[Patterned]:
    """Read the volumes among paths; those that name no case are left out."""
    volumes = [PurePosixPath(p) for p in sorted(paths) if SUFFIX.search(p)]
    folders = defaultdict[str, set[str]](set)
    for path in volumes:
        folders[path.name].add(_naming_folder(path))
    found = (_read(path, fixed_name=len(folders[path.name] - {""}) > 1) for path in volumes)
    return [f for f in found if f]


def best(files: Sequence[Patterned], wanted: Iterable[str]) -> tuple[str, ...]:
    """The fewest patterns that give as many of the wanted cases a file as there are files for.

    Of patterns that give the same cases, the one that speaks of CT goes first.
    """
    open_ = set(wanted)
    cases = defaultdict[str, set[str]](set)
    for f in files:
        cases[f.pattern].add(f.case)
    order = sorted(cases, key=lambda p: (-len(cases[p] & open_), not _speaks_of_ct(p), len(p), p))
    chosen = []
    for pattern in order:
        if cases[pattern] & open_:
            chosen.append(pattern)
            open_ -= cases[pattern]
    return tuple(chosen)


def mask_folder(labels: Sequence[Patterned]) -> tuple[str, tuple[str, ...]] | None:
    """The folder of masks, as a pattern, and the masks' names, if each case has several there."""
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
    """A regular expression of these names and of others like them."""
    shapes = sorted({re.sub(r"\d+", r"\\d+", re.escape(case)) for case in cases})
    return "|".join(shapes) if len(shapes) <= SHAPES else "[^/]+?"


def names_in(pattern: str) -> frozenset[str]:
    """Words and numbers of a pattern that say neither which case it is, nor image or label."""
    pieces = PIECE.findall(SUFFIX.sub("", pattern.replace(CASE, "/")))
    return frozenset(p.lower() for p in pieces if p.isalnum()) - IMAGE_WORDS - LABEL_WORDS


def says(path: str, words: frozenset[str]) -> bool:
    """Whether a path has one of these words."""
    return not words.isdisjoint(p.lower() for p in PIECE.findall(SUFFIX.sub("", path)))


def _read(path: PurePosixPath, *, fixed_name: bool) -> Patterned | None:
    stem = SUFFIX.sub("", path.name)
    folder = _naming_folder(path)
    same_name = fixed_name and not BIDS_CASE.match(stem)  # BIDS names the subject in the file
    by_folder = bool(folder) and (same_name or bool(structures_named(stem)))
    before, case, after = ("", "", "") if by_folder else _around_case(stem)
    name = f"{before}{CASE}{after}{path.name[len(stem) :]}" if case else path.name
    if not case and folder:
        before, case, after = _around_case(folder)
    if not case:
        return None
    folders = [_folder(part, case) for part in path.parts[:-1]]
    return Patterned(str(path), _role(path), "/".join([*folders, name]), case)


def _naming_folder(path: PurePosixPath) -> str:
    """The innermost folder whose name is more than a word for images or labels."""
    return next((part for part in reversed(path.parts[:-1]) if _around_case(part)[1]), "")


def _around_case(name: str) -> tuple[str, str, str]:
    """A name in three: the case, and around it the words that say image or label."""
    if found := BIDS_CASE.match(name):
        return "", found[0], name[found.end() :]
    pieces = PIECE.findall(CHANNEL.sub("", name))
    silent = IMAGE_WORDS | LABEL_WORDS
    told = [n for n, p in enumerate(pieces) if p.isalnum() and p.lower() not in silent]
    if not told:
        return name, "", ""
    before = "".join(pieces[: told[0]])
    case = "".join(pieces[told[0] : told[-1] + 1])
    return before, case, name[len(before) + len(case) :]


def _folder(part: str, case: str) -> str:
    """A folder of the pattern: the case's, one of BIDS that any name may stand for, or as it is."""
    before, found, after = _around_case(part)
    if found == case:
        return f"{before}{CASE}{after}"
    return "*" if BIDS_FOLDER.match(part) else part


def _role(path: PurePosixPath) -> Role:
    stem = SUFFIX.sub("", path.name)
    if says(stem, LABEL_WORDS) or structures_named(stem):
        return "label"
    in_labels = any(says(part, LABEL_WORDS) for part in path.parts[:-1])
    return "label" if in_labels else "image"


def _speaks_of_ct(pattern: str) -> bool:
    return says(pattern, frozenset({"ct"})) or "_0000." in pattern
