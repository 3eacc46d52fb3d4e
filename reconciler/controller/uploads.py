"""Which bulk bodies wait for a person: those that would add more messages to their stream than it takes unasked.

A body was accepted, and is on the disk; it is put on its stream once somebody has approved just that body, or once the
stream's `backfill.maxMessages` allows for it. One of which something is on the stream goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.clock import Now
from reconciler.controller.hands import Hands
from reconciler.core.backfill import digest_of_upload, max_messages_of
from reconciler.core.words import with_options
from reconciler.data.journal import Bulk, Journal, bulk_of
from reconciler.errors import Fatal
from reconciler.record.intake import JournalRow
from reconciler.record.uploads import UploadRow


@dataclass(slots=True)
class Gate:
    """Judges bodies before the first of their units."""

    hands: Hands
    _bodies: dict[int, Bulk] = field(default_factory=dict)

    def held(self, bodies: Iterable[Journal], begun: Mapping[int, JournalRow], now: Now) -> set[int]:
        """The numbers of the bodies that wait. What waits is in the record, and is told once."""
        found = {one.number: body for one in bodies if one.number not in begun and (body := self._body(one))}
        self._bodies = dict(found)
        if not found:
            return set()
        known = self.hands.record.uploads.all()
        judged = {number: self._judged(number, body) for number, body in found.items()}
        over = {number: one for number, one in judged.items() if one.messages > one.limit_}
        waits = {number for number in over if not (number in known and known[number].is_approved)}
        self._note({number: over[number] for number in waits}, known, set(found) - set(over), now)
        return waits

    def _body(self, journal: Journal) -> Bulk | None:
        try:
            return self._bodies.get(journal.number) or bulk_of(journal.path)
        except (Fatal, OSError):  # whoever folds it says so
            return None

    def _judged(self, number: int, body: Bulk) -> UploadRow:
        stream = self.hands.record.desired.document("Stream", body.stream)
        spec = {} if stream is None else stream.spec
        return UploadRow(
            journal=number,
            stream=body.stream,
            messages=body.messages,
            size=body.size,
            limit_=max_messages_of(spec),
            timed=bool(body.timestamp_field) or "timestamp" in spec,
            digest=digest_of_upload(number, body.stream, body.received_ms, body.size, body.messages),
        )

    def _note(self, waits: Mapping[int, UploadRow], known: Mapping[int, UploadRow], free: set[int], now: Now) -> None:
        record = self.hands.record
        changed = [one for number, one in waits.items() if number not in known or known[number].limit_ != one.limit_]
        freed = [number for number in free if number in known and not known[number].is_approved]
        if not changed and not freed:
            return
        with record.transaction():
            for one in changed:
                record.uploads.hold(one, now.wall_ms)
            record.uploads.forget(freed)
        for one in changed:
            if one.journal not in known:
                said = f"{waiting_words(one)}; {approval_words(one)}"
                self.hands.listener.notice(with_options(said, self.hands.settings.again))


def waiting_words(one: UploadRow) -> str:
    """What waits, and why."""
    return (
        f"an upload of {one.messages:,} messages ({one.size / 1e6:,.1f} MB) to stream {one.stream} waits for approval, because "
        f"that is more than backfill.maxMessages ({one.limit_:,})"
    )


def approval_words(one: UploadRow) -> str:
    """How it goes on."""
    return f"`{approval_command(one)}` puts it on the stream"


def approval_command(one: UploadRow) -> str:
    """What a person types."""
    return f"reconcile approve {one.stream} {one.digest}"
