"""Label: what an annotator said of a case, and a network where the annotator left it open."""

from collections.abc import Collection, Sequence

import numpy as np

from manifests.classes.completion import finer_classes
from manifests.classes.label_space import IGNORED
from manifests.classes.merged import Merged
from train.patches.mapped_case import LabelArray, with_ignored


def completed_label(
    target: LabelArray, merged: Sequence[int], predicted: LabelArray, known: Collection[int]
) -> tuple[LabelArray, Merged]:
    """Return the completed label of a case, and its merged classes.

    The annotator's word holds everywhere. Where it is a group that the network divides, a voxel has
    the class that the network finds, if that is one of the group; otherwise it is ignored. A class
    that the network never learnt is background, where the annotator allows that.

    Args:
        target: The annotator's representatives, or `IGNORED`.
        merged: What the annotator told apart.
        predicted: The network's class ids, or `IGNORED` where it is not sure.
        known: Class ids that the network can find.
    """
    agrees = np.array(with_ignored(merged), np.uint8)[predicted] == target
    usable = [n if n in known or not n else 0 if not m else IGNORED for n, m in enumerate(merged)]
    found = np.where(agrees, np.array(with_ignored(usable), np.uint8)[predicted], IGNORED)
    finer = finer_classes(merged, np.unique(found).tolist(), known)
    divided = np.zeros(IGNORED + 1, bool)
    divided[[merged[n] for n, own in enumerate(finer) if own != merged[n]]] = True
    result = np.array(with_ignored(finer), np.uint8)[found]
    return np.where(divided[target], result, target), finer
