"""A dataset that `marginalia export nnunet` wrote, read back: one recipe for each annotation."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from curate.recipes.schema import IGNORED, Recipe, load_recipe
from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import is_merged, representative_of
from manifests.classes.structures import Structure, vocabulary
from manifests.exports.nnunet.documents import FORMAT, TABLE_COLUMNS
from manifests.exports.nnunet.plan import CHANNEL
from manifests.exports.nnunet.write import ABOUT, TABLE
from manifests.ground.atomic import write_text
from manifests.ground.errors import RecipeError, explain
from manifests.table.dataset_facts import DatasetFacts

Blocks = tuple[tuple[str, ...], ...]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ExportedFacts(_Facts):
    """What the export says of one case."""

    dataset: str
    merged: tuple[int, ...]
    blocks: Blocks
    licence: str


class ExportedFolder(_Facts):
    """What an exported folder says of itself in `marginalia.json`.

    Attributes:
        cases: By the names of their files.
        ignore_value: The value of voxels that nobody looked at, if there may be any.
    """

    label_space: LabelSpace
    datasets: dict[str, DatasetFacts]
    cases: dict[str, ExportedFacts]
    ignore_value: int | None
    file_ending: str


@dataclass(frozen=True)
class Annotation:
    """Cases of one dataset that label the same structures: those of one recipe."""

    name: str
    dataset: str
    blocks: Blocks
    merged: tuple[int, ...]
    licence: str
    cases: tuple[str, ...]


def is_exported(folder: Path) -> bool:
    """Return whether a folder is an export of ours."""
    return (folder / ABOUT).is_file()


def read_exported(folder: Path) -> ExportedFolder:
    """Read what an exported folder says of itself.

    Raises:
        RecipeError: It cannot be read, or was changed.
    """
    path = folder / ABOUT
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = ExportedFolder.model_validate(content)
    except ValidationError as error:
        raise RecipeError(explain(error, str(path))) from error
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} cannot be read: expected {FORMAT!r}; got {error}"
        raise RecipeError(msg) from error
    classes = len(found.label_space)
    for name, facts in found.cases.items():
        if len(facts.merged) != classes or not is_merged(facts.merged):
            msg = f"{path}: {name}: expected {classes} representatives, got {facts.merged}"
            raise RecipeError(msg)
    return found


def annotations_in(exported: ExportedFolder, name: str | None = None) -> list[Annotation]:
    """Return the cases by dataset and by what they label; one of them keeps the dataset's name.

    Args:
        exported: What the folder says of itself.
        name: What to call a dataset that is the only one.

    Raises:
        RecipeError: There is a name, and several datasets.
    """
    datasets = sorted({facts.dataset for facts in exported.cases.values()})
    if name and len(datasets) > 1:
        msg = (
            f"the export holds {len(datasets)} datasets, {', '.join(datasets)}, which keep their "
            f"names: leave out --name"
        )
        raise RecipeError(msg)
    groups: dict[tuple[str, Blocks], list[str]] = {}
    for case, facts in exported.cases.items():
        groups.setdefault((facts.dataset, facts.blocks), []).append(case)
    found: list[Annotation] = []
    used: dict[str, int] = {}
    for (dataset, blocks), names in sorted(groups.items(), key=lambda kv: (kv[0][0], -len(kv[1]))):
        used[dataset] = used.get(dataset, 0) + 1
        suffix = f"_{used[dataset]}" if used[dataset] > 1 else ""
        first = exported.cases[names[0]]
        merged, licence = first.merged, first.licence
        called = (name or dataset) + suffix
        found.append(Annotation(called, dataset, blocks, merged, licence, tuple(names)))
    return found


def write_recipes(
    exported: ExportedFolder, folder: Path, out: Path, *, force: bool, name: str | None = None
) -> list[Path]:
    """Write a recipe for each annotation, unless one of the files is there.

    Args:
        exported: What the folder says of itself.
        folder: The exported folder.
        out: Where the recipes go.
        force: Whether to write over files.
        name: What to call a dataset that is the only one.

    Raises:
        RecipeError: A file exists, the folder's facts make no recipe, or there is a name and
            several datasets.
    """
    paths: list[Path] = []
    for annotation in annotations_in(exported, name):
        path = out / f"{annotation.name}.toml"
        if path.exists() and not force:
            msg = f"{path} exists and is left as it is: choose another --out, or give --force"
            raise RecipeError(msg)
        write_text(path, _toml(exported, annotation, folder.resolve().name))
        _check(path, annotation)
        paths.append(path)
    return paths


def _check(path: Path, annotation: Annotation) -> None:
    recipe: Recipe = load_recipe(path)
    covered = {s for structures in recipe.values.values() for s in structures}
    if wrong := covered ^ {s for block in annotation.blocks for s in block}:
        # a block that the label space has no class for leaves no voxel in the labels
        unseen = ", ".join(sorted(wrong))
        write_text(path, f"# Labelled, but in no class: {unseen}.\n{path.read_text('utf-8')}")


def _toml(exported: ExportedFolder, annotation: Annotation, root: str) -> str:
    facts, ending = exported.datasets.get(annotation.dataset), exported.file_ending
    values = _values(exported, annotation)
    used = {s for structures in values.values() for s in structures}
    known = {**vocabulary(), **exported.label_space.structures}
    loose = [p for p, s in known.items() if s.part_of in used and p not in used]
    parts = [
        f"name = {_quoted(annotation.name)}",
        f"title = {_quoted(facts.title if facts else annotation.dataset)}",
        f"version = {_quoted(facts.version if facts else '1')}",
        f"labelled_cases = {len(annotation.cases)}",
        f"licence = {_quoted(annotation.licence)}",
        f"commercial_use = {json.dumps(bool(facts and facts.commercial_use))}",
        f"citation = {_quoted(facts.citation if facts else 'none')}",
        f"homepage = {_quoted(facts.homepage if facts else '')}",
        f"unlabelled = {_listed(sorted(loose))}",
        "",
        "[layout]",
        'kind = "pairs"',
        f"roots = {_listed([root])}",
        f"case = {_quoted('|'.join(map(re.escape, annotation.cases)))}",
        f"images = {_listed([f'images{s}/{{case}}{CHANNEL}{ending}' for s in ('Tr', 'Ts')])}",
        f"labels = {_listed([f'labels{s}/{{case}}{ending}' for s in ('Tr', 'Ts')])}",
        "",
        "[table]",
        f"files = {_listed([TABLE])}",
        *(f"{column} = {_quoted(column)}" for column in TABLE_COLUMNS),
        "",
        "[values]",
        *(f"{value} = {_listed(structures)}" for value, structures in sorted(values.items())),
    ]
    if exported.ignore_value is not None:
        parts.append(f"{exported.ignore_value} = {_quoted(IGNORED)}")
    for name in sorted(used - {*vocabulary()}):
        parts += ["", f"[structures.{name}]", *_structure(known.get(name, Structure()))]
    return "\n".join([*parts, ""])


def _values(exported: ExportedFolder, annotation: Annotation) -> dict[int, list[str]]:
    """Return what each stored value covers: the blocks that it is the representative of."""
    values: dict[int, list[str]] = {}
    for block in annotation.blocks:
        value = representative_of(frozenset(block), exported.label_space, annotation.merged)
        if value:
            values.setdefault(value, []).extend(block)
    return values


def _structure(structure: Structure) -> list[str]:
    facts = structure.model_dump(exclude_none=True)
    return [f"{key} = {_quoted(str(value))}" for key, value in facts.items()]


def _listed(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _quoted(text: str) -> str:
    """Return a basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
