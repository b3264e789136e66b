"""A recipe tried on the folder that it is for: which cases pair up, and which values they hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from curate.datasets.case_facts import CaseFacts, case_facts, count_unannotated, with_annotated
from curate.datasets.discover import SourceCase, discover, missing_masks
from curate.datasets.locate import locate
from curate.drafts.label_values import LabelValues, read_label_values, spread_sample
from curate.recipes.layouts import DecathlonLayout, files_like
from curate.recipes.schema import Recipe
from manifests.ground.errors import SourceError
from manifests.ground.findings import MEANINGS
from manifests.table.case import TABLE_PREFIX
from manifests.views.table_style import folded, new_table, number, right

NAMED = 3  # so many cases of a kind are named


@dataclass(frozen=True)
class Trial:
    """What became of a recipe on a folder.

    Attributes:
        whole: Number of cases whose image and label are there.
        no_image: Names of cases without an image.
        no_label: Names of images, or list entries, without a label.
        set_aside: Why prepare cannot use some cases, such as one with several labels.
        values: What the labels hold that were read.
        missing_masks: Number of cases that lack a mask, by its file name.
        unannotated: Number of cases in which nobody annotated some structures.
        facts: What names, paths and the table tell of the cases, by name.
    """

    recipe: Recipe
    root: Path
    whole: int
    no_image: tuple[str, ...]
    no_label: tuple[str, ...]
    set_aside: tuple[str, ...]
    values: LabelValues
    missing_masks: Mapping[str, int] = field(default_factory=dict[str, int])
    unannotated: Mapping[str, int] = field(default_factory=dict[str, int])
    facts: Mapping[str, CaseFacts] = field(default_factory=dict[str, CaseFacts])

    @property
    def unlisted(self) -> tuple[int, ...]:
        """Values of the labels that the recipe does not list."""
        found = (v for v in self.values.volumes_ml if isinstance(v, int))
        return () if self.recipe.parts else tuple(v for v in found if v not in self.recipe.listed)

    @property
    def summary(self) -> list[str]:
        """How many cases there are, and which images have no label."""
        lines = [f"{self.root}: {self.whole} cases with image and label"]
        if self.no_label:
            lines.append(f"{len(self.no_label)} images have no label: {_some(self.no_label)}")
        lines += _known(self.facts)
        layout = self.recipe.layout
        means = getattr(layout, "missing_mask", "error")
        if self.missing_masks and means != "error":
            means = means.replace("_", " ")
            lines.append(f"masks that some cases lack, taken as {means}: {self._missing}")
        if self.unannotated:
            counts = ", ".join(f"{what} in {n}" for what, n in sorted(self.unannotated.items()))
            lines.append(f"not annotated in some cases: {counts}")
        return lines

    @property
    def _missing(self) -> str:
        return ", ".join(f"{name} in {n}" for name, n in sorted(self.missing_masks.items()))

    @property
    def problems(self) -> list[str]:
        """What is wrong, each with what to do; nothing if the recipe fits the folder."""
        found, layout = [], self.recipe.layout
        if self.no_image:
            by_index = isinstance(layout, DecathlonLayout)
            places = layout.index if by_index else " or ".join(layout.images)
            found.append(
                f"{len(self.no_image)} labels have no image ({_some(self.no_image)}): expected it "
                f"at {places}; correct `images` in [layout]"
            )
        if self.set_aside:
            found.append(
                f"{len(self.set_aside)} cases cannot be used, and prepare sets them aside: "
                + "; ".join(self.set_aside[:NAMED])
            )
        if self.missing_masks and getattr(layout, "missing_mask", "") == "error":
            found.append(
                f"some cases lack a mask ({self._missing}), and prepare sets them aside: say with "
                f'missing_mask = "not_annotated" or "absent" in [layout] what that means'
            )
        if self.unlisted:
            found.append(
                f"the labels hold values that the recipe does not list: "
                f"{', '.join(f'{v} ({self.values.describe(v)})' for v in self.unlisted)}; expected "
                f"{', '.join(map(str, self.recipe.listed))}; add them to [values], or prepare "
                f"sets these cases aside"
            )
        if self.values.problems:
            found.append(
                f"{len(self.values.problems)} labels cannot be used, and prepare sets them aside: "
                + "; ".join(self.values.problems[:NAMED])
            )
        return found


def try_recipe(recipe: Recipe, folder: Path, *, most: int) -> Trial:
    """Try a recipe on a dataset's folder or the one above it; read at most so many labels.

    Raises:
        SourceError: The dataset is not there, or still an archive.
    """
    found = locate(recipe, folder, folder)
    if found.kind == "archive":
        msg = f"{found.path} is an archive: expected a folder; unpack it, or let prepare do so"
        raise SourceError(msg)
    cases = discover(recipe, found.path)
    facts = case_facts(recipe, found.path, cases)
    cases = [with_annotated(case, recipe, facts[case.name]) for case in cases]
    whole = [c for c in cases if c.image.exists() and c.label.exists() and not c.finding]
    lacking = missing_masks(whole, tuple(recipe.parts))
    return Trial(
        recipe=recipe,
        root=found.path,
        whole=len(whole),
        no_image=tuple(c.name for c in cases if not c.image.exists()),
        no_label=(
            *(c.name for c in cases if not c.label.exists()),
            *_lone_images(recipe, found.path, cases),
        ),
        set_aside=tuple(f"{c.name}: {c.finding.reason}" for c in cases if c.finding),
        values=read_label_values(spread_sample(whole, most) if whole else []),
        missing_masks=lacking,
        unannotated=count_unannotated(recipe, cases),
        facts=facts,
    )


def _known(facts: Mapping[str, CaseFacts]) -> Iterator[str]:
    """Say how many patients the cases are of, and what the table tells of them."""
    patients = {f.subject for f in facts.values()} - {""}
    if patients:
        yield f"{len(patients)} patients: {_some(sorted(patients))}"
    if columns := {name: None for f in facts.values() for name in f.columns}:
        yield f"columns of the table: {', '.join(f'{TABLE_PREFIX}{name}' for name in columns)}"
    for code in sorted({f.code for known in facts.values() for f in known.findings}):
        names = [n for n, known in facts.items() if any(f.code == code for f in known.findings)]
        yield f"{MEANINGS[code]} ({code}): {len(names)} cases: {_some(names)}"


def _lone_images(recipe: Recipe, root: Path, cases: Sequence[SourceCase]) -> list[str]:
    """Return the images that the layout's patterns find and that no case has."""
    if isinstance(recipe.layout, DecathlonLayout):
        return []
    taken = {c.image for c in cases}
    found = {path for p in recipe.layout.images for path in files_like(root, p)} - taken
    return sorted(p.relative_to(root).as_posix() for p in found)


def trial_table(trial: Trial) -> Table:
    """Show one line per value: what it covers, in how many labels it is, and how large."""
    listed = trial.recipe.listed
    rows = [
        (
            value,
            " + ".join(listed[value]) if value in listed else "not listed",
            number(trial.values.labels(value)),
            trial.values.median_ml(value),
        )
        for value in (*listed, *trial.unlisted)
    ]
    columns = ["value", *folded("covers"), *right("labels", "median mL")]
    return new_table(f"Values in {trial.values.cases} labels", columns, rows)


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
