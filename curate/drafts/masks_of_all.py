"""Masks of all cases in one folder, with both in their names, as in `Pat01_liver.nii.gz`."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePosixPath

from curate.drafts.file_patterns import SUFFIX, PatternedPath, structure_words
from curate.recipes.layouts import CASE
from manifests.classes.case_names import around_case
from manifests.classes.structure_names import structures_named

SPLIT = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class MasksOfAll:
    """One folder with the masks of all cases, and the images of these cases.

    Attributes:
        pattern: Of the masks' files, as in `masks/{case}_*.nii.gz`.
        names: Of the masks, as in `{case}_liver.nii.gz`.
    """

    pattern: str
    names: tuple[str, ...]
    images: tuple[PatternedPath, ...]


def masks_of_all(paths: Iterable[str]) -> MasksOfAll | None:
    """Return the masks among paths, if each has a case and a structure in its name."""
    volumes = [PurePosixPath(p) for p in sorted(paths) if SUFFIX.search(p)]
    masks = {path: named for path in volumes if (named := _case_and_name(path))}
    if not masks:
        return None
    (folder, _), *_ = Counter(path.parent for path in masks).most_common(1)
    mine = {path: named for path, named in masks.items() if path.parent == folder}
    cases = {case for case, _ in mine.values()}
    images = tuple(found for p in volumes if p not in masks and (found := _image(p, cases)))
    if not images:
        return None
    names = tuple(sorted({name for _, name in mine.values()}))
    head = _same_begin(names)
    tail = _same_begin([name[len(head) :][::-1] for name in names])[::-1]
    file = names[0] if len(names) == 1 else f"{head}*{tail}"
    return MasksOfAll(str(folder / file), names, images)


def _case_and_name(path: PurePosixPath) -> tuple[str, str] | None:
    """Return the case in a mask's name, and the name with `{case}` for it."""
    stem = SUFFIX.sub("", path.name)
    for cut in SPLIT.finditer(stem):
        for case, rest in (
            (stem[: cut.start()], stem[cut.end() :]),
            (stem[cut.end() :], stem[: cut.start()]),
        ):
            if re.search(r"\d", case) and structures_named(structure_words(rest)):
                return case, path.name.replace(case, CASE, 1)
    return None


def _same_begin(names: Sequence[str]) -> str:
    """Return what names begin with alike, without the last letters: they may be of two words."""
    alike = takewhile(lambda letters: len({*letters}) == 1, zip(*names, strict=False))
    return re.sub(r"[^\W_]+$", "", "".join(letters[0] for letters in alike))


def _image(path: PurePosixPath, cases: set[str]) -> PatternedPath | None:
    stem = SUFFIX.sub("", path.name)
    before, case, after = around_case(stem)
    if case not in cases:
        return None
    name = f"{before}{CASE}{after}{path.name[len(stem) :]}"
    return PatternedPath(str(path), "image", str(path.with_name(name)), case)
