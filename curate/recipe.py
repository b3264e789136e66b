"""Recipes: all there is to know of one source dataset, as one TOML file."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from manifests.errors import RecipeError
from manifests.label_space import Name
from manifests.merged import Block, as_blocks
from manifests.structures import Structure, unknown_structures, vocabulary
from manifests.toml_file import read_toml

FOLDER = Path(__file__).with_name("recipes")

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Hex40 = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[^/\\:.][^/\\:]*$")]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSource(_Facts):
    """One file behind a plain URL."""

    kind: Literal["http"]
    file: str
    url: Annotated[str, Field(pattern=r"^https://")]
    md5: Hex32
    sha256: Hex64
    bytes: int | None = None
    about_bytes: int | None = None


class SynapseSource(_Facts):
    """One file in a Synapse project whose terms the user has to accept."""

    kind: Literal["synapse"]
    file: str
    synapse_id: str
    project: str
    md5: Hex32
    about_bytes: int | None = None


class HuggingFaceSource(_Facts):
    """One file per case in a pinned revision of a Hugging Face data set.

    Attributes:
        repository: As in `owner/name`.
        revision: A commit.
        files: Where a case's file lies in the repository; `{case}` stands for the case.
        case: A case's name, made from its number.
        first: The first case's number.
        last: The last case's number; the repository may hold more.
        about_bytes: All of the files together.
    """

    kind: Literal["huggingface"]
    repository: str
    revision: Hex40
    files: str
    case: str
    first: int
    last: int
    about_bytes: int | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the files lie in the repository."""
        numbers = range(self.first, self.last + 1)
        return tuple(self.files.replace("{case}", self.case.format(n)) for n in numbers)


class GitSource(_Facts):
    """Files in a pinned commit of a git repository whose host serves single files.

    Attributes:
        repository: What is cloned.
        revision: A commit.
        url: Where the host serves a file; `{revision}` and `{path}` stand for what they say.
        files: Where a case's file lies in the repository; `{case}` stands for the case.
        checksums: Table of the files to be had, with the columns path, bytes and md5; it lies
            beside the recipe.
    """

    kind: Literal["git"]
    repository: str
    revision: Hex40
    url: Annotated[str, Field(pattern=r"^https://.*\{revision\}.*\{path\}")]
    files: str
    checksums: Path

    @field_validator("checksums")
    @classmethod
    def _find_beside_the_recipe(cls, path: Path, info: ValidationInfo) -> Path:
        path = ((info.context or {}).get("folder", FOLDER) / path).resolve()
        if not path.is_file():
            msg = f"there is no file {path}"
            raise ValueError(msg)
        return path


Source = Annotated[
    HttpSource | SynapseSource | HuggingFaceSource | GitSource, Field(discriminator="kind")
]


class _Layout(_Facts):
    archives: tuple[str, ...] = ()
    roots: Names


class DecathlonLayout(_Layout):
    """Images and labels are listed in a `dataset.json` at the root.

    Attributes:
        archives: Patterns of the names that an archive of the dataset may have.
        roots: Patterns of the folder that holds the dataset.
        index: The list's name.
    """

    kind: Literal["decathlon"]
    index: str = "dataset.json"


class _NamedLayout(_Layout):
    """A layout in which files are found by their names; `{case}` stands for the case.

    Attributes:
        archives: Patterns of the names that an archive of the dataset may have.
        roots: Patterns of the folder that holds the dataset.
        case: Regular expression of a case's name.
        images: Where an image, or its DICOM folder, may lie below the root; the first that exists
            is taken.
        labels: Where a label may lie, likewise.
    """

    case: str
    images: Names
    labels: Names

    @field_validator("images", "labels")
    @classmethod
    def _name_the_case(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [p for p in patterns if "{case}" not in p]:
            msg = f"{bad[0]!r} does not contain {{case}}"
            raise ValueError(msg)
        return patterns


class PairsLayout(_NamedLayout):
    """An image file and a label file for each case."""

    kind: Literal["pairs"]


class MasksLayout(_NamedLayout):
    """As with pairs, but a label is a folder with one mask file per structure.

    The recipe's `masks` names the files; its `values` follow from them.
    """

    kind: Literal["masks"]


Layout = Annotated[DecathlonLayout | PairsLayout | MasksLayout, Field(discriminator="kind")]


class Remark(_Facts):
    """Something known of the dataset, or of some of its cases."""

    text: str
    cases: tuple[str, ...] = ()


class Recipe(_Facts):
    """One source dataset.

    Attributes:
        name: The dataset's name in manifests and on the command line.
        version: Changes when the recipe would give other cases.
        values: What each label value covers, as a set of structures; 0 is what nothing covers.
        masks: What each mask file covers, likewise, in a dataset with one mask file per structure;
            its values are their numbers from 1 on. Where masks overlap, the first listed counts.
        unlabelled: Parts of a labelled organ that no value covers, on purpose.
        split_kidneys: Whether a value that covers both kidneys is to be split into sides.
        structures: Structures that this file declares beside the vocabulary.
    """

    name: Name
    title: str
    version: str
    labelled_cases: int | None = None
    licence: str
    commercial_use: bool
    citation: str
    homepage: str = ""
    split_kidneys: bool = False
    sources: tuple[Source, ...] = ()
    layout: Layout
    values: Annotated[dict[Annotated[int, Field(ge=1, le=65535)], Names], Field(min_length=1)]
    masks: dict[FileName, Names] = Field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    structures: dict[Name, Structure] = Field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The sets of structures that one label value covers."""
        return as_blocks(self.values.values())

    @model_validator(mode="before")
    @classmethod
    def _number_the_masks(cls, facts: Any) -> Any:  # noqa: ANN401
        if not isinstance(facts, dict) or not isinstance(facts.get("masks"), dict):
            return facts
        values = dict(enumerate(facts["masks"].values(), start=1))
        if facts.get("values", values) != values:
            msg = "masks and values: expected one of the two; the values follow from the masks"
            raise ValueError(msg)
        return {**facts, "values": values}

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._mask_problems(), *self._naming_problems(), *self._part_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _mask_problems(self) -> list[str]:
        if isinstance(self.layout, MasksLayout) == bool(self.masks):
            return []
        return ["masks: expected a [masks] table with the layout kind 'masks', and only with it"]

    def _naming_problems(self) -> list[str]:
        used = [s for block in self.values.values() for s in block]
        twice = sorted({s for s in used if used.count(s) > 1})
        return [
            *unknown_structures([*used, *self.unlabelled], self.structures),
            *(f"structure {s!r} is covered by two values" for s in twice),
        ]

    def _part_problems(self) -> list[str]:
        used = {s for block in self.values.values() for s in block}
        known = {**vocabulary(), **self.structures}
        return [
            f"{part!r} is a part of {s.part_of!r}: add it to the value that covers it, or to "
            f"unlabelled if no value does"
            for part, s in known.items()
            if s.part_of in used and part not in used and part not in self.unlabelled
        ]


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with marginalia."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.toml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe by its name, or from a TOML file of the user's own.

    Raises:
        RecipeError: There is no such recipe, or the file is not well formed.
    """
    return read_toml(_find(name_or_path), Recipe, what="recipe", error=RecipeError)


def _find(name_or_path: str | Path) -> Path:
    if str(name_or_path) in shipped_recipes():
        return FOLDER / f"{name_or_path}.toml"
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    msg = (
        f"no recipe {str(name_or_path)!r}: expected one of {', '.join(shipped_recipes())}, or "
        f"the path of a TOML file"
    )
    raise RecipeError(msg)
