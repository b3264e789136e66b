"""Pairs of files: whether names say that an image belongs to another label."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from curate.datasets.discover import SourceCase
from curate.drafts.file_patterns import CASE, PatternedPath, names_in
from manifests.ground.errors import SourceError


def check_pairs(cases: Sequence[SourceCase], files: Sequence[PatternedPath], folder: Path) -> None:
    """Refuse cases that join the image of one patient, or visit, to the label of another.

    A label belongs to the image of its case that shares the most names with it. Where that is not
    the image that the case has, its name does not tell patients apart: pairs would be mixed up or
    left out.

    Raises:
        SourceError: There is such a case, or one that has several images or labels.
    """
    of_case = defaultdict[str, list[PatternedPath]](list)
    for f in files:
        of_case[f.case].append(f)
    for case in cases:
        doubts = _doubts(case, of_case[case.name], folder)
        doubt = case.finding.reason if case.finding else next(doubts, "")
        if doubt:
            msg = (
                f"{folder}: the files' names do not say which image and label belong together: "
                f"case {case.name!r}: {doubt}\n"
                f"expected a name for each case that no other patient or visit has: rename the "
                f"files, as in patient_01_visit_2_ct.nii.gz, or write the recipe by hand: "
                f"docs/how_to/recipes.md shows one"
            )
            raise SourceError(msg)


def _doubts(case: SourceCase, files: Sequence[PatternedPath], folder: Path) -> Iterator[str]:
    at, label_at = (PurePosixPath(p.relative_to(folder)) for p in (case.image, case.label))
    images = [f for f in files if f.role == "image"]
    labels = [f for f in files if f.role == "label"]
    own = [f for f in labels if PurePosixPath(f.path).is_relative_to(label_at)]  # masks, or one
    if not own:  # a folder without masks
        return
    for image in (f for f in images if PurePosixPath(f.path) == at):
        for label in labels:
            akin = max(images, key=lambda f, to=label: _shared_names(f, to))
            if _shared_names(akin, label) > _shared_names(image, label):
                yield f"{label.path} belongs to {akin.path}, and {image.path} was found"
        akin = max(labels, key=lambda f, to=image: _shared_names(f, to))
        if _shared_names(akin, image) > max(_shared_names(f, image) for f in own):
            yield f"{image.path} belongs to {akin.path}, and {case.label.name} was found"
        if any(_numbered_apart(image, f) for f in own):
            yield f"{image.path} and {label_at} lie in folders of different numbers"


def _shared_names(one: PatternedPath, other: PatternedPath) -> int:
    return len(names_in(one.pattern) & names_in(other.pattern))


def _numbered_apart(one: PatternedPath, other: PatternedPath) -> bool:
    """Return whether the folders above the case's are alike but for their numbers."""
    mine, theirs = (_folders_above(f) for f in (one, other))
    alike = {re.sub(r"\d+", "#", name) for name in mine - theirs}
    return any(re.sub(r"\d+", "#", name) in alike for name in theirs - mine)


def _folders_above(file: PatternedPath) -> set[str]:
    return set(file.pattern.partition(CASE)[0].split("/")[:-1])
