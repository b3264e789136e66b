import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.table.arrays import arrow_array, arrow_table, numpy_array
from manifests.table.case import SCHEMA

VALUES = {
    pa.string(): st.text(),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
}


def kinds():
    plain = st.sampled_from(sorted(VALUES, key=str))
    lists = st.recursive(plain, lambda inner: inner.map(pa.list_), max_leaves=3)
    return lists | st.tuples(plain, lists).map(
        lambda pair: pa.struct([*zip("ab", pair, strict=True)])
    )


def values_of(kind):
    if pa.types.is_list(kind):
        found = st.lists(values_of(kind.value_type), max_size=3)
    elif pa.types.is_struct(kind):
        found = st.fixed_dictionaries({f.name: values_of(f.type) for f in kind})
    else:
        found = VALUES[kind]
    return st.none() | found


@given(st.data())
def test_arrays_are_those_that_pyarrow_makes_itself(data):
    kind = data.draw(kinds())
    values = data.draw(st.lists(values_of(kind), max_size=9))
    made, expected = arrow_array(values, kind), pa.chunked_array([pa.array(values, kind)])
    made.validate(full=True)
    assert made.type == kind
    # as text, in which a NaN is equal to itself
    assert str(made.to_pylist()) == str(expected.to_pylist())
    assert made.null_count == expected.null_count


def test_long_columns_are_made_in_parts():
    made = arrow_array([str(n) for n in range(50_001)], pa.string())
    assert [len(chunk) for chunk in made.chunks] == [20_000, 20_000, 10_001]
    assert made[50_000].as_py() == "50000"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        *(("1", pa.int64()), (1.5, pa.int64()), (2**63, pa.int64()), (1, pa.string())),
        *(("abc", pa.list_(pa.int64())), ("1", pa.float64())),
    ],
)
def test_values_of_another_kind_are_refused(value, kind):
    with pytest.raises(TypeError):
        arrow_array([value], kind)


def test_tables_have_the_columns_of_the_schema():
    schema = pa.schema([SCHEMA.field(name) for name in ("case_id", "fold", "findings")])
    findings = [{"code": "tilted", "reason": "18.5"}]
    rows = [{"case_id": "a/1", "fold": 2, "findings": findings}, {"case_id": "a/2", "findings": []}]
    made = arrow_table(rows, schema)
    assert made.equals(pa.Table.from_pylist(rows, schema))
    assert made.schema == schema


def test_numbers_keep_their_memory():
    column = arrow_array([1.0, 2.0, 3.0], pa.float64()).chunk(0)
    assert numpy_array(column.slice(1)).tolist() == [2.0, 3.0]
    assert np.shares_memory(numpy_array(column), numpy_array(column))
