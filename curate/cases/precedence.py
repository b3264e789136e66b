"""Precedence: whom to believe where annotators of one scan contradict each other."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from manifests.ground.errors import MarginaliaError


@dataclass(frozen=True)
class Precedence:
    """Datasets, the most trusted first: for one class, or for all that have no list of their own.

    Attributes:
        words: As the user wrote them.
    """

    words: tuple[str, ...] = ()
    overall: tuple[str, ...] = ()
    by_class: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @classmethod
    def from_words(cls, words: Iterable[str], classes: Sequence[str]) -> "Precedence":
        """Read what a user wrote, as in `kits23,abdomenct_1k` or `pancreas=pants,abdomenatlas`.

        Raises:
            MarginaliaError: There is no such class, or two lists are for one.
        """
        told = tuple(words)
        lists: dict[str, tuple[str, ...]] = {}
        for word in told:
            name, _, datasets = word.rpartition("=")
            order = tuple(part.strip() for part in datasets.split(","))
            if name in lists or (name and name not in classes) or not all(order):
                expected = f"DATASET,... or CLASS=DATASET,... once each, of {', '.join(classes)}"
                msg = f"--precedence {word!r}: expected {expected}"
                raise MarginaliaError(msg)
            lists[name] = order
        return cls(told, lists.pop("", ()), lists)

    def order(self, name: str, datasets: Sequence[str]) -> list[str]:
        """Return datasets by how far they are believed on a class; others stay in their order."""
        listed = self.by_class.get(name, self.overall)
        places = {dataset: place for place, dataset in enumerate(listed)}
        return sorted(datasets, key=lambda dataset: places.get(dataset, len(places)))

    def of_last(self, datasets: Sequence[str], classes: Sequence[str]) -> frozenset[int]:
        """Return the ids of classes on which the last dataset is believed before the others."""
        last = datasets[-1]
        foreground = enumerate(classes[1:], start=1)
        return frozenset(
            n
            for n, name in foreground
            if last not in datasets[:-1] and self.order(name, datasets)[0] == last
        )
