"""nnU-Net's training cases: how often each is drawn, and on what its patches are centred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from train.nnunet.annotations import Merged


@dataclass
class AnnotatedCases:
    """A dataset of nnU-Net's in which no patch is centred on what a case does not annotate.

    Its labels may tell apart what an edit of the manifest dropped since.

    Attributes:
        cases: nnU-Net's dataset.
        merged: Of each case.
        identifiers: The cases to draw from, one of them as often as it stands here.
    """

    cases: Any
    merged: Mapping[str, Merged]
    identifiers: list[str]

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """Return image, labels, labels of the previous stage, and properties of a case."""
        image, label, previous, properties = self.cases.load_case(identifier)
        merged = self.merged[identifier]
        locations = {
            key: voxels
            for key, voxels in properties["class_locations"].items()
            if not isinstance(key, int) or (key < len(merged) and merged[key])
        }
        return image, label, previous, {**properties, "class_locations": locations}


def balanced(identifiers: Sequence[str], dataset: Mapping[str, str]) -> list[str]:
    """Repeat cases such that every dataset has as many as the largest one."""
    by_dataset: dict[str, list[str]] = {}
    for name in identifiers:
        by_dataset.setdefault(dataset[name], []).append(name)
    most = max(map(len, by_dataset.values()))
    return [name for names in by_dataset.values() for name in islice(cycle(names), most)]
