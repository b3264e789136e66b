"""Label spaces: the ordered classes that a network tells apart."""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from manifests.classes.structures import Structure, unknown_structures
from manifests.ground.errors import LabelSpaceError
from manifests.ground.toml_file import StrictModel, load_toml

FOLDER = Path(__file__).with_name("label_spaces")
BACKGROUND = "background"
# Label volumes are uint8: class ids, and one value for voxels that nobody looked at. Such a voxel
# belongs to no group of merged classes, and counts in no loss, no metric and no volume.
IGNORED = 255
MAX_CLASSES = IGNORED
# Colours of classes that have none of their own, in turn; those of abdomen15 and what is between.
PALETTE = (
    *("#dd8265", "#9d6ca2", "#f9b44a", "#4c9fd1", "#5cc5c0", "#8bab3e", "#d8443c", "#3b64ad"),
    *("#d88fb4", "#c9a227", "#d3a87f", "#7f8ed8", "#a3791b", "#b5577e", "#a8b8a0", "#e0d84a"),
)

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class LabelClass(StrictModel):
    """One foreground class.

    Attributes:
        structures: The class is their union.
        snomed: SNOMED CT concept of the class, if there is one.
        snomed_region: SNOMED CT concept of the organ of a neoplasm.
        colour: Display colour as `#rrggbb`; of a class without one, a label space chooses it.
    """

    name: Name
    structures: Annotated[tuple[Name, ...], Field(min_length=1)]
    snomed: str = ""
    snomed_region: str = ""
    laterality: Literal["left", "right"] | None = None
    colour: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class LabelSpace(StrictModel):
    """An ordered list of N classes; class 0 is the background, which files do not list.

    Attributes:
        reference: Where it was published.
        left_right_pairs: Pairs of class names that a mirror image swaps, left first.
        structures: Structures that this file declares in addition to the vocabulary.
        classes: The foreground classes; `classes[0]` has class id 1.
    """

    name: Name
    description: str = ""
    reference: str = ""
    left_right_pairs: tuple[tuple[Name, Name], ...] = ()
    structures: dict[Name, Structure] = Field(default_factory=dict)
    classes: Annotated[tuple[LabelClass, ...], Field(min_length=1, max_length=MAX_CLASSES - 1)]

    @model_validator(mode="before")
    @classmethod
    def _colour_the_classes(cls, facts: Any) -> Any:  # noqa: ANN401
        if not isinstance(facts, dict):
            return facts
        known = cast("dict[str, Any]", facts)
        if not isinstance(known.get("classes"), list):
            return known
        coloured: list[Any] = [
            {"colour": PALETTE[n % len(PALETTE)], **c} if isinstance(c, dict) else c
            for n, c in enumerate(known["classes"])
        ]
        return {**known, "classes": coloured}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of all N classes by class id, the background first."""
        return (BACKGROUND, *(c.name for c in self.classes))

    @cached_property
    def class_of(self) -> dict[str, int]:
        """Return the class id of every structure that a class covers; all others are background."""
        return {s: i for i, c in enumerate(self.classes, start=1) for s in c.structures}

    def __len__(self) -> int:
        """Return N, the number of classes with the background."""
        return len(self.classes) + 1

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := _problems(self):
            raise ValueError("; ".join(problems))
        return self


def _problems(space: LabelSpace) -> list[str]:
    names = [c.name for c in space.classes]
    used = [s for c in space.classes for s in c.structures]
    paired = [name for pair in space.left_right_pairs for name in pair]
    return [
        *(f"class {n!r} is listed twice" for n in _repeated(names)),
        *([f"{BACKGROUND!r} is class 0 and is not listed"] if BACKGROUND in names else []),
        *(f"structure {s!r} is in two classes" for s in _repeated(used)),
        *unknown_structures(used, space.structures),
        *(f"left_right_pairs names {n!r}, which is not a class" for n in paired if n not in names),
        *(f"class {n!r} is in two left_right_pairs" for n in _repeated(paired)),
    ]


def _repeated(items: list[str]) -> list[str]:
    return sorted({item for item in items if items.count(item) > 1})


def shipped_label_spaces() -> tuple[str, ...]:
    """Return the names of the label spaces that come with marginalia."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.toml")))


def load_label_space(name_or_path: str | Path) -> LabelSpace:
    """Load a shipped label space by its name, or another from the path of its TOML file.

    Raises:
        LabelSpaceError: There is no such label space, or the file is not well formed.
    """
    return load_toml(
        name_or_path, LabelSpace, shipped=FOLDER, what="label space", error=LabelSpaceError
    )
