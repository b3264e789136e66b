"""Structures: the anatomical things that recipes and label spaces are made of."""

import difflib
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

VOCABULARY_FILE = Path(__file__).with_name("structures.toml")


class Structure(BaseModel):
    """What is known of one structure.

    Attributes:
        code: SNOMED CT concept; empty where a file declares a structure without one.
        region: For a neoplasm, the SNOMED CT concept of its organ.
        laterality: The side of the patient, for one of a pair.
        part_of: The structure whose outline holds this one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str = ""
    region: str = ""
    laterality: Literal["left", "right"] | None = None
    part_of: str | None = None


@cache
def vocabulary() -> dict[str, Structure]:
    """The structures that may be named without declaring them, by name."""
    entries = tomllib.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Structure]).validate_python(entries)


def unknown_structures(names: Iterable[str], declared: Iterable[str]) -> list[str]:
    """One complaint for each name that is neither in the vocabulary nor declared.

    Args:
        names: Structures that a file uses.
        declared: Structures that the same file declares.
    """
    known = {*vocabulary(), *declared}
    return [_complaint(name, known) for name in sorted(set(names) - known)]


def _complaint(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown structure {name!r}{hint} (declare a new one under [structures.{name}])"
