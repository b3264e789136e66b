"""What could not be downloaded, told for people and by dataset."""

from collections.abc import Collection, Iterable, Mapping

from manifests.ground.errors import SourceError

NAMED = 5  # so many failed files are named
GIVEN_UP = "not fetched, since the network is gone; what has come is kept"


class DownloadError(SourceError):
    """Files of some datasets could not be fetched; all others were.

    Attributes:
        reasons: What went wrong, by dataset.
    """

    def __init__(
        self, failures: Mapping[str, Exception], *, total: int, lacking: Collection[str]
    ) -> None:
        """Say what failed.

        Args:
            failures: By the file's name, which begins with the dataset's.
            total: So many files were to be fetched.
            lacking: Datasets that lack files now, some of which were not begun any more.
        """
        named = _named(failures.values())
        first = f"{len(failures)} of {total} files could not be fetched; what has come is kept:"
        super().__init__("\n".join([first, *named]) if total > 1 else named[0].strip())
        self.reasons = {dataset: _reason(failures, dataset) for dataset in sorted(lacking)}


def _reason(failures: Mapping[str, Exception], dataset: str) -> str:
    errors = [error for name, error in failures.items() if name.startswith(f"{dataset}/")]
    return "\n".join(_named(errors)).strip() or GIVEN_UP


def _named(failures: Iterable[Exception]) -> list[str]:
    errors = list(dict.fromkeys(map(str, failures)))
    more = [f"  and {len(errors) - NAMED} more"] if len(errors) > NAMED else []
    return [*(f"  {error}" for error in errors[:NAMED]), *more]
