"""Pages that are made when the site is built: commands, settings, keys, columns, the Python side.

What they say stands in the code, once.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator

import typer
from griffe import Docstring, DocstringSectionAttributes
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from typer.cli import get_docs_for_click

import marginalia
from curate.recipes import layouts, schema, sources
from curate.recipes.case_table import CaseTable
from manifests.classes import label_space
from manifests.classes.structures import Structure
from manifests.table.case import SCHEMA
from train.planning.settings_view import setting_meanings, setting_texts
from train.settings import PRESETS

Lines = Iterator[str]

RECIPE_PARTS = {
    "The file": schema.Recipe,
    '`[layout]` with `kind = "pairs"`': layouts.PairsLayout,
    '`[layout]` with `kind = "masks"`': layouts.MasksLayout,
    '`[layout]` with `kind = "dicom"`': layouts.DicomLayout,
    '`[layout]` with `kind = "decathlon"`': layouts.DecathlonLayout,
    "`[table]`": CaseTable,
    "`[structures.NAME]`": Structure,
    '`[[sources]]` with `kind = "http"`': sources.HttpSource,
    '`[[sources]]` with `kind = "by_hand"`': sources.HandSource,
    "`[[remarks]]`": schema.Remark,
}
LABEL_SPACE_PARTS = {
    "The file": label_space.LabelSpace,
    "`[[classes]]`": label_space.LabelClass,
    "`[structures.NAME]`": Structure,
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to those of the folder."""
    for name, lines in PAGES.items():
        path = f"reference/{name}.md"
        files.append(File.generated(config, path, content="\n".join(lines()) + "\n"))
    return files


def _commands() -> Lines:
    command = typer.main.get_command(marginalia.app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="marginalia")
    yield text.replace("# `marginalia`", "# Commands", 1)


def _settings() -> Lines:
    yield "# Settings of a training\n"
    yield "`marginalia train --set NAME=VALUE` replaces a setting of the preset.\n"
    yield from _table(["setting", "in the presets", "meaning"])
    texts = {name: setting_texts(preset) for name, preset in PRESETS.items()}
    for key, meaning in setting_meanings().items():
        values = {name: text[key] for name, text in texts.items()}
        each = "<br>".join(f"{name}: {value}" for name, value in values.items())
        same = len(set(values.values())) == 1
        yield _row(f"`{key}`", next(iter(values.values())) if same else each, meaning)


def _recipe_keys() -> Lines:
    yield "# Keys of a recipe\n"
    yield "A recipe is a TOML file. [Bring your own dataset](../how_to/recipes.md) explains how to "
    yield "write one. Here are all keys; those without a default are required.\n"
    yield from _parts(RECIPE_PARTS)


def _label_space_keys() -> Lines:
    yield "# Keys of a label space\n"
    yield "A [label space](label_spaces.md) is the list of classes that a network distinguishes. "
    yield "These come with marginalia:\n"
    yield from _table(["name", "classes", "description"])
    for name in label_space.shipped_label_spaces():
        space = label_space.load_label_space(name)
        yield _row(f"`{name}`", ", ".join(space.names[1:]), space.description)
    yield "\nYou can write your own as a TOML file with these keys. Those without a default are "
    yield "required.\n"
    yield from _parts(LABEL_SPACE_PARTS)


def _manifest_columns() -> Lines:
    yield "# Columns of the manifest\n"
    yield '"Before" is the file as it was published, "after" is the harmonised case. Vectors in '
    yield "space are in x, y, z order. You can add columns of your own: they are kept.\n"
    yield from _table(["column", "type", "content"])
    for column in SCHEMA:
        words = column.metadata[b"doc"].decode()
        yield _row(f"`{column.name}`", f"`{column.type}`", words)


def _python() -> Lines:
    yield "# Python\n"
    yield "These names are imported as `from marginalia import read_manifest`. "
    yield "[Use it from Python](../how_to/python.md) has examples.\n"
    for name, module in marginalia.FACE.items():
        if name == "Case":
            yield "## Case\n\nOne row of the manifest; [its columns](manifest_columns.md) are its "
            yield "attributes.\n"
        else:
            yield f"::: {module}.{name}\n"


def _parts(parts: dict[str, type[BaseModel]]) -> Lines:
    for title, model in parts.items():
        told = _attributes(model)
        yield f"\n## {title}\n"
        yield inspect.cleandoc(model.__doc__ or "").split("\n\n")[0] + "\n"
        yield from _table(["key", "default", "meaning"])
        for name, field in model.model_fields.items():
            shown = (
                "" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
            )
            yield _row(f"`{name}`", shown, told.get(name, ""))


def _attributes(model: type[BaseModel]) -> dict[str, str]:
    """Return what the docstrings of a class and its parents say of its attributes."""
    told: dict[str, str] = {}
    for parent in reversed(model.__mro__):
        for section in Docstring(inspect.cleandoc(parent.__doc__ or "")).parse("google"):
            if isinstance(section, DocstringSectionAttributes):
                told |= {a.name: " ".join(a.description.split()) for a in section.value}
    return told


def _table(columns: Iterable[str]) -> Lines:
    names = list(columns)
    yield _row(*names)
    yield _row(*["---"] * len(names))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PAGES: dict[str, Callable[[], Lines]] = {
    "commands": _commands,
    "settings": _settings,
    "recipe_keys": _recipe_keys,
    "label_space_keys": _label_space_keys,
    "manifest_columns": _manifest_columns,
    "python": _python,
}
