"""Errors that a user can act on."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError  # which every command would wait for


class MarginaliaError(Exception):
    """Above every error that marginalia raises on purpose.

    The message says what went wrong, where, what was expected, what came, and what to do next.
    """


class LabelSpaceError(MarginaliaError):
    """A label space is not well formed, or no label space has that name."""


class ManifestError(MarginaliaError):
    """A manifest cannot be read, written, queried or edited as asked."""


class ExportError(MarginaliaError):
    """Cases cannot be written in the form of another program as asked."""


class GeometryError(MarginaliaError):
    """An image's grid cannot be used: its size, spacing or direction makes no sense."""


class RecipeError(MarginaliaError):
    """A recipe is not well formed, or no recipe has that name."""


class OverrideError(MarginaliaError):
    """A person's decision on a case is not well formed, or does not fit the case."""


class SourceError(MarginaliaError):
    """A dataset's archive or folder is missing, damaged or unsafe."""


class TrainingError(MarginaliaError):
    """A training, prediction or evaluation cannot run as asked."""


class CheckpointError(TrainingError):
    """A checkpoint is damaged, or belongs to something else."""


# What pydantic says of values in its own words, in the file's.
PLAIN = {
    "missing": "is missing",
    "extra_forbidden": "no such key; compare its spelling",
    "tuple_type": 'expected a list, as in ["one", "two"]',
    "dict_type": "expected a table",
    "string_type": 'expected text in quotes, as in "1"',
}
LONGEST = 100  # characters of what came


def explain(error: "ValidationError", what: str) -> str:
    """Say which keys of a file or of settings are wrong, one line each.

    `what` names the thing and its file, as in `"recipe /data/mine.toml"`.
    """
    errors = error.errors()
    inner = {e["loc"][:n] for e in errors for n in range(1, len(e["loc"]))}
    lines = [
        f"  {'.'.join(map(str, e['loc'])) or '(whole file)'}: {PLAIN.get(e['type'], e['msg'])}"
        + (f" (got {_short(e['input'])})" if e["type"] != "missing" and e["loc"] else "")
        for e in errors
        # a list of which no item could be read is not too short as well
        if not (e["type"] == "too_short" and e["loc"] in inner)
    ]
    return "\n".join([f"{what} is not well formed:", *lines])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
