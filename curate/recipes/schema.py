"""Recipes: all there is to know of one source dataset, as one TOML file."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from curate.recipes.case_table import CaseTable
from curate.recipes.layouts import Layout, Names
from curate.recipes.segment_names import SegmentName
from curate.recipes.sources import FOLDER, Source
from manifests.classes.label_space import Name
from manifests.classes.merged import Block, as_blocks
from manifests.classes.structures import Structure, unknown_structures, vocabulary
from manifests.ground.errors import RecipeError
from manifests.ground.toml_file import StrictModel, load_toml

# The datasets of Shi et al. 2021, section 4.1, which a command means when it is told none.
PAPER = ("btcv", "kits19", "msd_liver", "msd_pancreas", "msd_spleen")

IGNORED = "ignored"  # what a value covers that says where nobody looked
# What says, in place of [values], what a label of many files or segments covers; by layout.
TABLES = {"masks": "masks", "dicom": "names", "slicer": "names"}
Value = Annotated[int, Field(ge=1, le=65535)]
FileName = Annotated[str, Field(pattern=r"^[^/\\:.][^/\\:]*$")]
# What a recipe may say the source of, or that it could not be verified.
Fact = Literal["values", "licence", "labelled_cases", "layout", "sources", "duplicates"]


class Remark(StrictModel):
    """Something known of the dataset, or of some of its cases."""

    text: str
    cases: tuple[str, ...] = ()


class Recipe(StrictModel):
    """One source dataset.

    Attributes:
        name: The dataset's name in manifests and on the command line.
        version: Changes when the recipe would give other cases.
        values: What each label value covers, as a set of structures; 0 is what nothing covers.
            Values of the same set are read as one.
        ignored_values: Values, or masks by their numbers, that say where nobody looked: those that
            a file lists as "ignored".
        masks: What each mask file covers, in a dataset with one mask file per structure; its
            values are their numbers from 1 on. Where masks overlap, the first listed counts.
        names: The same for the segments of DICOM SEG, RTSTRUCT or 3D Slicer, by expressions of
            their names, by numbers (`#3`) or by SNOMED CT codes (`SCT:10200004`).
        unlabelled: Parts of a labelled organ that no value covers, on purpose.
        commercial_use: Whether the licence allows commercial use.
        share_alike: Whether what is made of the dataset must have the same licence; left out if
            the terms do not say it, or it was not looked up.
        split_kidneys: Whether a value that covers both kidneys is to be split into sides.
        structures: Structures that this file declares beside the vocabulary.
        table: A file of the dataset that says more of its cases or patients.
        evidence: Where facts were read.
        unverified: What of a fact could not be verified, in words.
    """

    name: Name
    title: str
    version: str
    labelled_cases: int | None = None
    licence: str
    commercial_use: bool
    share_alike: bool | None = None
    citation: str
    homepage: str = ""
    split_kidneys: bool = False
    sources: tuple[Source, ...] = ()
    layout: Layout
    table: CaseTable | None = None
    values: Annotated[dict[Value, Names], Field(min_length=1)]
    ignored_values: tuple[Value, ...] = ()
    masks: dict[FileName, Names | Literal["ignored"]] = Field(default_factory=dict)
    names: dict[SegmentName, Names | Literal["ignored"]] = Field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    structures: dict[Name, Structure] = Field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()
    evidence: dict[Fact, str] = Field(default_factory=dict[Fact, str])
    unverified: dict[Fact, str] = Field(default_factory=dict[Fact, str])

    @property
    def doubts(self) -> tuple[str, ...]:
        """What could not be verified, in words."""
        return tuple(f"not verified, {fact}: {text}" for fact, text in self.unverified.items())

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The sets of structures that one label value covers."""
        return as_blocks({frozenset(structures) for structures in self.values.values()})

    @property
    def parts(self) -> dict[str, tuple[str, ...] | Literal["ignored"]]:
        """What each mask file or each name of segments covers, if a label is made up of them."""
        return {**self.masks, **self.names}

    @property
    def wholes(self) -> tuple[tuple[str, ...], ...]:
        """What each block covers, without the parts of what it covers."""
        known = {**vocabulary(), **self.structures}
        blocks = dict.fromkeys(self.values.values())
        return tuple(tuple(s for s in b if known[s].part_of not in b) for b in blocks)

    @property
    def covered(self) -> dict[int | str, tuple[str, ...]]:
        """What each label value, or each mask file, covers."""
        if self.parts:
            return {name: s for name, s in self.parts.items() if not isinstance(s, str)}
        return {**self.values}

    @property
    def listed(self) -> dict[int | str, tuple[str, ...]]:
        """What the recipe says of each label value or mask file, `ignored` too, for people."""
        if self.parts:
            return {name: (s,) if isinstance(s, str) else s for name, s in self.parts.items()}
        return {**self.values, **dict.fromkeys(self.ignored_values, (IGNORED,))}

    @model_validator(mode="before")
    @classmethod
    def _number_the_masks(cls, facts: Any) -> Any:  # noqa: ANN401
        if not isinstance(facts, dict):
            return facts
        if "ignored_values" in facts:
            msg = f'ignored_values: expected such values in [values], as in 6 = "{IGNORED}"'
            raise ValueError(msg)
        layout = facts.get("layout")
        kind = str(layout.get("kind")) if isinstance(layout, dict) else ""
        misspelt = facts.keys() - cls.model_fields.keys()
        told = facts.get(TABLES.get(kind, "values")) or "values" in facts
        if kind in TABLES and not told and not misspelt:
            msg = f"expected a [{TABLES[kind]}] table with the layout kind {kind!r}"
            raise ValueError(msg)
        for parts in dict.fromkeys(TABLES.values()):
            if isinstance(facts.get(parts), dict) and facts[parts]:
                values = dict(enumerate(facts[parts].values(), start=1))
                if facts.get("values", values) != values:
                    msg = (
                        f"{parts} and values: expected one of the two; the values follow from the "
                        f"{parts}"
                    )
                    raise ValueError(msg)
                facts = {**facts, "values": values}
        if not isinstance(facts.get("values"), dict):
            return facts
        ignored = [value for value, covers in facts["values"].items() if covers == IGNORED]
        values = {v: covers for v, covers in facts["values"].items() if covers != IGNORED}
        return {**facts, "values": values, "ignored_values": ignored}

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._naming_problems(), *self._part_problems()]
        if self.table and self.table.case is None and self.layout.subject is None:
            told = "expected `case`, or `subject` in [layout], to tell of which cases a row is"
            problems.append(f"table: {told}")
        for table in dict.fromkeys(TABLES.values()):
            kinds = [kind for kind, needs in TABLES.items() if needs == table]
            if (self.layout.kind in kinds) != bool(getattr(self, table)):
                kind = " or ".join(map(repr, kinds))
                needed = f"expected a [{table}] table with the layout kind {kind}"
                problems.insert(0, f"{table}: {needed}, and only with it")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _naming_problems(self) -> list[str]:
        blocks = {frozenset(block) for block in self.values.values()}
        used = [s for block in sorted(blocks, key=sorted) for s in block]
        twice = sorted({s for s in used if used.count(s) > 1})
        return [
            *unknown_structures([*used, *self.unlabelled], self.structures),
            *(
                f"structure {s!r} is covered by two values that cover different things: expected "
                f"it in one value, or in values of the same list"
                for s in twice
            ),
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
    """Return the names of the recipes that come with marginalia."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.toml")))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a recipe by its name, or from a TOML file of the user's own.

    Raises:
        RecipeError: There is no such recipe, or the file is not well formed.
    """
    return load_toml(name_or_path, Recipe, shipped=FOLDER, what="recipe", error=RecipeError)
