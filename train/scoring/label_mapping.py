"""Label values: which value of another program's label maps means which class."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from manifests.classes.label_space import LabelSpace
from manifests.ground.errors import TrainingError
from train.prediction.sliding_window import ClassVolume

LARGEST_VALUE = 2**16 - 1
_UNLISTED = -1


@dataclass(frozen=True)
class LabelMapping:
    """The class id of each value that may occur in label maps.

    Attributes:
        ignored: Names of a file that are no class here; their values count as background.
    """

    class_of: Mapping[int, int]
    ignored: tuple[str, ...] = ()

    @property
    def known(self) -> frozenset[int]:
        """Return the foreground classes that some value means."""
        return frozenset(self.class_of.values()) - {0}

    def to_classes(self, values: Shaped[np.ndarray, "z y x"]) -> ClassVolume:
        """Return the class ids of values.

        Raises:
            TrainingError: A value is no integer, or is not listed.
        """
        if values.dtype.kind not in "iuf" or values.min() < 0 or values.max() > LARGEST_VALUE:
            _refuse(f"values from {values.min()} to {values.max()} ({values.dtype})")
        size = max(int(values.max()), *self.class_of) + 1
        classes_of = np.full(size, _UNLISTED, np.int16)
        classes_of[list(self.class_of)] = list(self.class_of.values())
        classes = np.empty(values.shape, np.uint8)
        for z, plane in enumerate(values):  # one at a time: an index takes eight bytes a voxel
            whole = plane.astype(np.uint16)
            if (odd := plane[plane != whole]).size:
                _refuse(f"the value {odd[0]:g}")
            found = classes_of[whole]
            if (unlisted := np.unique(whole[found == _UNLISTED])).size:
                msg = (
                    f"it holds the values {unlisted.tolist()}, expected {sorted(self.class_of)}; "
                    f"say with --labels what they mean"
                )
                raise TrainingError(msg)
            classes[z] = found
        return classes


def identity_mapping(classes: int) -> LabelMapping:
    """Return the mapping of values that are class ids, of that many classes."""
    return LabelMapping({n: n for n in range(classes)})


def read_label_mapping(path: Path, label_space: LabelSpace) -> LabelMapping:
    """Read which values mean what from a JSON or TOML file such as nnU-Net's `dataset.json`.

    The file, or its key `labels`, maps names to a value or a list of values (`{"liver": 1}`) or
    values to names (`{"1": "liver"}`). A name is that of a class, or of a structure, which means
    the class that the structure belongs to; upper case, blanks, hyphens and the order of the words
    do not matter.

    Raises:
        TrainingError: The file cannot be read or is not such a mapping, no name is a class, or a
            value means two classes.
    """
    names = {_plain(name): n for n, name in enumerate(label_space.names)}
    structures = {_plain(name): n for name, n in label_space.class_of.items()}
    ids = {**structures, **names}
    class_of = {0: 0}
    ignored: list[str] = []
    for name, values in _entries(_content(path), path):
        n = ids.get(_plain(name))
        if n is None:
            ignored.append(name)
        for value in values:
            if class_of.setdefault(value, n or 0) != (n or 0):
                msg = f"{path}: the value {value} means two classes, one of them {name!r}"
                raise TrainingError(msg)
    if not any(class_of.values()):
        msg = (
            f"{path}: none of {ignored} is a class or structure of label space "
            f"{label_space.name!r}; expected some of {', '.join(label_space.names[1:])}"
        )
        raise TrainingError(msg)
    return LabelMapping(class_of, tuple(ignored))


def _content(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        content = content.get("labels", content)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        msg = f"labels file {path} cannot be read as {path.suffix or 'JSON'}: {error}"
        raise TrainingError(msg) from error
    if not isinstance(content, dict) or not content:
        msg = f'{path}: expected names and values, as in {{"liver": 1}}, got {content!r}'
        raise TrainingError(msg)
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


def _refuse(got: str) -> None:
    msg = f"expected whole numbers from 0 to {LARGEST_VALUE} as labels, got {got}"
    raise TrainingError(msg)
