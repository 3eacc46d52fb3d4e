"""What was changed behind the controller's back, as values: what was expected, what was found, and what will mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from reconciler.core.audit import Entry
from reconciler.core.value import dataclass

#: What will mend a record that says something which nobody has written.
RESTORE: Final = "restore record.db and data/ from a backup; `reconcile history` shows what was done"
#: The lives of a thing that is there: only of these does the audit log promise what the record holds.
_LIVE: Final = "live"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Drift:
    """One difference. `what` is status, log, data, record, audit or state; `subject` the thing or file that it is of; the
    other three are clauses for a person."""

    what: str
    subject: str
    expected: str
    found: str
    mends: str


class Row(NamedTuple):
    """What the record holds of a thing."""

    generation: int
    digest: str
    life: str


def unexplained(rows: Mapping[tuple[str, str], Row], latest: Mapping[tuple[str, str], Entry]) -> list[Drift]:
    """Things of the record that are not as the audit log's last entry of each says they are."""
    found = []
    for kind, name in sorted(rows.keys() | latest.keys()):
        row, entry = rows.get((kind, name)), latest.get((kind, name))
        there = row is not None and row.life == _LIVE
        wanted = entry is not None and entry.life == _LIVE
        if not there and not wanted:
            continue
        expected = _held(entry) if entry is not None and wanted else "not there, by the audit log"
        held = _held(row) if row is not None and there else "not there"
        if there != wanted or (row is not None and entry is not None and row.digest != entry.digest):
            found.append(Drift(what="record", subject=f"{kind} {name}", expected=expected, found=held, mends=RESTORE))
    return found


def _held(one: Row | Entry) -> str:
    return f"generation {one.generation} with digest {one.digest[:12]}"


# --- logs -----------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line that a log must hold. `is_blanked`: its message was forgotten, only its beginning is known."""

    text: bytes
    is_blanked: bool = False

    def is_said_by(self, line: bytes) -> bool:
        if not self.is_blanked:
            return line == self.text
        return line.split(b" ", 2)[:2] == self.text.split(b" ", 2)[:2]


def log_drift(lines: Sequence[bytes], logged: Sequence[Line], coming: Sequence[Line], *, cut: bool) -> tuple[str, str]:
    """What a log should hold and what it holds instead, as clauses; empty where it ends with all that was logged. `coming` are
    lines that are about to be written, some of which may be there. `cut`: its older lines were rotated away."""
    rest = list(lines)
    for count in range(min(len(coming), len(rest)), 0, -1):
        if all(one.is_said_by(line) for one, line in zip(coming, rest[-count:], strict=False)):
            rest = rest[:-count]
            break
    wanted = logged[-len(rest) :] if cut and len(rest) < len(logged) and rest else logged
    if not wanted:
        return "", ""
    tail = rest[-len(wanted) :]
    if len(tail) == len(wanted) and all(one.is_said_by(line) for one, line in zip(wanted, tail, strict=True)):
        return "", ""
    return _difference(rest, wanted)


def _difference(rest: Sequence[bytes], wanted: Sequence[Line]) -> tuple[str, str]:
    there = set(rest)
    lost = [one for one in wanted if not one.is_blanked and one.text not in there]
    if lost:
        words = "1 line of it is" if len(lost) == 1 else f"{len(lost)} lines of it are"
        return f"the line {_shown(lost[0].text)}", f"{words} missing or changed"
    known = {one.text for one in wanted}
    start = next((number for number, line in enumerate(rest) if line == wanted[0].text), 0)
    alien = next((line for line in rest[start:] if line not in known), b"")
    if alien:
        return "no other lines than the controller's", f"the line {_shown(alien)}"
    return "each line once, in the order of the events", "lines that stand elsewhere"


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return f"'{text if len(text) <= 120 else text[:119] + '…'}'"


def both(first: Iterable[Drift], second: Iterable[Drift]) -> list[Drift]:
    """What two looks have found alike: what was being written at one of them has changed since."""
    seen = set(first)
    return sorted(one for one in second if one in seen)
