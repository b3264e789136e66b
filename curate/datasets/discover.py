"""Which labelled cases a dataset's folder holds."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curate.recipes.expression_match import match_in_time
from curate.recipes.layouts import (
    CASE,
    DecathlonLayout,
    DicomLayout,
    Layout,
    MasksLayout,
    NamedLayout,
    SegmentsLayout,
    files_like,
)
from curate.recipes.schema import Recipe
from manifests.ground.errors import SourceError
from manifests.ground.findings import Finding, SetAsideError
from manifests.ground.near_names import did_you_mean


@dataclass(frozen=True)
class SourceCase:
    """One labelled case as it was published; the files need not exist.

    Attributes:
        name: The case's own name, as in `liver_0`.
        label: The label file, or the folder of the masks or of the DICOM labels.
        masks: File names of the masks, or names of segments, in the order of their values, empty
            for one that is not read; none if the label is one map.
        unannotated: Label values whose structures nobody annotated in this case.
        segments: How the label is read, if its segments have names: DICOM's or 3D Slicer's.
        by_slices: Whether the label goes by the image's files, whatever its header says.
        finding: Why the case cannot be used, if its files' places say so already.
    """

    dataset: str
    name: str
    image: Path
    label: Path
    masks: tuple[str, ...] = ()
    unannotated: frozenset[int] = frozenset()
    segments: SegmentsLayout | None = None
    by_slices: bool = False
    finding: Finding | None = None

    @property
    def case_id(self) -> str:
        """Its name in all datasets together."""
        return f"{self.dataset}/{self.name}"

    def mask_name(self, name: str) -> str:
        """Return the name of a mask's file, which may have the case in it."""
        return name.replace(CASE, self.name)

    @property
    def label_files(self) -> list[Path] | None:
        """The files of the label, if those of other cases lie beside them; or else None."""
        if not any(CASE in name for name in self.masks):
            return None
        files = (self.label / self.mask_name(name) for name in self.masks if name)
        return sorted(path for path in files if path.exists())


def discover(recipe: Recipe, root: Path) -> list[SourceCase]:
    """List the labelled cases below a dataset's root, numbers in their names in numeric order.

    Raises:
        SourceError: The dataset's list is damaged, or there is no case.
    """
    try:
        found = list(published(recipe.layout, root))
    except SourceError as error:
        msg = f"{recipe.name}: {error}"
        raise SourceError(msg) from error
    if not found:
        msg = f"{recipe.name}: no labelled case below {root}; check the recipe's layout"
        raise SourceError(msg)
    cases = _with_masks([replace(case, dataset=recipe.name) for case in found], recipe)
    return sorted(cases, key=lambda c: _natural(c.name))


def missing_masks(cases: Iterable[SourceCase], names: Sequence[str]) -> Counter[str]:
    """Count the cases that lack each of these mask files, or segments of these names."""
    read = (found for case in cases if (found := held_masks(case, names)) is not None)
    return Counter(name for found in read for name in names if name not in found)


def _with_masks(cases: Sequence[SourceCase], recipe: Recipe) -> list[SourceCase]:
    """Say which masks each case has, and what it means that others are missing.

    Raises:
        SourceError: A missing mask has a meaning, and no case of the whole dataset has one: its
            name is misspelt.
    """
    names, layout = tuple(recipe.parts), recipe.layout
    if not isinstance(layout, MasksLayout | SegmentsLayout) or layout.missing_mask == "error":
        return [replace(case, masks=names) for case in cases]
    held = [held_masks(case, names) for case in cases]
    nowhere = [n for n in names if not any(found is None or n in found for found in held)]
    if nowhere and len(cases) >= (recipe.labelled_cases or 0):
        there = _named_there(cases[0])
        msg = (
            f"{recipe.name}: expected the mask {nowhere[0]} in some case, got it in none of "
            f"{len(cases)}{did_you_mean(nowhere[0], there)}: correct its name in the recipe, or "
            f"take it out"
        )
        raise SourceError(msg)
    return [_with_those(case, found, recipe) for case, found in zip(cases, held, strict=True)]


def held_masks(case: SourceCase, names: Sequence[str]) -> frozenset[str] | None:
    """Return which mask files, or segments of these names, a case has; None if unreadable."""
    if not case.segments:
        return frozenset(name for name in names if (case.label / case.mask_name(name)).exists())
    from curate.slicer_labels.segmented_label import held_names, open_segmented  # slow to import

    try:
        return held_names(open_segmented(case.label, case.segments), names)
    except SetAsideError:
        return None  # told when it is read


def _named_there(case: SourceCase) -> set[str]:
    if not case.segments:
        return {path.name for path in case.label.glob("*")}
    from curate.slicer_labels.segmented_label import open_segmented  # slow to import

    try:
        return {*open_segmented(case.label, case.segments).names}
    except SetAsideError:
        return set()


