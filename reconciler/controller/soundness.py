"""Whether the record is sound, and all that it names is there: `reconcile record check`. It only reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.core.value import dataclass
from reconciler.data.lost_found import is_there
from reconciler.errors import RecordUnusable
from reconciler.record import database
from reconciler.record.refusals import REPAIR
from reconciler.record.store import Record

#: So many missing files are named.
NAMED: Final = 10
_DATA: Final = (
    "copy it back from where you keep data/, or restore an older backup with `reconcile record restore FILE`; runs that read "
    "it fail until then"
)
_AUDIT: Final = "a cut audit.log is completed by the next `reconcile`; for anything else, find out who did it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsound:
    """One thing that is wrong, and what to do about it. `what` is record, data or audit."""

    what: str
    found: str
    mends: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at, and what is wrong with it. `version` is None where the record could not be opened, or where there
    is none yet (`exists`)."""

    path: Path
    exists: bool
    version: int | None
    files: int
    entries: int
    problems: tuple[Unsound, ...]


def check(state: Path) -> Checked:
    """Looks at everything. Where SQLite itself finds the record damaged, nothing else of it is asked."""
    path = state / database.RECORD
    try:
        record = Record.frozen(state)
        if record is None:
            database.refuse_lost(state)
            return Checked(path=path, exists=False, version=None, files=0, entries=0, problems=())
    except RecordUnusable as error:
        return _unopened(path, error)
    with record:
        look = _Look(record, state)
        problems = tuple(look.problems())
        return Checked(
            path=path,
            exists=True,
            version=database.newest_version(),
            files=look.files,
            entries=look.entries,
            problems=problems,
        )


def _unopened(path: Path, error: RecordUnusable) -> Checked:
    return Checked(path=path, exists=True, version=None, files=0, entries=0, problems=(_unsound(error),))


def _unsound(error: RecordUnusable) -> Unsound:
    found, _, mends = str(error).partition("; ")
    return Unsound(what="record", found=found, mends=mends or REPAIR)


class _Look:
    def __init__(self, record: Record, state: Path) -> None:
        self._record = record
        self._state = state
        self.files = 0
        self.entries = 0

    def problems(self) -> Iterator[Unsound]:
        try:
            with self._record.reading_at_once():
                damage = [Unsound(what="record", found=one, mends=REPAIR) for one in self._record.integrity.damage()]
                yield from damage
                if damage:
                    return
                for drift in self._record.integrity.contradictions():
                    found = f"{drift.subject}: expected {drift.expected}, found {drift.found}"
                    yield Unsound(what="record", found=found, mends=REPAIR)
                yield from self._audit()
            yield from self._data()
        except RecordUnusable as error:
            yield _unsound(error)
        except (
            ValueError,
            TypeError,
            LookupError,
            RecursionError,
        ) as error:  # of what is read there; see `cli/door.py`
            found = f"{self._state / database.RECORD} says what no record says: {type(error).__name__}: {error}"
            yield Unsound(what="record", found=found, mends=REPAIR)

    def _audit(self) -> Iterator[Unsound]:
        head, broken = self._record.audit.check()
        self.entries = head.count
        if broken is not None:
            yield Unsound(what="audit", found=f"the audit log is broken: {broken.message}", mends=_AUDIT)

    def _data(self) -> Iterator[Unsound]:
        """Outside the snapshot: what a controller at work has replaced meanwhile is looked up once more."""
        files = self._record.integrity.files()
        self.files = len(files)
        wrong = [one for one in files if not is_there(self._state / "data" / one.file, one.size)]
        still = set(self._record.integrity.files()) if wrong else set()
        wrong = [one for one in wrong if one in still]
        for file, size in wrong[:NAMED]:
            path = self._state / "data" / file
            is_short = path.is_file() and size is not None
            found = (
                f"{path} has {path.stat().st_size:,} bytes instead of {size:,}" if is_short else f"{path} is missing"
            )
            yield Unsound(what="data", found=found, mends=_DATA)
        if len(wrong) > NAMED:
            yield Unsound(
                what="data", found=f"{len(wrong) - NAMED:,} more data files are missing or damaged", mends=_DATA
            )
