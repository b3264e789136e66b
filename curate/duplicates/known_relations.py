"""Known relations: which cases show one patient, according to their publishers or others."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from manifests.classes.label_space import Name
from manifests.ground.errors import RecipeError
from manifests.ground.toml_file import StrictModel, read_toml
from manifests.table.case import Case

FILE = Path(__file__).with_name("relations.toml")


class Member(StrictModel):
    """Cases of one dataset.

    Attributes:
        case: Regular expression of a case's whole name; its one group is a number.
        last: The last case's number; None for no end.
    """

    dataset: Name
    case: str
    first: int = 0
    last: int | None = None

    @model_validator(mode="after")
    def _captures_a_number(self) -> Self:
        try:
            groups = re.compile(self.case).groups
        except re.error as error:
            msg = f"{self.case!r} is not a regular expression: {error}"
            raise ValueError(msg) from error
        if groups != 1:
            msg = f"{self.case!r}: expected one group, around the case's number; got {groups}"
            raise ValueError(msg)
        return self

    def place(self, name: str) -> int | None:
        """Return the place of a case among the members, from 0; None if it is not one of them."""
        found = re.fullmatch(self.case, name)
        if found is None or not found[1].isdecimal():
            return None
        place = int(found[1]) - self.first
        length = None if self.last is None else self.last - self.first + 1
        return place if place >= 0 and (length is None or place < length) else None


class SamePatients(StrictModel):
    """Members of which those at the same place show the same patient."""

    text: str
    source: str = ""
    members: Annotated[tuple[Member, ...], Field(min_length=2)]


class Relations(StrictModel):
    """All known relations."""

    same_patients: tuple[SamePatients, ...] = ()

    def pairs(self, cases: Iterable[Case]) -> Iterator[tuple[str, str, str]]:
        """Yield two case ids that show one patient, and how that is known."""
        by_dataset: defaultdict[str, list[Case]] = defaultdict(list)
        for case in cases:
            by_dataset[case.dataset].append(case)
        for known in self.same_patients:
            places: defaultdict[int, list[str]] = defaultdict(list)
            for member in known.members:
                for case in by_dataset.get(member.dataset, ()):
                    place = member.place(case.case_id.partition("/")[2])
                    if place is not None:
                        places[place].append(case.case_id)
            for ids in places.values():
                yield from ((a, b, known.text) for a, b in combinations(ids, 2))


@cache
def known_relations() -> Relations:
    """Return the relations that come with marginalia."""
    return read_toml(FILE, Relations, what="relations", error=RecipeError)
