"""Why a recipe's cases do not tell a class apart, in words, with the line that would change it."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from curate.recipes.schema import Recipe
from manifests.classes.label_space import LabelClass, LabelSpace
from manifests.classes.structures import vocabulary

Key = int | str


@dataclass(frozen=True)
class _Value:
    """A label value, or a mask file, and what it covers."""

    key: Key
    structures: tuple[str, ...]

    @property
    def words(self) -> str:
        """Return how to call it."""
        kind = "value" if isinstance(self.key, int) else "mask"
        return f"{kind} {self.key} covers {_listed(self.structures)}"

    def line(self, structures: Iterable[str]) -> str:
        """Return the recipe's line with these structures."""
        key = self.key if isinstance(self.key, int) else json.dumps(self.key)
        return f"{key} = {json.dumps(list(structures))}"


def explain_joined_classes(recipe: Recipe, space: LabelSpace) -> list[str]:
    """Return one sentence for each class whose organ a recipe's cases label, but not the class.

    A class of which they label nothing, or tumours alone, is not annotated, and not explained.
    """
    values = [v for key, s in recipe.covered.items() for v in _split(key, s, recipe)]
    parts = {**vocabulary(), **recipe.structures, **space.structures}
    found: list[str] = []
    for c in space.classes:
        others = [(v, [s for s in v.structures if s not in c.structures]) for v in values]
        wholes = {s for s in c.structures if parts[s].part_of not in c.structures}
        mine = [(v, rest) for v, rest in others if wholes & {*v.structures}]
        is_part = {p for p, s in parts.items() if s.part_of in c.structures}
        found += [_joined(c, v, rest, space, is_part) for v, rest in mine if rest][:1]
        covered = {s for v in values for s in v.structures}
        missing = [s for s in c.structures if s not in covered]
        if mine and missing:
            found.append(_incomplete(c, mine[0][0], missing, space))
    return found


def _split(key: Key, structures: tuple[str, ...], recipe: Recipe) -> Iterator[_Value]:
    """Yield a value, or the two that the split of the kidneys makes of it."""
    known = {**vocabulary(), **recipe.structures}
    sides = {s: known[s].laterality for s in structures}
    if not (recipe.split_kidneys and {"left", "right"} <= {*sides.values()}):
        yield _Value(key, structures)
        return
    for side in ("left", "right"):
        yield _Value(key, tuple(s for s in structures if sides[s] in (side, None)))


def _joined(
    c: LabelClass, value: _Value, rest: list[str], space: LabelSpace, parts: set[str]
) -> str:
    """Explain a value that covers a class and `rest`, of other classes or of none."""
    loose = [s for s in rest if s not in space.class_of]
    where = f"is in no class of {space.name}" if loose else f"is another class of {space.name}"
    what = f"{c.name} cannot be told apart: {value.words}, and {_listed(loose or rest)} {where}"
    if {*loose} & parts:
        joined = [*c.structures, *(s for s in loose if s in parts)]
        return (
            f"{what}; write in the label space, in class {c.name}: "
            f"structures = {json.dumps(joined)}"
        )
    return (
        f"{what}; if the labels leave {_listed(rest)} out, write in the recipe: "
        f"{value.line(s for s in value.structures if s not in rest)} and, above [layout], "
        f"unlabelled = {json.dumps(rest)}"
        if {*rest} & parts
        else f"{what}; only other datasets can teach the difference"
    )


def _incomplete(c: LabelClass, value: _Value, missing: list[str], space: LabelSpace) -> str:
    """Explain a class of which some structures are covered by no value."""
    return (
        f"{c.name} cannot be told apart from the background: in {space.name} it has "
        f"{_listed(missing)} too, which no value covers; if the labels draw it with the rest, "
        f"write in the recipe: {value.line((*value.structures, *missing))}"
    )


def _listed(names: Iterable[str]) -> str:
    return " + ".join(names)
