"""What a folder of somebody's own holds: how images and labels lie, and what it says of them."""

import glob
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from curate.datasets.discover import SourceCase, held_masks, published
from curate.drafts.dicom_folder import look_at_dicom
from curate.drafts.file_patterns import (
    CASE,
    SUFFIX,
    PatternedPath,
    best_patterns,
    case_expression,
    has_word,
    mask_folder,
    patterned_paths,
    structure_words,
)
from curate.drafts.masks_of_all import masks_of_all
from curate.drafts.pairing import check_pairs
from curate.drafts.slicer_folder import look_at_slicer
from curate.recipes.layouts import DecathlonLayout, Layout, MasksLayout, PairsLayout
from manifests.classes.structure_names import known_words, structures_named
from manifests.ground.errors import SourceError

INDEX = "dataset.json"
METADATA = {"name": "title", "description": "title", "licence": "licence", "license": "licence"}
METADATA |= {"reference": "citation"}

NAMED = 10  # so many files that were passed over are named

Kind = Literal["decathlon", "nnunet", "masks", "dicom", "slicer", "bids", "pairs"]


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        kind: How its files lie; `nnunet`, `bids` and `pairs` are all pairs of files.
        layout: The same as a recipe says it.
        masks: Names of the mask files, or of the segments, if a label has such.
        counts: Number of cases that have each of these segments.
        names: What `dataset.json` calls each label value.
        metadata: What it says of the dataset: `title`, `licence`, `citation`.
        passed_over: Files below the folder that no case has; volumes first.
        other_labels: Where further labels of the cases lie, if there are several of one case.
    """

    folder: Path
    kind: Kind
    layout: Layout
    cases: tuple[SourceCase, ...]
    masks: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()
    other_labels: tuple[str, ...] = ()

    def with_masks(self) -> list[SourceCase]:
        """Return the cases, each with the masks that it has, if a label is a folder of them."""
        if not self.masks:
            return [*self.cases]
        there = (
            replace(case, masks=tuple(m for m in self.masks if m in (held or ())))
            for case in self.cases
            for held in [held_masks(case, self.masks)]
        )
        return [case for case in there if case.masks]

    @property
    def read(self) -> str:
        """Which files are images and labels, in words; empty if `dataset.json` lists them."""
        if isinstance(self.layout, DecathlonLayout):
            return ""
        return f"images: {', '.join(self.layout.images)}; labels: {', '.join(self.layout.labels)}"

    @property
    def several(self) -> str:
        """Which of several labels of a case is taken, in words; empty if there is one of each."""
        if not self.other_labels or isinstance(self.layout, DecathlonLayout):
            return ""
        more = ", ..." if len(self.other_labels) > NAMED else ""
        return (
            f"cases have several labels, such as those of several annotators: "
            f"{' or '.join(self.layout.labels)} is taken; to take another, write it in `labels` of "
            f"[layout]: {', '.join(self.other_labels[:NAMED])}{more}"
        )

    @property
    def unused(self) -> str:
        """What was passed over, in words."""
        if not self.passed_over:
            return "no file was passed over"
        kinds = Counter("".join(Path(p).suffixes[-2:]) or "no ending" for p in self.passed_over)
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(NAMED))
        more = ", ..." if len(self.passed_over) > NAMED else ""
        return (
            f"passed over, as no case has them: {len(self.passed_over)} files ({counts}): "
            f"{', '.join(self.passed_over[:NAMED])}{more}"
        )


def survey(folder: Path) -> Survey:
    """Look at a folder: which files are images and labels, and which belong together.

    Raises:
        SourceError: No image with a label was found, names do not say which belong together, or
            `dataset.json` is damaged.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder: expected the folder of a dataset, unpacked"
        raise SourceError(msg)
    index = _index(folder)
    layout = _listed(folder, index)
    masks: tuple[str, ...] = ()
    kind: Kind = "decathlon"
    files = [] if layout else patterned_paths(_files(folder))
    counts: Mapping[str, int] = {}
    pairs = layout or _cases_of_both(files)
    dicom = None if pairs else look_at_dicom(folder, _files(folder), _roots(folder))
    if dicom:
        kind, layout, masks, counts = dicom.layout.kind, dicom.layout, dicom.names, dicom.counts
    elif layout is None:
        kind, layout, masks = _paired(folder, files)
        if named := look_at_slicer(folder, layout):
            kind, (layout, counts) = "slicer", named
    cases = tuple(published(layout, folder))
    check_pairs(cases, files, folder)
    if not cases:
        raise SourceError(_nothing(folder, ()))
    return Survey(
        folder,
        kind,
        layout,
        cases,
        masks or tuple(counts),
        counts,
        _names(index),
        _metadata(index),
        tuple(_passed_over(folder, cases, masks)),
        () if masks else _other_labels(files, layout),
    )


