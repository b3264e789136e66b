"""Precedence: whom to believe where annotators of one scan contradict each other."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from manifests.ground.errors import MarginaliaError
from manifests.ground.near_names import did_you_mean


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

    def is_first(self, dataset: str, name: str, others: Sequence[str]) -> bool:
        """Return whether a dataset is believed on a class before others that stand before it."""
        return dataset not in others and self.order(name, [*others, dataset])[0] == dataset

    def check(self, known: Collection[str], *, fuse: bool) -> None:
        """Refuse a rule that would change nothing.

        Raises:
            MarginaliaError: It names a dataset that is not known, or nothing is fused.
        """
        if self.words and not fuse:
            msg = f"--precedence {self.words[0]}: expected with --fuse-duplicates: add it"
            raise MarginaliaError(msg)
        named = {name for order in (self.overall, *self.by_class.values()) for name in order}
        if odd := sorted(named - {*known}):
            msg = (
                f"--precedence: no dataset {odd[0]!r}{did_you_mean(odd[0], known)}: expected of "
                f"{', '.join(sorted(known))}"
            )
            raise MarginaliaError(msg)
