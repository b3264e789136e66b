"""Names that are like one that is not known."""

import difflib
from collections.abc import Iterable, Sequence

MOST = 3  # names that are proposed
LIKE = 0.6  # 1 is the same name


def near_names(word: str, known: Iterable[str]) -> list[str]:
    """Return the known names that `word` may stand for, the likeliest first.

    Those are names that hold it, as `mine/s001` holds `s001`, and names with few other letters.
    """
    by_small = {name.lower(): name for name in known}
    small = word.lower()
    near = difflib.get_close_matches(small, by_small, n=MOST, cutoff=LIKE)
    holding = [name for name in by_small if len(small) > 2 and small in name]
    ending = [name for name in by_small if name.endswith(f"/{small}")]  # cases, without dataset
    found = dict.fromkeys([*ending, *near, *sorted(holding, key=len)])
    return [by_small[name] for name in found][:MOST]


def some_of(known: Sequence[str]) -> str:
    """Return the first of the known names, in words."""
    more = ", ..." if len(known) > MOST else ""
    return f"{', '.join(map(repr, known[:MOST])) or 'none'}{more}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'this' or 'that'?`, or nothing if no known name is like `word`."""
    near = near_names(word, known)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
