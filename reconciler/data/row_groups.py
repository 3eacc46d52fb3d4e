"""How many rows of a Parquet file can be read at once.

A row group says how many bytes its columns take as they are written. What is written once in a dictionary may be the
value of every row, so a file of a few kilobytes can say gigabytes: of such columns the longest value counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: The physical types of values that have a length of their own, or one that the schema says.
_TEXTS: Final = "BYTE_ARRAY"
_FIXED: Final = "FIXED_LEN_BYTE_ARRAY"


#: So many rows are looked at together, where the first ones have no value yet.
_LOOK_ROWS: Final = 1_024


def rows_at_once(file: pq.ParquetFile, source: Path | pa.PythonFile, group: int, most: int, size: int) -> int:
    """How many rows of a row group take about `size` bytes; at least one, and not more than `most`. `source` is what the
    file was opened from."""
    found = file.metadata.row_group(group)
    rows = max(found.num_rows, 1)
    weight = found.total_byte_size / rows
    paths, values_a_row = [], 1.0
    for index in range(found.num_columns):
        column = found.column(index)
        if not column.has_dictionary_page or column.total_uncompressed_size * most <= size:
            continue
        if column.physical_type == _FIXED:
            weight += file.metadata.schema.column(index).length * column.num_values / rows
        elif column.physical_type == _TEXTS:
            paths.append(column.path_in_schema)
            values_a_row = max(values_a_row, column.num_values / rows)
    if paths:
        weight += _longest(file, source, group, paths) * values_a_row
    return int(max(1, min(most, size / max(weight, 1))))


def _longest(file: pq.ParquetFile, source: Path | pa.PythonFile, group: int, paths: list[str]) -> int:
    """The bytes of the longest values of these columns together. A dictionary is there once a value has been read."""
    found: list[int] = []
    with pq.ParquetFile(source, metadata=file.metadata, read_dictionary=paths) as peeked:
        for rows in (1, _LOOK_ROWS):
            for batch in peeked.iter_batches(rows, row_groups=[group], columns=paths, use_threads=False):
                found = [pc.max(pc.binary_length(one.dictionary)).as_py() for one in _dictionaries(batch.columns)]
                if rows == 1 or None not in found:
                    break
            if None not in found:
                break
    return sum(one or 0 for one in found)


def _dictionaries(arrays: list[pa.Array]) -> Iterator[pa.DictionaryArray]:
    """Those in arrays, of whatever depth."""
    for array in arrays:
        kind = array.type
        if pa.types.is_dictionary(kind):
            yield array
        elif pa.types.is_map(kind):
            yield from _dictionaries([array.keys, array.items])
        elif pa.types.is_struct(kind):
            yield from _dictionaries([array.field(index) for index in range(kind.num_fields)])
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            yield from _dictionaries([array.values])
