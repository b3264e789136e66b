"""Flat names: what files of cases are called that all lie in one folder."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable

_DIGITS = 8  # of the hash


def flat_name(case_id: str) -> str:
    """Return a case's id as a name without folders, as `btcv_0001` of `btcv/0001`."""
    return case_id.replace("/", "_")


def flat_names(case_ids: Iterable[str]) -> dict[str, str]:
    """Return a file name, without a suffix, for each id of a case; no two of them are the same.

    `btcv/0001` becomes `btcv_0001`. Where several ids give one name, as `a/b_c` and `a_b/c` do, a
    hash of the id is added to each. Names that differ in upper and lower case alone are the same,
    as they are to the file systems of Windows and macOS.
    """
    flat = {case_id: flat_name(case_id) for case_id in case_ids}
    taken = Counter(map(_as_stored, flat.values()))
    return {
        case_id: name if taken[_as_stored(name)] == 1 else f"{name}_{_hash(case_id)}"
        for case_id, name in flat.items()
    }


def _as_stored(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _hash(case_id: str) -> str:
    return hashlib.sha256(case_id.encode()).hexdigest()[:_DIGITS]
