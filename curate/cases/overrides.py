"""Overrides: what a person decided on single cases, as one TOML file.

["kits19/case_00005"]
kidneys = "merged"
reason = "crossed fused; seen in the image"
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    RootModel,
    model_validator,
)

from curate.datasets.discover import SourceCase
from curate.recipes.schema import Recipe
from manifests.classes.label_space import LabelSpace
from manifests.classes.structures import vocabulary
from manifests.ground.errors import OverrideError
from manifests.ground.near_names import did_you_mean
from manifests.ground.toml_file import read_toml

if TYPE_CHECKING:
    from curate.kidneys.split import Decision  # slow to import


def _ascend(slices: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= slices[0] <= slices[1]:
        msg = f"expected the first and the last slice, from 0, got {list(slices)}"
        raise ValueError(msg)
    return slices


SliceRange = Annotated[tuple[int, int], Field(strict=False), AfterValidator(_ascend)]


class Override(BaseModel):
    """One decision of a person on one case, with its reason.

    Attributes:
        reason: Why; it is kept in the manifest or in `rejected.csv`.
        kidneys: `left` or `right`: all of it is that kidney. `pair`: the two largest components are
            the kidneys. `merged`: keep it as one group. `swap`: the other way round than found.
        cut_x_mm: Part the kidneys at this sagittal plane (LPS x, mm): beyond it is the left one.
        skip: Leave the case out.
        keep: A person looked, and it is right; nothing is made anew for that.
        swap_sides: What the label calls left is right, and the other way round.
        not_annotated: Classes or structures that nobody drew in this case.
        ignored_slices: First and last number of axial slices that nobody looked at, counted from 0
            in the order of the image.
        source_label_sha256: The label that was decided on; the decision is on no other one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    reason: Annotated[str, Field(min_length=1)]
    kidneys: Literal["left", "right", "pair", "merged", "swap"] | None = None
    cut_x_mm: FiniteFloat | None = None
    skip: bool = False
    keep: bool = False
    swap_sides: bool = False
    not_annotated: Annotated[tuple[str, ...], Field(strict=False)] = ()
    ignored_slices: Annotated[tuple[SliceRange, ...], Field(strict=False)] = ()
    source_label_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @property
    def of_voxels(self) -> dict[str, Any]:
        """Return what of it decides how the case is made, as plain values; empty if nothing."""
        told = self.model_dump(mode="json", exclude_defaults=True, exclude={"keep"})
        return {} if told.keys() <= {"reason", "source_label_sha256"} else told

    @property
    def kidney_decision(self) -> "Decision | None":
        """What to do with the kidneys, if that is what was decided on."""
        return self.kidneys if self.cut_x_mm is None else self.cut_x_mm

    @model_validator(mode="after")
    def _check(self) -> Self:
        kidneys = (self.kidneys is not None) + (self.cut_x_mm is not None)
        others = self.keep + self.swap_sides + bool(self.not_annotated) + bool(self.ignored_slices)
        if kidneys > 1 or kidneys + others + self.skip == 0 or (self.skip and kidneys + others):
            msg = (
                "expected skip = true alone, or some of kidneys or cut_x_mm, swap_sides, "
                "not_annotated, ignored_slices and keep"
            )
            raise ValueError(msg)
        return self


CaseId = Annotated[str, Field(pattern=r"^[^/]+/.+$")]


class _File(RootModel[dict[CaseId, Override]]):
    pass


def load_overrides(path: Path) -> dict[str, Override]:
    """Read a file of overrides: case ids, as in a manifest, and what was decided.

    Raises:
        OverrideError: The file cannot be read, or is not well formed.
    """
    return read_toml(path, _File, what="overrides", error=OverrideError).root


def check_datasets(overrides: Mapping[str, Override], known: set[str]) -> None:
    """Refuse overrides for datasets that nobody knows; those of known ones may wait for their run.

    Raises:
        OverrideError: A case id begins with none of `known`.
    """
    if odd := sorted(c for c in overrides if c.split("/")[0] not in known):
        msg = (
            f"overrides: no dataset of {', '.join(map(repr, odd))}"
            f"{did_you_mean(odd[0].split('/')[0], known)}: expected ids as "
            f"dataset/case, of the datasets {', '.join(sorted(known))}"
        )
        raise OverrideError(msg)


def check_classes(overrides: Mapping[str, Override], space: LabelSpace) -> None:
    """Refuse names under `not_annotated` that are neither a class nor a structure.

    Raises:
        OverrideError: There is one.
    """
    known = {*space.names[1:], *space.class_of, *vocabulary()}
    for case_id, override in overrides.items():
        if odd := sorted(set(override.not_annotated) - known):
            msg = (
                f"overrides: {case_id}: not_annotated names {odd[0]!r}"
                f"{did_you_mean(odd[0], known)}: expected a class of {space.name} "
                f"({', '.join(space.names[1:])}) or a structure"
            )
            raise OverrideError(msg)


def check_cases(
    overrides: Mapping[str, Override],
    recipe: Recipe,
    cases: Sequence[SourceCase],
    gone: Collection[str] = (),
) -> None:
    """Refuse overrides of a dataset that fit none of its cases, nor the names of those `gone`.

    Raises:
        OverrideError: There is no such case, or its kidneys are told apart already.
    """
    ids = {*(case.case_id for case in cases), *(f"{recipe.name}/{name}" for name in gone)}
    ours = {c: o for c, o in overrides.items() if c.split("/")[0] == recipe.name}
    if odd := sorted(set(ours) - ids):
        near = did_you_mean(odd[0], ids) or f"; it has {len(ids)}, such as {cases[0].case_id!r}"
        msg = (
            f"overrides: {recipe.name} has no case {', '.join(map(repr, odd))}{near}: correct the "
            f"id, or remove it"
        )
        raise OverrideError(msg)
    decided = sorted(c for c, o in ours.items() if o.kidney_decision is not None)
    if decided and not recipe.split_kidneys:
        msg = (
            f"overrides: {', '.join(map(repr, decided))}: recipe {recipe.name} does not split "
            f"kidneys, so there is nothing to decide on them: remove these"
        )
        raise OverrideError(msg)
