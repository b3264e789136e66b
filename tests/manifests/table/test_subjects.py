"""Subjects: ties by subject id and by relation, however long the chain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from manifests.table.subjects import common_subjects

IDS = [f"a/{n}" for n in range(8)]


@pytest.mark.parametrize(
    ("rows", "subjects"),
    [
        ([("a", "p", []), ("b", "q", [])], {"a": "p", "b": "q"}),
        ([("a", "p", []), ("b", "p", [])], {"a": "p", "b": "p"}),
        ([("a", "q", ["b"]), ("b", "p", [])], {"a": "p", "b": "p"}),
        ([("a", "q", ["gone"])], {"a": "q"}),
        ([("a", "3", ["b"]), ("b", "2", ["c"]), ("c", "1", [])], dict.fromkeys("abc", "1")),
        ([("a", "3", ["b"]), ("b", "2", []), ("c", "2", [])], dict.fromkeys("abc", "2")),
    ],
)
def test_ties(rows, subjects):
    assert common_subjects(rows) == subjects


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS))))
def test_chains_are_components_of_a_graph(ties):
    related = {i: [b for a, b in ties if a == i] for i in IDS}
    tied = np.zeros((len(IDS), len(IDS)), bool)
    for a, b in ties:
        tied[IDS.index(a), IDS.index(b)] = True
    _, part = connected_components(tied, directed=False)
    expected = {i: IDS[part.tolist().index(p)] for i, p in zip(IDS, part, strict=True)}
    assert common_subjects((i, i, related[i]) for i in IDS) == expected
