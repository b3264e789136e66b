"""Rows of a manifest as a sequence of cases, each of which is made when it is asked for.

What is asked of all rows is answered by column: of a million rows, the cases alone take 10 seconds
and 3 GiB.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeArgument=false

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.ground.errors import ManifestError
from manifests.table.arrays import arrow_buffer, numpy_array
from manifests.table.case import Case, as_tuple
from manifests.table.manifest import Manifest

_AT_ONCE = 1_000  # rows that are made into cases together

Mask = NDArray[np.bool_]


class Coded(NamedTuple):
    """A column: the place of each row's value among the distinct ones, in order of appearance."""

    codes: NDArray[np.int64]
    values: list[Any]

    def where(self, holds: Callable[[Any], object]) -> Mask:
        """Return for each row whether something holds of its value; asked once of each value."""
        return np.array([bool(holds(value)) for value in self.values], bool)[self.codes]

    def equal(self, wanted: Any) -> Mask:  # noqa: ANN401
        """Return which rows have a value."""
        return self.where(lambda value: value == wanted)

    def mapped(self, function: Callable[[Any], Any]) -> "Coded":
        """Return what a function makes of the values; it is asked once of each."""
        places: dict[Any, int] = {}
        table = [places.setdefault(function(value), len(places)) for value in self.values]
        return Coded(np.array(table, np.int64)[self.codes], list(places))

    def present(self) -> list[Any]:
        """Return the values that some row has."""
        return [self.values[n] for n in np.flatnonzero(self.counts())]

    def counts(self) -> NDArray[np.int64]:
        """Return how many rows have each value."""
        return np.bincount(self.codes, minlength=len(self.values))


@dataclass(frozen=True, eq=False)
class CaseRows(Sequence[Case]):
    """Some cases of a manifest, in the order of its rows.

    Attributes:
        manifest: All or some columns.
        rows: Which of its rows.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    _coded: dict[str, Coded] = field(default_factory=dict[str, Coded], repr=False)

    @classmethod
    def of(cls, manifest: Manifest) -> "CaseRows":
        """Return all cases of a manifest."""
        return cls(manifest, np.arange(len(manifest)))

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> "CaseRows": ...
    def __getitem__(self, index: int | slice) -> "Case | CaseRows":
        """Return one case, or some in a row."""
        if isinstance(index, slice):
            return self._some(self.rows[index])
        return next(self._made(self.rows[[index]]))

    def __iter__(self) -> Iterator[Case]:
        """Make the cases, some at a time."""
        for start in range(0, len(self), _AT_ONCE):
            yield from self._made(self.rows[start : start + _AT_ONCE])

    def where(self, mask: Mask) -> "CaseRows":
        """Return the cases of which the mask, one value for each, is true."""
        return self._some(self.rows[mask])

    def coded(self, name: str) -> Coded:
        """Return a column by its distinct values, of which those of all rows are known."""
        if name not in self._coded:
            self._coded[name] = _coded(self.manifest.table[name])
        codes, values = self._coded[name]
        return Coded(codes[self.rows], values)

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers or of equally long lists of them; NaN where there is none.

        Raises:
            ManifestError: The lists have different lengths.
        """
        column: Any = self.manifest.table[name].combine_chunks()
        if not _is_regular(column):
            return self._odd_numbers(column.to_pylist(), name)
        values = column.flatten() if pa.types.is_list(column.type) else column
        shape = (len(column), -1) if pa.types.is_list(column.type) else (len(column),)
        return numpy_array(values).reshape(shape)[self.rows]

    def _odd_numbers(self, values: list[Any], name: str) -> NDArray[Any]:
        try:
            return np.array(values, np.float64)[self.rows]
        except ValueError as error:
            msg = (
                f"the manifest in {self.manifest.folder}: expected as many numbers in each row of "
                f"{name}: {error}; `marginalia validate` lists the rows"
            )
            raise ManifestError(msg) from error

    def _some(self, rows: NDArray[np.int64]) -> "CaseRows":
        return CaseRows(self.manifest, rows, self._coded)

    def _made(self, rows: NDArray[np.int64]) -> Iterator[Case]:
        # the rows are ascending: not all of the table has to be looked through
        first, count = int(rows[0]), int(rows[-1] - rows[0]) + 1
        table = self.manifest.table.slice(first, count)
        if count > len(rows):
            index = arrow_buffer(rows - first)
            table = table.take(pa.Array.from_buffers(pa.int64(), len(rows), [None, index]))
        return self.manifest.with_table(table).cases()


def _coded(column: pa.ChunkedArray) -> Coded:
    if pa.types.is_list(column.type):
        whole: Any = column.combine_chunks()
        if _is_regular(whole):
            return _coded_lists(whole)
        if not (whole.null_count or len(whole.flatten())):
            return Coded(np.zeros(len(whole), np.int64), [()])
        values = [as_tuple(value) for value in whole.to_pylist()]
        places: dict[Any, int] = {}
        codes = [places.setdefault(value, len(places)) for value in values]
        return Coded(np.array(codes, np.int64), list(places))
    encoded: Any = column.dictionary_encode("encode").combine_chunks()
    return Coded(numpy_array(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist())


def _coded_lists(column: Any) -> Coded:  # noqa: ANN401
    """Return equally long lists of numbers by their bytes, which are as equal as they are."""
    numbers = numpy_array(column.flatten()).reshape(len(column), -1)
    width = numbers.shape[1] * numbers.itemsize
    rows = pa.Array.from_buffers(pa.binary(width), len(numbers), [None, arrow_buffer(numbers)])
    encoded: Any = rows.dictionary_encode()
    codes = numpy_array(encoded.indices).astype(np.int64)
    distinct = np.frombuffer(encoded.dictionary.buffers()[1], numbers.dtype)
    table = distinct[: len(encoded.dictionary) * numbers.shape[1]].reshape(-1, numbers.shape[1])
    return Coded(codes, [tuple(row) for row in table.tolist()])


def _is_regular(column: Any) -> bool:  # noqa: ANN401
    """Return whether a column holds numbers, or lists of as many, without nulls."""
    if not pa.types.is_list(column.type):
        return pa.types.is_primitive(column.type) and not column.null_count
    kind, values = column.type.value_type, column.flatten()
    plain = pa.types.is_primitive(kind) and not pa.types.is_boolean(kind)
    whole = not (column.null_count or values.null_count) and len(values) > 0
    return plain and whole and len(column.value_lengths().unique()) == 1
