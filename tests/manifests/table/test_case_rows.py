from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from manifests.ground.errors import ManifestError
from manifests.table import case_rows
from manifests.table.case_rows import CaseRows, Coded
from tests.manifests.conftest import LIVER


@pytest.fixture
def manifest(make_case, make_manifest):
    full = [make_case(f"a/{n}", split="train", fold=n) for n in range(3)]
    liver = [make_case(f"b/{n}", blocks=LIVER, absent=["liver"], split=None) for n in range(4)]
    tied = make_case("c/0", related=("a/1",), spacing_mm=(1.0, 1.0, 2.0))
    return make_manifest([*full, *liver, tied])


@pytest.fixture(params=[1, 3, 1000])
def rows(manifest, monkeypatch, request):
    """In pieces of any size, of a table in several pieces."""
    monkeypatch.setattr(case_rows, "_AT_ONCE", request.param)
    table = pa.concat_tables([manifest.table.slice(0, 3), manifest.table.slice(3)])
    return CaseRows.of(manifest.with_table(table))


def test_they_are_the_cases_of_the_manifest(manifest, rows):
    cases = list(manifest.cases())
    assert list(rows) == cases
    assert [rows[n] for n in range(-8, 8)] == [cases[n] for n in range(-8, 8)]
    assert list(rows[2:5]) == cases[2:5]
    odd = rows.where(np.arange(8) % 2 == 1)
    assert list(odd) == cases[1::2]
    assert list(odd.where(np.array([True, False, False, True]))) == [cases[1], cases[7]]
    assert not rows.where(np.zeros(8, bool))
    assert list(rows.where(np.zeros(8, bool))) == []
    with pytest.raises(IndexError):
        rows[8]


@pytest.mark.parametrize(
    "name", ["dataset", "split", "fold", "merged", "related", "spacing_mm", "annotated", "licence"]
)
def test_columns_are_told_by_their_distinct_values(rows, name):
    some = rows.where(np.arange(8) != 2)
    coded, values = some.coded(name), [getattr(c, name) for c in some]
    assert [coded.values[code] for code in coded.codes] == values
    assert len(set(coded.values)) == len(coded.values)
    assert Counter(dict(zip(coded.values, coded.counts().tolist(), strict=True))) == Counter(values)
    assert set(coded.present()) == set(values)
    assert coded.where(bool).tolist() == [bool(value) for value in values]


def test_values_that_become_equal_have_one_code(rows):
    kinds = rows.coded("fold").mapped(lambda fold: "none" if fold is None else "dealt")
    assert kinds.values == ["dealt", "none"]
    assert kinds.codes.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_columns_of_numbers_are_arrays(rows):
    some = rows.where(np.arange(8) > 1)
    assert some.numbers("voxels").tolist() == [list(c.voxels) for c in some]
    assert some.numbers("hu_mean").tolist() == [c.hu_mean for c in some]
    dealt = rows.numbers("fold")
    assert dealt[:3].tolist() == [0, 1, 2]
    assert np.isnan(dealt[3:]).all()


def test_rows_of_odd_lengths_are_told(make_case, make_manifest):
    short = replace(make_case("b/1"), voxels=(1, 2), merged=(0, 1))
    rows = CaseRows.of(make_manifest([make_case("a/1"), short]))
    assert rows.coded("merged").values == [tuple(range(6)), (0, 1)]
    with pytest.raises(ManifestError, match=r"as many numbers in each row of voxels.*validate"):
        rows.numbers("voxels")


def test_no_rows_have_no_values(manifest):
    rows = CaseRows.of(manifest.with_table(manifest.table.slice(0, 0)))
    for name in ("dataset", "merged", "related", "fold"):
        assert rows.coded(name).present() == []
        assert isinstance(rows.coded(name), Coded)
    assert list(rows) == []