def _other_labels(files: Sequence[PatternedPath], layout: Layout) -> tuple[str, ...]:
    """Return the patterns of labels that a layout of one label for each case does not take."""
    _, labels = _by_role(files)
    images = {f.case for f in files if f.role == "image"}
    taken = () if isinstance(layout, DecathlonLayout) else layout.labels
    there = {f.pattern for f in labels if f.case in images} - {*taken}
    return tuple(sorted(there, key=lambda p: (p.count("/"), p)))


def _passed_over(folder: Path, cases: Sequence[SourceCase], masks: Sequence[str]) -> list[str]:
    images, labels = {case.image for case in cases}, {case.label for case in cases}
    used = images | (set() if masks else labels)
    used |= {case.label / case.mask_name(mask) for case in cases for mask in masks}
    found = (
        p
        for p in _files(folder)
        if p != INDEX and used.isdisjoint([folder / p, *(folder / p).parents])
    )
    return sorted(found, key=lambda p: (not SUFFIX.search(p), p))


def _index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path} cannot be read: {error}; correct it, or take it away"
        raise SourceError(msg) from error
    return found if isinstance(found, dict) else {}


def _listed(folder: Path, index: Mapping[str, Any]) -> DecathlonLayout | None:
    """Return the Decathlon's layout, if the list names files that are there."""
    layout = DecathlonLayout(kind="decathlon", roots=_roots(folder))
    try:
        first = next(published(layout, folder))
    except (SourceError, StopIteration):
        return None
    return layout if index and first.image.is_file() and first.label.is_file() else None


def _paired(folder: Path, found: list[PatternedPath]) -> tuple[Kind, Layout, tuple[str, ...]]:
    images, labels = _by_role(found)
    both = _cases_of_both(found)
    if not both and (masks := masks_of_all(_files(folder))):
        of_masks = {f.case for f in masks.images}
        layout = MasksLayout(
            kind="masks",
            roots=_roots(folder),
            case=case_expression(of_masks),
            images=best_patterns(masks.images, of_masks),
            labels=(masks.pattern,),
        )
        return "masks", layout, masks.names
    if not both:
        raise SourceError(_nothing(folder, found))
    image_patterns = best_patterns(images, both)
    labels = [f for f in labels if f.case in both]
    patterns = best_patterns(labels, both)
    places = {"roots": _roots(folder), "case": case_expression(both), "images": image_patterns}
    masks = None if any(_is_map(p) for p in patterns) else mask_folder(labels)
    if masks:
        return "masks", MasksLayout(kind="masks", labels=(masks[0],), **places), masks[1]
    layout = PairsLayout(kind="pairs", labels=patterns, **places)
    return _kind(image_patterns, both), layout, ()


def _cases_of_both(files: Sequence[PatternedPath]) -> set[str]:
    """Return the cases that have an image and a label."""
    images, labels = _by_role(files)
    return {f.case for f in images} & {f.case for f in labels}


def _by_role(files: Sequence[PatternedPath]) -> tuple[list[PatternedPath], list[PatternedPath]]:
    return [f for f in files if f.role == "image"], [f for f in files if f.role == "label"]


def _roots(folder: Path) -> tuple[str, ...]:
    return (glob.escape(folder.resolve().name),)


def _is_map(pattern: str) -> bool:
    """Return whether a label file is named after its case or as a label, not after a structure."""
    name = pattern.rpartition("/")[2]
    if CASE in name:
        return True
    return has_word(name, known_words("label")) and not structures_named(structure_words(name))


def _kind(images: tuple[str, ...], cases: set[str]) -> Kind:
    if images[0].startswith("imagesTr/") and "_0000." in images[0]:
        return "nnunet"
    return "bids" if all(case.startswith("sub-") for case in cases) else "pairs"


def _files(folder: Path) -> Iterator[str]:
    """Yield all files below the folder, without junk, relative to it."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        at = Path(where).relative_to(folder)
        yield from ((at / f).as_posix() for f in files if not f.startswith("."))


def _nothing(folder: Path, found: Sequence[PatternedPath]) -> str:
    images, labels = _by_role(found)
    some = "".join(f"\n  {f.role} of {f.case!r}: {f.path}" for f in [*images[:2], *labels[:2]])
    return (
        f"{folder}: no image was found that has a label: expected .nii, .nii.gz, .nrrd or .mha "
        f"files of the same case, images and labels told apart by a word in their names or "
        f"folders (image, ct; label, seg, mask), or a {INDEX} that lists them; got "
        f"{len(images)} images and {len(labels)} labels{some}\n"
        f"rename them, or write the recipe by hand: docs/how_to/recipes.md shows one"
    )


def _names(index: Mapping[str, Any]) -> dict[int, str]:
    """Return names of label values, by value (Decathlon, nnU-Net 1) or by name (nnU-Net 2)."""
    labels = index.get("labels")
    found: dict[int, str] = {}
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        number, name = (key, value) if isinstance(value, str) else (value, key)
        if str(number).isdigit() and int(number) > 0:  # a list is a region of nnU-Net's
            found[int(number)] = str(name)
    return found


def _metadata(index: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, what in METADATA.items():
        if isinstance(index.get(key), str) and index[key].strip():
            found.setdefault(what, " ".join(index[key].split()))
    return found
