"""Arrays of Arrow, from Python's values and to NumPy's, without pandas.

PyArrow 26.0.1 imports pandas, which takes longer than most of our commands do, wherever it makes an
array or a scalar of Python's values (`pa.array`, `pa.scalar`, `pa.Table.from_pylist`), and in
`to_numpy`, whether or not there is anything of pandas in them.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeArgument=false

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

_MOST = 20_000  # values of an array: texts of 100 kB each still fit into one


def arrow_array(values: Sequence[Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Return values as an array of texts, numbers, booleans, lists or structs; None is null.

    Raises:
        TypeError: A value is of another kind.
    """
    parts = (values[n : n + _MOST] for n in range(0, len(values), _MOST))
    arrays: Any = [_array(part, kind) for part in parts]
    of: Any = kind  # which the stubs take for None
    return pa.chunked_array(arrays, of)


def arrow_table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return rows, each with its values by column, as a table; a value that is left out is null."""
    columns = [arrow_array([row.get(f.name) for row in rows], f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def numpy_array(array: Any) -> NDArray[Any]:  # noqa: ANN401
    """Return an array of numbers without nulls as NumPy's, which shares its memory."""
    return np.from_dlpack(array)


def arrow_buffer(array: Any) -> pa.Buffer:  # noqa: ANN401
    """Return NumPy's array as a buffer of Arrow's, which shares its memory."""
    memory: Any = np.ascontiguousarray(array)
    return pa.py_buffer(memory)


def _array(values: Sequence[Any], kind: Any) -> pa.Array:  # noqa: ANN401
    """Return values as one array, in Arrow's memory layout.

    Source: Arrow Columnar Format 1.5, "Physical Memory Layout".
    """
    present = [value is not None for value in values]
    valid = None if all(present) else _bits(present)
    children: list[pa.Array] | None = None
    if pa.types.is_list(kind):
        lists = [() if value is None else value for value in values]
        buffers = [valid, _offsets(lists)]
        children = [_array([*chain.from_iterable(lists)], kind.value_type)]
    elif pa.types.is_struct(kind):
        buffers = [valid]
        structs = [{} if value is None else value for value in values]
        children = [_array([s.get(f.name) for s in structs], f.type) for f in kind]
    elif pa.types.is_string(kind):
        texts = [b"" if value is None else str.encode(value) for value in values]
        buffers = [valid, _offsets(texts), pa.py_buffer(b"".join(texts))]
    elif pa.types.is_boolean(kind):
        buffers = [valid, _bits([value or False for value in values])]
    else:
        numbers = np.array([0 if value is None else value for value in values] or np.zeros(0, int))
        # an integer may become a float, and never a float an integer
        exact = numbers.astype(kind.to_pandas_dtype(), casting="safe")
        buffers = [valid, arrow_buffer(exact)]
    return pa.Array.from_buffers(kind, len(values), buffers, children=children)


def _bits(values: ArrayLike) -> pa.Buffer:
    return arrow_buffer(np.packbits(np.asarray(values, bool), bitorder="little"))


def _offsets(parts: Sequence[Any]) -> pa.Buffer:
    ends = np.cumsum([0, *map(len, parts)])
    return arrow_buffer(ends.astype(np.int32))
