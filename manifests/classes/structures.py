"""Structures: the anatomical terms that recipes and label spaces are made of."""

import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from manifests.ground.near_names import did_you_mean
from manifests.ground.toml_file import StrictModel

VOCABULARY_FILE = Path(__file__).with_name("structures.toml")


class Structure(StrictModel):
    """What is known about one structure.

    Attributes:
        code: SNOMED CT concept; empty if a file declares a structure without one.
        part_of: The structure whose outline holds this one.
    """

    code: str = ""
    region: str = ""
    laterality: Literal["left", "right"] | None = None
    part_of: str | None = None


@cache
def vocabulary() -> dict[str, Structure]:
    """Return the structures that may be named without declaring them, by name."""
    entries = tomllib.loads(VOCABULARY_FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, Structure]).validate_python(entries)


def unknown_structures(names: Iterable[str], declared: Iterable[str]) -> list[str]:
    """Return a message for each name that is neither in the vocabulary nor declared in a file."""
    known = {*vocabulary(), *declared}
    messages: list[str] = []
    for name in sorted(set(names) - known):
        hint = did_you_mean(name, sorted(known))
        messages.append(
            f"unknown structure {name!r}{hint} (declare a new one under [structures.{name}])"
        )
    return messages
