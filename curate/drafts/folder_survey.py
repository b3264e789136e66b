"""What a folder of somebody's own holds: how images and labels lie, and what it says of them."""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from curate.datasets.discover import Published, published
from curate.drafts.file_patterns import (
    CASE,
    LABEL_WORDS,
    Patterned,
    best,
    case_expression,
    mask_folder,
    patterned,
    says,
)
from curate.drafts.pairing import check_pairs
from curate.recipes.layouts import DecathlonLayout, Layout, MasksLayout, PairsLayout
from manifests.ground.errors import SourceError

INDEX = "dataset.json"
TOLD = {"name": "title", "description": "title", "licence": "licence", "license": "licence"}
TOLD |= {"reference": "citation"}

Kind = Literal["decathlon", "nnunet", "masks", "bids", "pairs"]


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        folder: The folder.
        kind: How its files lie; `nnunet`, `bids` and `pairs` are all pairs of files.
        layout: The same as a recipe says it.
        cases: The labelled cases.
        masks: Names of the mask files, if a label is a folder of them.
        names: What `dataset.json` calls each label value.
        told: What it says of the data set: `title`, `licence`, `citation`.
    """

    folder: Path
    kind: Kind
    layout: Layout
    cases: tuple[Published, ...]
    masks: tuple[str, ...] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


def survey(folder: Path) -> Survey:
    """Look at a folder: which files are images and labels, and which belong together.

    Raises:
        SourceError: No image with a label was found, names do not say which belong together, or
            `dataset.json` is damaged.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder: expected the folder of a data set, unpacked"
        raise SourceError(msg)
    index = _index(folder)
    layout = _listed(folder, index)
    masks: tuple[str, ...] = ()
    kind: Kind = "decathlon"
    files: list[Patterned] = []
    if layout is None:
        files = patterned(_volumes(folder))
        kind, layout, masks = _paired(folder, files)
    cases = tuple(published(layout, folder))
    check_pairs(cases, files, folder)
    if not cases:
        raise SourceError(_nothing(folder, ()))
    return Survey(folder, kind, layout, cases, masks, _names(index), _told(index))


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
    """The Decathlon's layout, if the list names files that are there."""
    layout = DecathlonLayout(kind="decathlon", roots=_roots(folder))
    try:
        first = next(published(layout, folder))
    except (SourceError, StopIteration):
        return None
    return layout if index and first.image.is_file() and first.label.is_file() else None


def _paired(folder: Path, found: list[Patterned]) -> tuple[Kind, Layout, tuple[str, ...]]:
    images = [f for f in found if f.role == "image"]
    labels = [f for f in found if f.role == "label"]
    both = {f.case for f in images} & {f.case for f in labels}
    if not both:
        raise SourceError(_nothing(folder, found))
    expression, roots = case_expression(both), _roots(folder)
    image_patterns = best(images, both)
    labels = [f for f in labels if f.case in both]
    patterns = best(labels, both)
    masks = None if any(_is_map(p) for p in patterns) else mask_folder(labels)
    if masks:
        at, names = masks
        places = {"case": expression, "images": image_patterns, "labels": (at,)}
        return "masks", MasksLayout(kind="masks", roots=roots, **places), names
    places = {"case": expression, "images": image_patterns, "labels": patterns}
    return _kind(image_patterns, both), PairsLayout(kind="pairs", roots=roots, **places), ()


def _roots(folder: Path) -> tuple[str, ...]:
    return (glob.escape(folder.resolve().name),)


def _is_map(pattern: str) -> bool:
    """Whether a label file is named after its case, or as a label: not after a structure."""
    name = pattern.rpartition("/")[2]
    return CASE in name or says(name, LABEL_WORDS)


def _kind(images: tuple[str, ...], cases: set[str]) -> Kind:
    if images[0].startswith("imagesTr/") and "_0000." in images[0]:
        return "nnunet"
    return "bids" if all(case.startswith("sub-") for case in cases) else "pairs"


def _volumes(folder: Path) -> Iterator[str]:
    """All files below the folder, without junk, relative to it."""
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        at = Path(where).relative_to(folder)
        yield from ((at / f).as_posix() for f in files if not f.startswith("."))


def _nothing(folder: Path, found: Sequence[Patterned]) -> str:
    images = [f for f in found if f.role == "image"]
    labels = [f for f in found if f.role == "label"]
    some = "".join(f"\n  {f.role} of {f.case!r}: {f.path}" for f in [*images[:2], *labels[:2]])
    return (
        f"{folder}: no image was found that has a label: expected .nii, .nii.gz, .nrrd or .mha "
        f"files of the same case, images and labels told apart by a word in their names or "
        f"folders (image, ct; label, seg, mask), or a {INDEX} that lists them; got "
        f"{len(images)} images and {len(labels)} labels{some}\n"
        f"rename them, or write the recipe by hand: docs/recipes.md shows one"
    )


def _names(index: Mapping[str, Any]) -> dict[int, str]:
    """Names of label values, as the Decathlon and nnU-Net 1 (by value) or nnU-Net 2 have them."""
    labels = index.get("labels")
    found: dict[int, str] = {}
    for key, value in (labels if isinstance(labels, dict) else {}).items():
        number, name = (key, value) if isinstance(value, str) else (value, key)
        if str(number).isdigit() and int(number) > 0:  # a list is a region of nnU-Net's
            found[int(number)] = str(name)
    return found


def _told(index: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, what in TOLD.items():
        if isinstance(index.get(key), str) and index[key].strip():
            found.setdefault(what, " ".join(index[key].split()))
    return found
