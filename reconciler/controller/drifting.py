"""What was changed behind the controller's back: a look at all that it has written, which writes nothing.

What the record knows is compared with what is on disk, and one part of the record with another. Beside a controller at
work a look sees things half done: a status that is on disk and not yet noted, a log line the other way round. So only what
several looks find alike counts.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock, Now, pause
from reconciler.controller.report import line_of
from reconciler.controller.settings import WRITTEN_SINCE, WRITTEN_TO, Settings
from reconciler.core.document import Kind
from reconciler.core.drift import RESTORE, Drift, Line, both, log_drift, unexplained
from reconciler.core.state import EventName
from reconciler.core.status import job_status
from reconciler.core.value import dataclass
from reconciler.data.durable import file_digest
from reconciler.data.segments import run_of, unnamed
from reconciler.errors import RecordUnusable
from reconciler.record.events import KEPT_EVENTS, Event
from reconciler.record.facts import job_facts
from reconciler.record.forgotten import BLANK
from reconciler.record.holder import controller_at_work
from reconciler.record.jobs import JobRow
from reconciler.record.resources import ResourceRow
from reconciler.record.store import Record
from reconciler.repo.emit import to_yaml
from reconciler.repo.written import Written

#: Beside a controller at work so many looks must agree, so far apart.
LOOKS: Final = 3
BETWEEN_S: Final = 1.0
#: What of a status follows from the record alone, whenever it is asked.
_LASTING: Final = (
    "status", "reason", "title", "provider", "jobType", "type", "authorization", "createdAt", "createdBy", "updatedAt",
    "updatedBy", "generation", "observedGeneration", "digest", "revision", "lastRun", "errors", "totals", "history",
)  # fmt: skip
#: More than the number of any run.
_NEVER: Final = 1 << 62
#: After these a log begins anew.
_ENDS: Final = (EventName.DELETED, EventName.UNDELETED, EventName.PURGED)
_ANEW: Final = "its status is written anew when it next says something else"
_LOST_LINES: Final = "nothing writes them again; `reconcile logs {name}` has its events"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`checked` counts what was looked at."""

    drifts: tuple[Drift, ...]
    checked: int


def find_drift(settings: Settings, *, reads_data: bool = True) -> Found:
    """What has drifted. The record is opened read-only, and no file is made or changed. `reads_data`: streams are compared
    byte by byte, not by their sizes alone."""
    found = _look(settings, reads_data)
    drifts = sorted(set(found.drifts))
    for _ in range(LOOKS - 1):
        if not drifts or controller_at_work(settings.state) is None:
            break
        pause(BETWEEN_S)
        again = _look(settings, reads_data)
        drifts = both(drifts, set(again.drifts))
    return Found(drifts=tuple(drifts), checked=found.checked)


def _look(settings: Settings, reads_data: bool) -> Found:
    try:
        record = Record.frozen(settings.state)
    except RecordUnusable as error:
        return Found(drifts=(_record(str(error)),), checked=1)
    if record is None:
        lost = sorted((settings.state / "data").rglob("*.parquet"))
        gone = _record("nothing, though data/ holds messages that only it names")
        return Found(drifts=(gone,) if lost else (), checked=0)
    with record, record.reading_at_once():
        try:
            look = _Look(settings, record, Clock(record.alive_ms).now(), reads_data)
            return Found(drifts=tuple(look.drifts()), checked=look.checked)
        except RecordUnusable as error:
            return Found(drifts=(_record(str(error)),), checked=1)


def _record(found: str) -> Drift:
    return Drift(what="record", subject="record.db", expected="a sound database", found=found, mends=RESTORE)


