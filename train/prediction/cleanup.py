"""Cleanup: the largest connected component of each organ."""

import cc3d
import numpy as np
from scipy import ndimage

from manifests.classes.label_space import LabelSpace
from manifests.classes.structures import vocabulary
from train.boxes import box_around
from train.prediction.sliding_window import ClassVolume

_NEIGHBOURS = 26


def keep_largest_components(classes: ClassVolume, space: LabelSpace) -> ClassVolume:
    """Return class ids with only each organ's largest component; the others become background.

    Voxels that touch at a corner are connected. A class that is a part of another, such as a
    tumour, keeps all its components; it connects those of its organ, so that a pancreas is not
    cut in two by its tumour.
    """
    result = classes.copy()
    boxes = ndimage.find_objects(classes, max_label=len(space) - 1)
    for n, parts in _parts(space).items():
        found = [box for m in (n, *parts) if (box := boxes[m - 1])]
        if not boxes[n - 1]:
            continue
        box = box_around(found)
        whole = np.isin(classes[box], (n, *parts))
        # as bytes: cc3d 4.1.1 raises on some lines of voxels that are boolean
        components = cc3d.connected_components(whole.view(np.uint8), connectivity=_NEIGHBOURS)
        own = np.bincount(components[classes[box] == n])  # the organ's voxels in each of them
        result[box][(classes[box] == n) & (components != own.argmax())] = 0
    return result


def _parts(space: LabelSpace) -> dict[int, tuple[int, ...]]:
    """Return the classes that are parts of each class which is itself a part of none."""
    known = {**vocabulary(), **space.structures}
    wholes = [
        {known[name].part_of for name in entry.structures} - {None, *entry.structures}
        for entry in space.classes
    ]
    holders = [{space.class_of.get(str(name), 0) for name in names} for names in wholes]
    return {
        n: tuple(m for m, held_by in enumerate(holders, start=1) if n in held_by)
        for n, names in enumerate(wholes, start=1)
        if not names
    }
