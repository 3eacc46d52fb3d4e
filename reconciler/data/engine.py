"""The one door to DuckDB: Arrow tables in, an Arrow table out; and for work over many files, a workspace.

One in-memory database a process (70 ms to make) and a connection a thread (under 1 ms): a connection is not to be
shared between threads, nor across a fork. It may not open files, load extensions or use more than one core, because
many runs work side by side.

DuckDB is loaded when it is first asked: many runs never ask.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from reconciler.data.names import sql_string

if TYPE_CHECKING:
    import duckdb

    #: What DuckDB raises for data or a pattern that it cannot take.
    EngineError = duckdb.Error

_CONFIG: dict[str, Any] = {
    "threads": 1,
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_lock = threading.Lock()
_databases: dict[int, duckdb.DuckDBPyConnection] = {}
_connections = threading.local()


def __getattr__(name: str) -> Any:
    if name != "EngineError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import duckdb

    return duckdb.Error


def query(sql: str, **tables: pa.Table) -> pa.Table:
    """The result of a query over the named tables. Raises `EngineError`."""
    connection = _connection()
    for name, table in tables.items():
        connection.register(name, table)
    try:
        return connection.sql(sql).to_arrow_table()
    finally:
        for name in tables:
            connection.unregister(name)


def _connection() -> duckdb.DuckDBPyConnection:
    pid = os.getpid()
    if getattr(_connections, "pid", None) != pid:
        connection = _database(pid).cursor()
        for name in ("TimeZone", _BAR):
            connection.execute(f"SET {name} = {_BORDERS[name]}").fetchall()
        _connections.connection, _connections.pid = connection, pid
    known: duckdb.DuckDBPyConnection = _connections.connection
    return known


def _database(pid: int) -> duckdb.DuckDBPyConnection:
    import duckdb

    with _lock:
        if pid not in _databases:
            _databases[pid] = duckdb.connect(":memory:", config=_CONFIG)
        return _databases[pid]


@contextmanager
def workspace(data_dir: Path, *, memory_mb: int, threads: int = 1) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own that may read and write files below the data folder, and nothing else. What does not fit
    into `memory_mb`, together with what the process holds already, goes to a temporary folder there, which is gone
    afterwards. Times are UTC, rows keep no order unless a query asks for one."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix=".spill-", dir=data_dir) as spill:
        connection = duckdb.connect(":memory:", config=_workspace_config(spill, memory_budget(memory_mb), threads))
        try:
            for name, value in _BORDERS.items():
                connection.execute(f"SET {name} = {value.format(folder=sql_string(f'{data_dir.resolve()}/'))}")
            yield connection
        finally:
            connection.close()


def memory_budget(memory_mb: int) -> int:
    """The bytes that a workspace may use, so that the process stays within `memory_mb`: what it does not hold now, less
    what DuckDB does not count; but half of it in any case, since with less nothing can be done."""
    whole = memory_mb * _MB
    return max(whole // 2, whole - _UNCOUNTED - _resident())


def limit_memory(connection: duckdb.DuckDBPyConnection, size: int) -> None:
    """Lets a workspace use so many bytes from now on. What cannot be put on the disk at once stays."""
    import duckdb

    with suppress(duckdb.Error):
        connection.execute(f"SET memory_limit = '{size}B'").fetchall()


def _resident() -> int:
    """The bytes of this process that are in memory."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # no Linux
        return 0


_MB = 1_000_000
#: What is DuckDB's, but not in its books: its code, buffers of files, and what its allocator has not given back yet.
#: Measured over builds of 2 and 10 million messages, on which it hardly depends.
_UNCOUNTED = 192 * _MB

#: DuckDB draws one on standard error, into whatever log that is, once a query takes two seconds.
_BAR = "enable_progress_bar"

#: Where a workspace may read and write; set once it is open, the lock last.
_BORDERS = {
    "TimeZone": "'UTC'",
    _BAR: "false",
    "allowed_directories": "[{folder}]",
    "allowed_configs": "['memory_limit']",
    "enable_external_access": "false",
    "lock_configuration": "true",
}


def _workspace_config(spill: str, memory: int, threads: int) -> dict[str, Any]:
    return {
        **{name: value for name, value in _CONFIG.items() if name != "enable_external_access"},
        "threads": threads,
        "memory_limit": f"{memory}B",
        "temp_directory": spill,
        "preserve_insertion_order": False,
    }
