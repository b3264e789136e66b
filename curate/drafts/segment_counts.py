"""Counts of segments: in how many cases of a folder each name is, as a recipe would list it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

PLAIN = re.compile(r"\\([ \-&~%])")  # what re.escape escapes and no expression needs


def count_names(of_case: Mapping[str, Iterable[tuple[int, str]]]) -> dict[str, int]:
    """Count the cases that have each name; capitals do not count.

    Args:
        of_case: By case, the numbers and names of its segments.

    Returns:
        By expression of a name, or `#3` for a segment without one; the most frequent first.
    """
    spellings, counts = dict[str, str](), Counter[str]()
    for segments in of_case.values():
        keys = [PLAIN.sub(r"\1", re.escape(name)) or f"#{n}" for n, name in segments]
        counts.update({spellings.setdefault(key.casefold(), key) for key in keys})
    return {name: counts[name] for name in sorted(counts, key=lambda n: (-counts[n], n))}