class _Look:
    """One look at everything, by one snapshot of the record."""

    def __init__(self, settings: Settings, record: Record, now: Now, reads_data: bool) -> None:
        self._reads_data = reads_data
        self._record = record
        self._now = now
        self._state = settings.state
        noted = record.setting(WRITTEN_TO, "")
        self._written = Written(Path(noted) if noted else settings.status_dir or settings.root)
        self._since = int(record.setting(WRITTEN_SINCE, 0))
        self._moving = {(one.kind, one.name) for one in record.resources.chores()}
        self._moving |= {(one.kind, one.new_name) for one in record.resources.chores() if one.new_name}
        self.checked = 0

    def drifts(self) -> Iterator[Drift]:
        yield from self._permissions()
        yield from self._record.integrity.drifts()
        yield from self._audit()
        for job in self._record.jobs.jobs():
            if ("Job", job.name) not in self._moving:
                yield from self._status(job, "Job")
                yield from self._log(job)
        for one in self._record.resources.resources("Authorization"):
            if ("Authorization", one.name) not in self._moving:
                yield from self._status(one, "Authorization")
        yield from self._data()

    # --- the state directory ----------------------------------------------------------------------------------------

    def _permissions(self) -> Iterator[Drift]:
        """What is in it is its owner's alone."""
        for path in (self._state, self._state / "record.db", self._state / "audit.log"):
            if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
                yield Drift(
                    what="state",
                    subject=str(path),
                    expected="nobody but its owner may read or write it",
                    found=f"mode {mode:04o}",
                    mends="the next `reconcile` closes the folder" if path == self._state else f"chmod 600 {path}",
                )

    # --- the audit log ----------------------------------------------------------------------------------------------

    def _audit(self) -> Iterator[Drift]:
        _, broken = self._record.audit.check()
        self.checked += 1
        if broken is not None:
            yield Drift(
                what="audit",
                subject="audit log",
                expected="a chain of entries as they were written",
                found=broken.message,
                mends="a cut audit.log is completed by the next `reconcile`; for anything else, find out who did it",
            )
        elif self._record.audit.head().count:
            yield from unexplained(self._record.integrity.rows(), self._record.audit.latest())

    # --- beside the specs -------------------------------------------------------------------------------------------

    def _status(self, one: JobRow | ResourceRow, kind: Kind) -> Iterator[Drift]:
        """It is what was last written, and what the record would write."""
        if not one.status_digest or self._record.resources.is_dirty(one.id):
            return
        self.checked += 1
        path = str(self._written.status_path(one.path, one.name, kind))
        content = self._written.status(one.path, one.name, kind)
        if content is None:
            yield Drift(what="status", subject=path, expected="the status", found="no such file", mends=_ANEW)
        elif _digest(content) != one.status_digest:
            expected, found = f"digest {one.status_digest[:12]}", f"digest {_digest(content)[:12]}"
            yield Drift(what="status", subject=path, expected=expected, found=found, mends=_ANEW)
        elif isinstance(one, JobRow):
            yield from self._says(one, content.decode("utf-8", "replace"))

    def _says(self, job: JobRow, text: str) -> Iterator[Drift]:
        document = job_status(job_facts(self._record.runs, job, (), None), self._now)
        lines = f"\n{text}"
        for name in _LASTING:
            block = to_yaml({"status": {name: document["status"][name]}}).partition("\n")[2]
            if f"\n{block}" not in lines:
                yield Drift(
                    what="record",
                    subject=f"Job {job.name}",
                    expected=f"the {name} that its status says",
                    found=_one_line(document["status"][name]),
                    mends=RESTORE,
                )

    def _log(self, job: JobRow) -> Iterator[Drift]:
        events = self._record.events.tail("Job", job.name, limit=KEPT_EVENTS)
        events = [event for event in events if (event.id or 0) > self._since]
        ends = [number for number, event in enumerate(events) if event.event in _ENDS]
        events = events[ends[-1] + 1 :] if ends else events
        coming = self._record.events.unlogged_of("Job", job.name)
        first = min(coming, default=None)
        logged = [event for event in events if first is None or (event.id or 0) < first]
        late = [event for event in events if first is not None and (event.id or 0) >= first]
        if not logged:
            return
        self.checked += 1
        lines, cut = self._written.log(job.path, job.name)
        expected, found = log_drift(lines, _lines(logged), _lines(late), cut=cut)
        if expected:
            path = str(self._written.log_path(job.path, job.name))
            mends = _LOST_LINES.format(name=job.name)
            yield Drift(
                what="log", subject=path, expected=expected, found=found if lines else "no such file", mends=mends
            )

    # --- data -------------------------------------------------------------------------------------------------------

    def _data(self) -> Iterator[Drift]:
        data, integrity = self._state / "data", self._record.integrity
        digests = integrity.digests() if self._reads_data else {}
        for file, size in integrity.files():
            self.checked += 1
            found = _size(data / file)
            if found is None or (size is not None and found != size):
                expected = "the file" if size is None else f"{size:,} bytes"
                is_there = "no such file" if found is None else f"{found:,} bytes"
                yield Drift(what="data", subject=f"data/{file}", expected=expected, found=is_there, mends=RESTORE)
            elif file in digests and (changed := _content_digest(data / file)) != digests[file]:
                expected = f"digest {digests[file][:12]}"
                said = f"digest {changed[:12]}" if changed else "it cannot be read"
                yield Drift(what="data", subject=f"data/{file}", expected=expected, found=said, mends=RESTORE)
        if controller_at_work(self._state) is not None or integrity.has_live_runs():
            return  # what runs stage, no row names yet; what a crash left is swept
        for file in unnamed(data, integrity.named_files()):
            if not self._is_left_over(file):
                yield Drift(
                    what="data",
                    subject=f"data/{file}",
                    expected="no file that no row names",
                    found=f"{_size(data / file) or 0:,} bytes",
                    mends="the next `reconcile` removes it",
                )

    def _is_left_over(self, file: str) -> bool:
        """Whether a build, a compaction or a run that a crash cut off may have left it: staged and never named, or named no
        more and not yet removed. Whatever starts next sweeps it."""
        builds, compactions = self._record.setting("builds", 0), self._record.setting("compactions", 0)
        name = Path(file).name
        built = file.startswith("profiles/") and name.startswith(f"{builds}-")
        compacted = bool(compactions) and name.startswith("compaction-")
        return built or compacted or name.endswith(".tmp") or (run_of(file) or _NEVER) <= self._record.runs.last_id()


def _lines(events: Sequence[Event]) -> list[Line]:
    return [
        Line(line_of(event).encode("utf-8", "replace").replace(b"\n", b" "), is_blanked=event.message == BLANK)
        for event in events
    ]


def _digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()[:32]


def _content_digest(path: Path) -> str:
    """Empty where the file cannot be read."""
    try:
        return file_digest(path)
    except OSError:
        return ""


def _one_line(value: Any) -> str:
    from reconciler.core.document import canonical

    return canonical(value)[:200]


def _size(path: Path) -> int | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