def _with_those(case: SourceCase, held: frozenset[str] | None, recipe: Recipe) -> SourceCase:
    names = tuple(recipe.parts)
    if held is None:
        return replace(case, masks=names)
    there = tuple(name if name in held else "" for name in names)
    if not any(there):
        finding = Finding("file_missing", f"{case.label} holds none of the recipe's masks")
        return replace(case, masks=names, finding=case.finding or finding)
    if recipe.layout.missing_mask == "absent":  # pyright: ignore[reportAttributeAccessIssue]
        return replace(case, masks=there)
    # of two masks of one structure, one alone does not show all of it
    missing = {v for v, name in enumerate(there, start=1) if not name}
    partly = {frozenset(block) for v, block in recipe.values.items() if v in missing}
    unannotated = frozenset(v for v, block in recipe.values.items() if frozenset(block) in partly)
    read = tuple("" if v in unannotated else name for v, name in enumerate(there, start=1))
    return replace(case, masks=read, unannotated=unannotated)


def published(layout: Layout, root: Path) -> Iterator[SourceCase]:
    """Yield each labelled case of a layout, without its dataset; the image need not exist.

    Raises:
        SourceError: The dataset's list is damaged.
    """
    return _listed(root, layout) if isinstance(layout, DecathlonLayout) else _paired(root, layout)


def _natural(name: str) -> list[tuple[int, str]]:
    return [
        (int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)
    ]


def _listed(root: Path, layout: DecathlonLayout) -> Iterator[SourceCase]:
    index = root / layout.index
    try:
        entries = json.loads(index.read_text(encoding="utf-8"))["training"]
        pairs = [(str(e["image"]), str(e["label"])) for e in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{index} is not a list of cases: {type(error).__name__}: {error}"
        raise SourceError(msg) from error
    for image, label in pairs:
        name = re.sub(r"\.nii(\.gz)?$", "", Path(image).name)
        yield SourceCase("", name, _below(root, image, index), _below(root, label, index))


def _below(root: Path, relative: str, index: Path) -> Path:
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        msg = f"{index} names {relative!r}, which leaves {root}: refused"
        raise SourceError(msg)
    return path


def _paired(root: Path, layout: NamedLayout) -> Iterator[SourceCase]:
    if isinstance(layout, DicomLayout):
        from curate.dicom_labels.label_objects import require_reader  # slow to import

        require_reader()
    for name, labels in _labels(root, layout).items():
        images = _images(root, layout, name)
        segments = layout if isinstance(layout, SegmentsLayout) else None
        if isinstance(layout, DicomLayout):
            from curate.dicom_labels.dicom_label import referred

            images, labels = referred(images, labels, layout)
        if isinstance(layout, MasksLayout):  # the masks of a case, or their folder
            labels = sorted({path.parent if path.is_file() else path for path in labels})
        finding = _several("images", images, root) or _several("labels", labels, root)
        by_slices = getattr(layout, "label_order", "header") == "image_files"
        yield SourceCase(
            "", name, images[0], labels[0], segments=segments, by_slices=by_slices, finding=finding
        )


def _labels(root: Path, layout: NamedLayout) -> dict[str, list[Path]]:
    """Return by case the labels that the first matching pattern finds."""
    labels: dict[str, list[Path]] = {}
    for pattern in layout.labels:
        head, *tails = map(_as_expression, pattern.split(CASE))
        matcher = re.compile(f"{head}(?P<case>{layout.case}){'(?P=case)'.join(tails)}")
        found = defaultdict[str, list[Path]](list)
        for path in sorted(files_like(root, pattern)):
            name = path.relative_to(root).as_posix()
            if match := match_in_time(matcher.fullmatch, name, key="case", expression=layout.case):
                found[match["case"]].append(path)
        labels |= {name: paths for name, paths in found.items() if name not in labels}
    return labels


def _as_expression(pattern: str) -> str:
    """Return the expression of paths that `files_like` finds by a pattern without a case."""
    folders = re.escape(pattern).replace(r"\*\*/", "(?:[^/]+/)*")
    return folders.replace(r"\*", "[^/]*")


def _images(root: Path, layout: NamedLayout, name: str) -> list[Path]:
    """Return the images that the first matching pattern finds, or where one was expected."""
    found = (sorted(files_like(root, pattern, name)) for pattern in layout.images)
    return next(filter(None, found), [root / layout.images[0].replace("{case}", name)])


def _several(what: str, paths: Sequence[Path], root: Path) -> Finding | None:
    if len(paths) == 1:
        return None
    some = ", ".join(path.relative_to(root).as_posix() for path in paths[:3])
    return Finding(
        "files_ambiguous",
        f"expected one file where the recipe's {what} have `*`, got {len(paths)}: {some}; "
        f"move the others away, or make the case's name include what distinguishes them",
    )
