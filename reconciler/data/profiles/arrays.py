"""Arrays between numpy and DuckDB, without pandas: wherever that is installed, pyarrow imports it to ask whether an array
is one of its own, which takes a quarter of a second, as long as a small build."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

_KINDS: Final = {np.dtype(np.int64): pa.int64(), np.dtype(np.int32): pa.int32()}


def of_arrow(array: Any) -> Any:
    """The numbers of an Arrow array in which none is NULL."""
    return np.from_dlpack(array)


def to_arrow(array: Any) -> Any:
    """Whole numbers as an Arrow array."""
    given = np.ascontiguousarray(array)
    return pa.Array.from_buffers(_KINDS[given.dtype], len(given), [None, pa.py_buffer(given)])


def table(**arrays: Any) -> pa.Table:
    """Columns of whole numbers as an Arrow table."""
    return pa.Table.from_arrays([to_arrow(one) for one in arrays.values()], names=list(arrays))


def register(connection: Any, name: str, look_up: Callable[[Any], Any]) -> None:
    """A function in SQL of this name, which is given an array of BIGINT and returns one as long. It is said to have side
    effects, so that a value which is asked for and compared is looked up once: DuckDB would do it again to compare it."""
    connection.create_function(
        name, lambda given: to_arrow(look_up(of_arrow(_whole(given)))), ["BIGINT"], "BIGINT", type="arrow",
        side_effects=True,
    )  # fmt: skip


def _whole(given: Any) -> Any:
    return given.combine_chunks() if isinstance(given, pa.ChunkedArray) else given
