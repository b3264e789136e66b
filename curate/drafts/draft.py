"""A recipe for a user's own folder, as far as looking and asking can write it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.drafts.folder_survey import Survey
from curate.drafts.label_values import LabelValues
from curate.drafts.value_meanings import Meanings, name_in_index, with_parts
from curate.recipes.layouts import DecathlonLayout, DicomLayout, MissingMask
from curate.recipes.schema import IGNORED, TABLES, Recipe, load_recipe
from manifests.classes.structures import vocabulary
from manifests.ground.atomic import whole_file
from manifests.ground.errors import RecipeError

HEADINGS = {
    "values": ["# The structures that each label value covers. 0 is the background."],
    "masks": ["# The structures in each mask file. Where masks overlap, the first one counts."],
    "names": [
        "# The structures in the segments of each name: an expression of the whole name, #3 for",
        "# number 3, or SCT:10200004 for a code. Where segments overlap, the first one counts.",
    ],
}


@dataclass(frozen=True)
class Draft:
    """What is to be written.

    Attributes:
        meanings: The structures that each label value, or mask file, covers.
        licence: As the user says; empty if unknown.
        missing_mask: What a missing mask means, as the user says; None if no case lacks one.
    """

    name: str
    survey: Survey
    values: LabelValues
    meanings: Meanings
    licence: str = ""
    commercial_use: bool = False
    missing_mask: MissingMask | None = None


def write_draft(draft: Draft, path: Path, *, force: bool = False) -> Recipe:
    """Write a recipe that `prepare` takes; a file that stands there is kept unless told otherwise.

    Raises:
        RecipeError: There is a file, or what the user said makes no recipe.
    """
    check_new(path, force=force)
    with whole_file(path) as temporary:
        temporary.write_text(_toml(draft), encoding="utf-8")
        try:
            return load_recipe(temporary)
        except RecipeError as error:
            raise RecipeError(str(error).replace(str(temporary), str(path))) from error


def check_new(path: Path, *, force: bool) -> None:
    """Refuse to write over a file.

    Raises:
        RecipeError: There is one, and it is not to be written over.
    """
    if path.exists() and not force:
        msg = (
            f"{path} exists and is left as it is: expected a new file; choose another with --out, "
            f"or write over it with --force"
        )
        raise RecipeError(msg)


def _toml(draft: Draft) -> str:
    """Return the recipe's text, with comments on what was guessed and what is to be filled in."""
    meanings = with_parts(draft.meanings)
    new = {s for structures in meanings.values() for s in structures} - {*vocabulary(), IGNORED}
    declared = [
        line
        for name in sorted(new)
        for line in (f"[structures.{name}]", 'code = "" # SNOMED CT, if it has one', "")
    ]
    parts = (_head(draft, meanings), _layout(draft), _values(draft, meanings), declared)
    return "\n".join(line for part in parts for line in part)


def _head(draft: Draft, meanings: Meanings) -> list[str]:
    metadata = draft.survey.metadata
    licence = draft.licence or metadata.get("licence", "")
    folder = _comment(str(draft.survey.folder))
    lines = [
        f"# Written by `marginalia recipe new {folder}`. Correct what is wrong, and check",
        "# the file after every change: `marginalia recipe check` with this file and --data.",
        "",
        f"name = {_quoted(draft.name)}",
        f"title = {_quoted(metadata.get('title') or draft.name)}",
        'version = "1" # if you change it, prepare makes all cases again',
        f"labelled_cases = {len(draft.survey.cases)}",
        f"licence = {_quoted(licence or 'unknown')}{'' if licence else ' # fill in'}",
        f"commercial_use = {json.dumps(draft.commercial_use)}",
        f"citation = {_quoted(metadata.get('citation') or 'none')}",
        'homepage = "" # where the data can be found',
    ]
    if any({"left_kidney", "right_kidney"} <= {*structures} for structures in meanings.values()):
        lines.append("split_kidneys = true # one value for both: prepare splits them by position")
    return [*lines, ""]


def _layout(draft: Draft) -> list[str]:
    layout = draft.survey.layout
    lines = [
        "[layout]",
        f"kind = {_quoted(layout.kind)} # {len(draft.survey.cases)} cases have this layout",
        f"roots = {_listed(layout.roots)} # folders in --raw, or --raw itself",
        '# archives = ["mine*.zip"] # tar or zip files that prepare unpacks',
    ]
    if isinstance(layout, DecathlonLayout):
        lines.append(f"index = {_quoted(layout.index)}")
    else:
        lines += [
            f"case = {_literal(layout.case)} # regular expression of a case's name",
            f"images = {_listed(layout.images)}",
            f"labels = {_listed(layout.labels)}",
            *(f"# also there: {_comment(other)}" for other in draft.survey.other_labels),
        ]
    if isinstance(layout, DicomLayout):
        lines += [
            f"{'' if layout.modality else '# '}modality = {_quoted(layout.modality or 'SEG')}",
            "# threshold = 0.5 # of a fractional SEG, above which a voxel counts",
        ]
    if draft.missing_mask:
        lines += [
            '# Some cases lack a mask. It was "not_annotated" in these cases, its structures are',
            '# "absent" from the body, or it is an "error" and prepare sets these cases aside.',
            f"missing_mask = {_quoted(draft.missing_mask)}",
        ]
    bids = draft.survey.kind == "bids"
    lines.append(f"{'' if bids else '# '}subject = 'sub-[^_/]+' # the same of the patient")
    return [*lines, ""]


def _values(draft: Draft, meanings: Meanings) -> list[str]:
    table = TABLES.get(draft.survey.layout.kind, "values")
    lines = [
        *HEADINGS[table],
        "# A tumour without a value of its own is listed with its organ. If the labels leave",
        "# tumours out of the organ, move it to `unlabelled = [...]` above [layout].",
        f"[{table}]",
    ]
    for key, structures in meanings.items():
        covers = _quoted(IGNORED) if structures == (IGNORED,) else _listed(structures)
        lines.append(f"{_key(key, table)} = {covers} # {_comment(_seen(draft, key))}")
    rest = [key for key in draft.survey.masks if key not in meanings]
    if rest:
        lines.append("# Masks that are not read. To use one, declare it in [structures.NAME]:")
        lines += [f"# {_key(key, table)} = [{_quoted(_plain(key))}]" for key in rest]
    return [*lines, ""]


def _key(key: int | str, table: str) -> str:
    if isinstance(key, int):
        return str(key)
    return _literal(key) if table == "names" else _quoted(key)


def _seen(draft: Draft, key: int | str) -> str:
    """Say in how many labels a value is, or in how many cases a segment, and how large."""
    survey, size = draft.survey, draft.values.median_ml(key)
    if key in survey.counts:
        count = f"in {survey.counts[str(key)]} of {len(survey.cases)} cases"
        return f"{count}, {size} mL" if size else count
    return f"{draft.values.describe(key)}{name_in_index(survey, key)}"


def _comment(text: str) -> str:
    """Return text that cannot leave its comment."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _plain(file: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", file.lower().partition(".")[0]).strip("_") or "name"


def _listed(items: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, items))}]"


def _quoted(text: str) -> str:
    """Return a basic string of TOML, whose escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _literal(text: str) -> str:
    return f"'{text}'" if "'" not in text and text.isprintable() else _quoted(text)
