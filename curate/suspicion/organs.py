"""What is known of organs, and which of a case's classes can be judged as one."""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from manifests.classes.label_space import LabelSpace
from manifests.classes.merged import annotated_classes
from manifests.classes.structures import vocabulary
from manifests.ground.toml_file import StrictModel

FILE = Path(__file__).with_name("organs.toml")


class Organs(StrictModel):
    """Which organs each test is for.

    Attributes:
        edged: The least share of the best gradient nearby that a border in its place has.
        apart_mm: From which distance on a second piece cannot be a part of the organ.
        volume_ml: Least and most of each organ that can be taken for another.
    """

    edged: dict[str, float]
    rounded: frozenset[str]
    apart_mm: dict[str, float]
    volume_ml: dict[str, tuple[float, float]]


@cache
def organs() -> Organs:
    """Read the facts that come with marginalia."""
    return Organs.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class JudgedClass:
    """A class that is an organ, as far as a case's annotation tells it from all others.

    Attributes:
        parts: Ids of the class and of the classes that are lesions of the same organ.
    """

    class_id: int
    organ: str
    parts: tuple[int, ...]


def judged_classes(space: LabelSpace, merged: Sequence[int]) -> Iterator[JudgedClass]:
    """Yield the classes that are one organ each and are annotated alone.

    A class of several organs, or one that the annotator did not tell from others, has no outline of
    its own that could be right or wrong.
    """
    alone = annotated_classes(merged)
    known = {**vocabulary(), **space.structures}
    whole = {n: {known[s].part_of or s for s in space.classes[n - 1].structures} for n in alone}
    for n in alone:
        structures = set(space.classes[n - 1].structures)
        if len(whole[n]) == 1 and whole[n] <= structures:
            (organ,) = whole[n]
            yield JudgedClass(n, organ, tuple(m for m in alone if whole[m] == whole[n]))
