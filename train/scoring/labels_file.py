"""Which values of another program's label maps mean which class: a file's words, or a model's name.

Tables of public models are TOML files in `label_tables`.
"""

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from manifests.classes.label_space import BACKGROUND, LabelSpace
from manifests.classes.structure_names import meanings_of, structures_touched
from manifests.classes.structures import vocabulary
from manifests.ground.errors import TrainingError
from manifests.ground.near_names import did_you_mean
from train.scoring.label_mapping import LARGEST_VALUE, LabelMapping

FOLDER = Path(__file__).with_name("label_tables")
ORDER = "regions_class_order"
IGNORED = "ignore"  # nnU-Net's name of what nobody annotated; its label maps never hold the value

Structures = tuple[str, ...]


@dataclass(frozen=True)
class _Region:
    """A name, the values that belong to it, and what it means.

    Attributes:
        structures: Empty for the background; None if the name is not understood.
        class_id: 0 for what is no class, and for what lies in several.
    """

    name: str
    values: frozenset[int]
    structures: Structures | None
    class_id: int


def label_tables() -> tuple[str, ...]:
    """Return the names of the public models whose label values are known."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_label_mapping(name_or_path: Path, label_space: LabelSpace) -> LabelMapping:
    """Read which values mean what, of a public model or from a file like nnU-Net's `dataset.json`.

    The file, or its key `labels`, maps names to a value or a list of values (`{"liver": 1}`) or
    values to names (`{"1": "liver"}`). A name is that of a class, or of structures, as `recipe new`
    understands it; structures mean the class that they belong to. Of names that share a value, as
    nnU-Net's regions do, the one with the fewest values tells what it means, if it is a part of
    the others or of their class. `means` in a file gives names that are understood in place of
    others.

    Raises:
        TrainingError: There is no such model or file, it cannot be read or is not such a mapping,
            no name is a class, a value means two classes, or a name may mean a class and is not
            understood.
    """
    path = _file(name_or_path)
    content = _content(path)
    labels = content.get("labels", content)
    if not isinstance(labels, dict) or not labels:
        msg = f'{path}: expected names and values, as in {{"liver": 1}}, got {labels!r}'
        raise TrainingError(msg)
    values: dict[str, set[int]] = defaultdict(set)
    for name, found in _entries(labels, path):
        values[name].update(found)
    regions = _regions(values, _means(content, path), label_space)
    _refuse_unclear(regions, label_space, path)
    class_of = {0: 0}
    background = _Region(BACKGROUND, frozenset({0}), (), 0)
    for value in sorted({v for region in regions for v in region.values}):
        told = [r for r in (background, *regions) if value in r.values]
        class_of[value] = _innermost(value, told, label_space, path).class_id
    if not any(class_of.values()):
        msg = (
            f"{path}: none of {[r.name for r in regions]} is a class or structure of label space "
            f"{label_space.name!r}; expected some of {', '.join(label_space.names[1:])}"
        )
        raise TrainingError(msg)
    _refuse_other_order(content, regions, label_space, path)
    outside = [r for r in regions if r.structures and not r.class_id]
    told = {v for r in regions if r.structures is not None for v in r.values}
    unknown = [r for r in regions if r.structures is None and not r.values <= told]
    names = tuple(r.name for r in outside), tuple(r.name for r in unknown)
    # of a table of ours, it is known that what has no structure's name is no class
    return LabelMapping(class_of, *((sum(names, ()),) if path.parent == FOLDER else names))


def _regions(
    values: Mapping[str, set[int]], means: Mapping[str, str], space: LabelSpace
) -> list[_Region]:
    own: dict[tuple[str, ...], Structures] = {_plain(s): (s,) for s in space.class_of}
    own |= {_plain(c.name): c.structures for c in space.classes}
    own |= {_plain(BACKGROUND): (), _plain(IGNORED): ()}
    understood = meanings_of({name: means.get(name, name) for name in values})
    regions = []
    for name, found in values.items():
        structures = own.get(_plain(means.get(name, name)), understood.get(name))
        ids = {space.class_of.get(s, 0) for s in structures or ()}
        regions.append(
            _Region(name, frozenset(found), structures, ids.pop() if len(ids) == 1 else 0)
        )
    return regions


def _innermost(value: int, told: Sequence[_Region], space: LabelSpace, path: Path) -> _Region:
    """Return the region that tells what a value means, of those that hold it."""
    understood = sorted((r for r in told if r.structures is not None), key=lambda r: len(r.values))
    if not understood:
        return told[0]
    first, *others = understood
    for other in others:
        if first.class_id == other.class_id:
            continue
        if not (first.values < other.values and _is_part(first, other, space)):
            msg = f"{path}: the value {value} means two classes: {first.name!r} and {other.name!r}"
            raise TrainingError(msg)
    return first


def _is_part(region: _Region, other: _Region, space: LabelSpace) -> bool:
    known = {**vocabulary(), **space.structures}
    wholes = {known[s].part_of for s in region.structures or ()}
    return bool(wholes) and wholes <= set(other.structures or ())


def _refuse_unclear(regions: Sequence[_Region], space: LabelSpace, path: Path) -> None:
    """Refuse names that are not understood and may mean a class: as background, they would count.

    A name that has nothing to do with any class, as `heart`, is background without a question.
    """
    unclear = [
        f"{r.name!r} ({', '.join(map(str, sorted(r.values)))})"
        for r in regions
        if r.structures is None and not structures_touched(r.name).isdisjoint(space.class_of)
    ]
    if unclear:
        msg = (
            f"{path}: it is not known what {', '.join(unclear)} means: give it the name of a class "
            f"or of a structure, as in liver_tumour, or call it {BACKGROUND}"
        )
        raise TrainingError(msg)


def _refuse_other_order(
    content: Mapping[str, Any], regions: Sequence[_Region], space: LabelSpace, path: Path
) -> None:
    """Refuse regions that nnU-Net's label maps show with other values than the annotator's.

    nnU-Net paints the regions one after another, each with its value of `regions_class_order`.
    """
    order = content.get(ORDER)
    if not isinstance(order, list) or all(len(r.values) == 1 for r in regions):
        return
    painted = [r for r in regions if r.values != {0} and r.name != IGNORED]
    for value, region in zip(order, painted, strict=False):
        told = [r for r in regions if isinstance(value, int) and value in r.values]
        if not told or _innermost(value, told, space, path).class_id != region.class_id:
            msg = (
                f"{path}: {ORDER} gives {region.name!r} the value {value}, which means something "
                f"else in its labels; give names and values of the label maps, each value once"
            )
            raise TrainingError(msg)


def _file(name_or_path: Path) -> Path:
    if str(name_or_path) in label_tables():
        return FOLDER / f"{name_or_path}.toml"
    if not name_or_path.suffix and not name_or_path.is_file():
        near = did_you_mean(str(name_or_path), label_tables())
        msg = (
            f"no label values of {str(name_or_path)!r}{near}: expected the name of a public model "
            f"({', '.join(label_tables())}), or a JSON or TOML file"
        )
        raise TrainingError(msg)
    return name_or_path


def _means(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    means = content.get("means", {})
    if not isinstance(means, dict) or not all(isinstance(m, str) for m in means.values()):
        _refuse_file(path, f"expected names under 'means', got {means!r}")
    return means


def _content(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        _refuse_file(path, str(error))
    if not isinstance(content, dict):
        _refuse_file(path, f"expected names and values, got a {type(content).__name__}")
    return content


def _entries(content: Mapping[str, Any], path: Path) -> Iterator[tuple[str, list[int]]]:
    """Return names and their values, whichever of the two stands first."""
    for key, said in content.items():
        name, found = (said, key) if isinstance(said, str) else (key, said)
        values = found if isinstance(found, list) else [found]
        try:
            numbers = [int(value) for value in values if float(value) == int(value)]
        except (TypeError, ValueError, OverflowError):
            numbers = []
        if len(numbers) < len(values) or any(not 0 <= n <= LARGEST_VALUE for n in numbers):
            msg = (
                f"{path}: expected a name and values from 0 to {LARGEST_VALUE}, as in liver and 1, "
                f"got {key!r}: {said!r}"
            )
            raise TrainingError(msg)
        yield name, numbers


def _plain(name: str) -> tuple[str, ...]:
    """Return the sorted words of a name: TotalSegmentator says `kidney_left`."""
    return tuple(sorted(re.findall(r"[a-z0-9]+", name.lower())))


def _refuse_file(path: Path, why: str) -> Never:
    msg = f"labels file {path} cannot be read as {path.suffix or 'JSON'}: {why}"
    raise TrainingError(msg)
