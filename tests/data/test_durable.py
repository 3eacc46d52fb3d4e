"""Files that are put on the disk while the next is written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from reconciler.data import ledger
from reconciler.data.durable import Shelf, make_folder, replaced
from reconciler.data.engine import workspace
from reconciler.errors import Retriable


def written(folder: Path, name: str) -> tuple[Path, Path]:
    temporary = folder / f"{name}.tmp"
    temporary.write_text(name)
    return temporary, folder / name


def test_what_has_been_waited_for_is_whole_at_its_path_and_private(tmp_path: Path) -> None:
    with Shelf(tmp_path) as shelf:
        for name in ("one", "two"):
            shelf.put(*written(tmp_path, name))
        shelf.settle()
        assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"one": "one", "two": "two"}
        assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}
        shelf.put(*written(tmp_path, "three"))
        shelf.settle()
    assert (tmp_path / "three").read_text() == "three"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_may_read_a_file_while_it_is_written_whoever_may_read_what_was_left_of_an_earlier_one(
    tmp_path: Path,
) -> None:
    unfinished, path = written(tmp_path, "one")
    unfinished.chmod(0o644)
    with replaced(path, unfinished) as temporary:
        assert (mode(temporary), temporary.read_text()) == (0o600, "")
        temporary.write_text("new")
    assert (mode(path), path.read_text()) == (0o600, "new")


def test_nobody_else_may_read_what_a_query_writes_while_it_writes(tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def rows() -> Iterator[pa.RecordBatch]:
        for at in range(0, 4 * ledger.GROUP_ROWS, 2_048):
            yield pa.record_batch([pa.array(range(at, at + 2_048))], names=["n"])
            seen.update((one.name, mode(one)) for one in (tmp_path / "data").iterdir() if one.stat().st_size)

    with workspace(tmp_path, memory_mb=200, threads=1) as db:
        db.register("given", pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), rows()))
        assert ledger.copy(db, tmp_path, "data/one.parquet", "SELECT n FROM given") == 4 * ledger.GROUP_ROWS
    assert seen == {"one.parquet.tmp": 0o600}
    assert mode(tmp_path / "data" / "one.parquet") == 0o600


def put(folder: Path, *names: str, last: Callable[[Shelf], None]) -> None:
    with Shelf(folder) as shelf:
        for name in names:
            shelf.put(*written(folder, name))
        last(shelf)


def refuse() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def fail(_: Shelf) -> None:
    raise ZeroDivisionError


def test_a_disk_that_refuses_is_named_with_the_file_and_nothing_unfinished_is_left(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").mkdir()
    with pytest.raises(Retriable, match=r"^cannot write b\.parquet: Is a directory$"):
        put(tmp_path, "a.parquet", "b.parquet", "c.parquet", last=Shelf.settle)
    assert not list(tmp_path.glob("*.tmp"))


def test_an_error_of_the_writer_leaves_nothing_unfinished(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        put(tmp_path, "one", last=fail)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_folder_that_is_not_on_the_disk_for_certain_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", lambda _: refuse())
        with pytest.raises(OSError, match="Input/output error"):
            make_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    real = os.fsync

    def note(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(os, "fsync", note)
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path.name, "a"]
