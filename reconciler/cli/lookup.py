"""Finding what a name on the command line means, and saying what is near where it means nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.cli.options import Call
from reconciler.clock import iso
from reconciler.core.prune import undeleted_words
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.record.jobs import JobRow
    from reconciler.record.store import Record


def reading(call: Call) -> Record:
    """The record, for reading; an empty one where no pass was made yet. Raises UsageError for a missing root."""
    from reconciler.record.store import Record

    call.need_root()
    return Record.reading(call.state)


def find_job(call: Call, record: Record, name: str) -> JobRow:
    """The job of that name, live or purged. Raises UsageError with names that are close."""
    found = record.jobs.job(name)
    if found is not None:
        return found
    if record.desired.document("Job", name) is not None:
        raise UsageError(f"the job '{name}' is declared but not there yet: `reconcile why {name}{call.again}` says why")
    gone = record.deletions.deletion(name)
    if gone is not None:
        back = f"`reconcile undelete {name}{call.again}` brings it back until {iso(gone.until_ms)}"
        raise UsageError(f"the job '{name}' was deleted at {iso(gone.at_ms)}; {back}")
    names = [job.name for job in record.jobs.jobs()]
    if not names:
        raise UsageError(
            f"there is no job '{name}': nothing of {call.root} is recorded yet; run `reconcile{call.again}` first"
        )
    raise UsageError(f"there is no job '{name}'{suggestion(name, names)}")


def waiting_words(call: Call, record: Record, job: JobRow, path: str) -> str:
    """What an undeleted job waits for, with its file as `path`; empty for any other job."""
    if job.life != "undeleted":
        return ""
    from reconciler.cli.specs import is_there

    is_declared = record.desired.document("Job", job.name) is not None
    return undeleted_words(path, is_there=is_declared or is_there(call, job.path), is_declared=is_declared)


def key_and_value(text: str) -> tuple[str, str]:
    """Both sides of KEY=VALUE. Raises UsageError."""
    key, _, value = text.partition("=")
    if not key or not value:
        raise UsageError(f"expected KEY=VALUE such as email=ada@example.org, found '{text}'")
    return key, value


def suggestion(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?`, empty where nothing is close."""
    from reconciler.core.suggest import MAX_COMPARED, Names, did_you_mean

    known = list(names)
    return did_you_mean(name, known) if len(known) <= MAX_COMPARED else Names(known).did_you_mean(name)
