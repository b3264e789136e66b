"""Label values: which value of another program's label maps means which class."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from manifests.ground.errors import TrainingError
from train.prediction.sliding_window import ClassVolume

LARGEST_VALUE = 2**16 - 1
_UNLISTED = -1


@dataclass(frozen=True)
class LabelMapping:
    """The class id of each value that may occur in label maps.

    Attributes:
        ignored: Names of a file that are no class here, or several; their values count as
            background, as do those of `unknown` ones, which are not understood.
    """

    class_of: Mapping[int, int]
    ignored: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

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


def _refuse(got: str) -> None:
    msg = f"expected whole numbers from 0 to {LARGEST_VALUE} as labels, got {got}"
    raise TrainingError(msg)
