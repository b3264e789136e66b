"""A new label space, written from the names of its classes, and what is odd about one."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.classes.label_space import PALETTE, LabelSpace, load_label_space
from manifests.classes.structure_names import structures_named
from manifests.classes.structures import Structure, vocabulary
from manifests.ground.atomic import whole_file
from manifests.ground.errors import LabelSpaceError
from manifests.ground.near_names import did_you_mean

SIDES = ("left", "right")


@dataclass(frozen=True)
class DraftClass:
    """One class to be written: its name and structures."""

    name: str
    structures: tuple[str, ...]


def parse_classes(words: Sequence[str], declared: Collection[str]) -> list[DraftClass]:
    """Return classes as a user names them: `liver`, or `kidneys=left_kidney+right_kidney`.

    A class has the parts of its structures too, as a liver its tumours, unless they are in another
    class.

    Raises:
        LabelSpaceError: A structure is neither known nor declared.
    """
    named: list[tuple[str, tuple[str, ...]]] = []
    for word in words:
        name, _, listed = word.partition("=")
        texts = [text.strip() for text in (listed or name).split("+")]
        found = [s for text in texts for s in _structures(text, declared)]
        named.append(("_".join(name.lower().split()), tuple(dict.fromkeys(found))))
    used = {s for _, structures in named for s in structures}
    return [DraftClass(name, _with_parts(structures, used)) for name, structures in named]


def _structures(text: str, declared: Collection[str]) -> tuple[str, ...]:
    found = (text,) if text in declared else structures_named(text)
    if found:
        return found
    near = did_you_mean(text, [*vocabulary(), *declared])
    msg = (
        f"unknown structure {text!r}{near}: expected some of {', '.join(vocabulary())}; if it is "
        f"none of them, declare it with --declare {text}"
    )
    raise LabelSpaceError(msg)


def _with_parts(structures: tuple[str, ...], used: Collection[str]) -> tuple[str, ...]:
    parts = [p for p, s in vocabulary().items() if s.part_of in structures and p not in used]
    return (*structures, *parts)


def write_space(
    name: str, classes: Sequence[DraftClass], declared: Sequence[str], path: Path, *, force: bool
) -> LabelSpace:
    """Write a label space as a TOML file, unless a file stands there.

    Raises:
        LabelSpaceError: There is a file, or the classes make no label space.
    """
    if path.exists() and not force:
        msg = f"{path} exists and is left as it is: choose another with --out, or use --force"
        raise LabelSpaceError(msg)
    with whole_file(path) as temporary:
        temporary.write_text(_toml(name, classes, declared), encoding="utf-8")
        try:
            return load_label_space(temporary)
        except LabelSpaceError as error:
            raise LabelSpaceError(str(error).replace(str(temporary), str(path))) from error


def _toml(name: str, classes: Sequence[DraftClass], declared: Sequence[str]) -> str:
    lines = [
        "# Check the file after every change: `marginalia label-space check` with this file.",
        "",
        f"name = {json.dumps(name)}",
        'description = ""',
        f"left_right_pairs = {json.dumps(_pairs(classes))} # what a mirror image swaps",
    ]
    lines += [
        line
        for structure in declared
        for line in ("", f"[structures.{structure}]", 'code = "" # SNOMED CT, if it has one')
    ]
    for number, drafted in enumerate(classes):
        lines += ["", "[[classes]]", *_facts(drafted, PALETTE[number % len(PALETTE)])]
    return "\n".join([*lines, ""])


def _facts(drafted: DraftClass, colour: str) -> Iterator[str]:
    yield f"name = {json.dumps(drafted.name)}"
    yield f"structures = {json.dumps(list(drafted.structures))}"
    first = vocabulary().get(drafted.structures[0], Structure())
    wholes = [s for s in drafted.structures if vocabulary().get(s, first).part_of is None]
    if first.code and len(wholes) <= 1:
        yield f'snomed = "{first.code}"'
        if first.region:
            yield f'snomed_region = "{first.region}"'
    if side := _side(drafted.structures):
        yield f'laterality = "{side}"'
    yield f'colour = "{colour}"'


def _side(structures: Collection[str]) -> str | None:
    """Return the side that all structures are on."""
    sides = {vocabulary().get(s, Structure()).laterality for s in structures}
    return sides.pop() if len(sides) == 1 else None


def _pairs(classes: Sequence[DraftClass]) -> list[list[str]]:
    """Return the pairs of classes that are each other's mirror image, left first."""
    by_structures = {frozenset(c.structures): c.name for c in classes}
    found: list[list[str]] = []
    for c in classes:
        if _side(c.structures) == "left":
            mirrored = frozenset(s.replace("left_", "right_") for s in c.structures)
            found += [[c.name, by_structures[mirrored]]] if mirrored in by_structures else []
    return found


def remarks_on(space: LabelSpace) -> list[str]:
    """Say what is allowed and seldom meant, each with the line to write."""
    classes = [DraftClass(c.name, c.structures) for c in space.classes]
    paired = {tuple(pair) for pair in space.left_right_pairs}
    found = [
        f"{left} and {right} are mirror images of each other, and a training that flips left and "
        f'right needs to know: write left_right_pairs = [["{left}", "{right}"], ...]'
        for left, right in _pairs(classes)
        if (left, right) not in paired
    ]
    known = {**vocabulary(), **space.structures}
    for c in classes:
        loose = [p for p, s in known.items() if s.part_of in c.structures]
        if loose := [p for p in loose if p not in space.class_of]:
            listed = json.dumps([*c.structures, *loose])
            found.append(
                f"{', '.join(loose)}: in no class, so background; a dataset that labels it as one "
                f"with its organ cannot teach {c.name}: unless that is meant, write in class "
                f"{c.name}: structures = {listed}"
            )
    return found
