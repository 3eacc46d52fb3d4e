"""A backup becomes the record: `reconcile record restore`.

A record that is put back knows less than the world holds. So nothing that it does not name is destroyed: data files that
were landed since are kept in `lost+found`, and the audit log's second copy too. Where a crash cuts a restore off, the next
controller finds that the record is a restored one and does the rest before it sweeps (`settle`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from reconciler.clock import Now, iso
from reconciler.core.audit import Deed, genesis
from reconciler.core.value import dataclass
from reconciler.data.lost_found import LOST, bring_back, found, is_there, set_aside, set_aside_file
from reconciler.errors import Blocked, UsageError
from reconciler.record import copies, database
from reconciler.record.audit import Audit
from reconciler.record.audit_mirror import NAME as AUDIT_LOG
from reconciler.record.audit_mirror import first_of
from reconciler.record.copies import Copy, Since
from reconciler.record.store import Record
from reconciler.repo.index import INDEX_NAME

#: So many missing files are named.
NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What became of the data folder: files that were moved to `folder`, and files that came back from an earlier one."""

    folder: Path
    moved: tuple[str, ...]
    back: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore has done. `kept` is where the record before it is, None where there was none. `since` is what that one
    knew and this one does not; None where it could not be read. `missing` are data files that are not there."""

    copy: Copy
    kept: Path | None
    since: Since | None
    settled: Settled
    missing: tuple[str, ...]


def restore(state: Path, source: Path, by: str, now: Now, *, force: bool = False) -> Restored:
    """Puts a backup in the record's place. Raises Locked beside a controller at work; ReconcileError for a file that is no
    sound backup, Blocked for one that does not belong here or needs data files that are gone, unless `force`: nothing was
    changed then."""
    if source.exists() and (state / database.RECORD).exists() and source.samefile(state / database.RECORD):
        raise UsageError(f"{source} is the record itself; name a backup of it")
    database.prepare_state(state)
    lock = database.WriterLock(state / "lock")
    lock.acquire()
    try:
        try:
            copy = copies.prepare(source, state)
            missing = _missing(state, copy)
            if not force:
                _refuse_another(state, source, copy)
                _refuse_missing(state, source, missing)
            since = copies.since(state)
            stamp = _stamp(state, now)
            _tell(state, source, copy, by, now, stamp)
        except BaseException:
            copies.discard(state)
            raise
        _forget_looks(state)
        kept = copies.put_in_place(state, stamp)
        with closing(Record(database.open_for_writing(state), state=state)) as record:
            settled = settle(record, state)
            record.audit.mirror()
    finally:
        lock.release()
    assert settled is not None, "a record that was just restored says so"
    return Restored(copy=copy, kept=kept, since=since, settled=settled, missing=tuple(missing))


def settle(record: Record, state: Path) -> Settled | None:
    """What a restored record needs before anything is swept; None where it is not a restored one, or that was done."""
    folder = str(record.setting(copies.RESTORED, ""))
    if not folder:
        return None
    back = bring_back(state, record.integrity.files())
    moved = set_aside(state, record.integrity.named_files(), folder)
    set_aside_file(state / AUDIT_LOG, state, folder)
    with record.transaction():
        record.set_setting(copies.RESTORED, "")
    return Settled(folder=state / LOST / folder, moved=tuple(moved), back=tuple(back))


def _tell(state: Path, source: Path, copy: Copy, by: str, now: Now, stamp: str) -> None:
    taken = "" if copy.taken_ms is None else f", taken {iso(copy.taken_ms)}"
    with closing(copies.tell(state, stamp)) as connection:
        deed = Deed(time_ms=now.wall_ms, action="restore", actor=by, reason=f"from {source.name}{taken}")
        Audit(connection).append([deed])
        connection.commit()


def _stamp(state: Path, now: Now) -> str:
    """The time, as the name of a folder that is not there yet."""
    whole = f"{iso(now.wall_ms).replace('-', '').replace(':', '').partition('.')[0]}Z"
    taken = {one.name.partition(database.ASIDE)[2] for one in state.glob(f"{database.RECORD}.{database.ASIDE}*")}
    taken |= {one.name for one in (state / LOST).glob("*")}
    stamp, number = whole, 1
    while stamp in taken:
        number += 1
        stamp = f"{whole}-{number}"
    return stamp


def _forget_looks(state: Path) -> None:
    """What was learned of the files was told to the record that goes: the next look tells this one everything."""
    for ending in ("", "-journal", "-wal", "-shm"):
        (state / "cache" / f"{INDEX_NAME}{ending}").unlink(missing_ok=True)


def _refuse_another(state: Path, source: Path, copy: Copy) -> None:
    here = copies.record_id(state)
    start = first_of(state) if here is None else ""
    is_ours = genesis(copy.id).hash == start if start else here in (None, copy.id)
    if not is_ours:
        raise Blocked(
            f"{source} is a backup of another record than that of {state}; name the right --state, or put it there all the "
            "same with --force"
        )


def _missing(state: Path, copy: Copy) -> list[str]:
    """The data files that a backup names and that are neither in their place nor in `lost+found`."""
    return [
        file
        for file, size in copy.files
        if not is_there(state / "data" / file, size) and found(state, file, size) is None
    ]


def _refuse_missing(state: Path, source: Path, missing: list[str]) -> None:
    if missing:
        raise Blocked(
            f"{source} names {_files(len(missing))} that {'is' if len(missing) == 1 else 'are'} not in {state / 'data'}, or not "
            f"as large as noted ({named(missing)}): they were replaced or removed since. Copy them back from where you keep "
            "data/, take a younger backup, or restore it all the same with --force; runs that read them then fail"
        )


def named(files: Iterable[str]) -> str:
    """The first few of them, as a list."""
    names = list(files)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _files(count: int) -> str:
    return f"{count:,} data {'file' if count == 1 else 'files'}"
