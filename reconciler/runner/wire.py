"""Messages as JSON: the one place that knows how the values of `core.messages` look on the wire.

What the controller sends is trusted and read plainly. What a run sends is read strictly, on the controller's side: a
table says of every field what it must be, and anything else raises Malformed with the field's name, so that a hostile
or broken provider ends its own run and never the controller that would write its values into the record.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.core.messages import (
    Ended,
    FromRun,
    Intended,
    Order,
    Output,
    Produced,
    SecretSeen,
    SegmentRef,
    Wanted,
)
from reconciler.core.provider import Intent, Staged, Unit
from reconciler.data.segments import job_folder, rejects_file, segment_file
from reconciler.runner.frames import Malformed, frame, parse

#: Rows of one unit, and positions of a stream: a million million, so that sums stay far inside the record's integers.
MAX_COUNT: Final = 10**12
#: Characters of a unit's line for the log, and of the message with which a run ends.
MAX_TEXT: Final = 4096
#: Characters of an idempotency key.
MAX_KEY: Final = 512
#: Segments, rejects files and closed intents of one unit, and intents of one message.
MAX_ITEMS: Final = 10_000
#: Characters of one captured line.
MAX_LINE: Final = 8192
#: The longest wait that a run may ask for: a year.
MAX_WAIT_S: Final = 366 * 86_400.0

_YEAR_1_MS: Final = -62_135_596_800_000
_YEAR_9999_MS: Final = 253_402_300_799_999
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HEX: Final = re.compile(r"[0-9a-f]{64}")
_FILE_PART: Final = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_=.-]{0,254}")

Checker = Callable[[Any, str], Any]


# --- writing ---------------------------------------------------------------------------------------------------------


def encode(message: object) -> bytes:
    """The frame of a message. Raises TypeError or ValueError for a cursor or detail that is not JSON, and
    RecursionError where it is nested too deeply."""
    value = {"is": type(message).__name__, **_fields(message)}
    return frame(json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _fields(value: Any) -> dict[str, Any]:
    return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    match value:
        case Unit(intends=()):  # as nearly all of them are: what is not there is not sent
            return {name: said for name, said in _fields(value).items() if name != "intends"}
        case Unit() | Staged() | Intent() | SegmentRef():
            return _fields(value)
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(f"a value of type {type(value).__name__} is not JSON")


# --- reading what the controller says --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """To the one open unit, set of intents or wish. `value` is what was wished for; `refusal` why it cannot be had."""

    accepted: bool
    value: Any = None
    refusal: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Stop:
    """The run is to stop at its next unit."""


ToRun = Order | Answer | Stop


def decode_to_run(payload: bytes) -> ToRun:
    """A message of the controller, which is trusted."""
    value: dict[str, Any] = json.loads(payload)
    match value.pop("is"):
        case "Order":
            return _order(value)
        case "Answer":
            return Answer(**value)
        case "Stop":
            return Stop()
        case other:
            raise AssertionError(f"the controller sent {other!r}")


def _order(value: dict[str, Any]) -> Order:
    value["open_intents"] = tuple(Intent(**one) for one in value["open_intents"])
    value["streams"] = {name: tuple(SegmentRef(**one) for one in refs) for name, refs in value["streams"].items()}
    value["allow_paths"] = tuple(value["allow_paths"])
    value["writes"] = None if value["writes"] is None else tuple(value["writes"])
    value["profiles"] = tuple(value["profiles"])
    value["approved"], value["own_files"] = tuple(value["approved"]), tuple(value["own_files"])
    value["secret_variables"] = tuple(value["secret_variables"])
    value["identities"], value["forgotten_members"] = tuple(value["identities"]), tuple(value["forgotten_members"])
    return Order(**value)


# --- reading what a run says -----------------------------------------------------------------------------------------


def decode_from_run(payload: bytes, order: Order) -> FromRun:
    """A message of the run that works on `order`. Raises Malformed for anything that such a run may not say."""
    value = parse(payload)
    if not isinstance(value, dict):
        raise Malformed(f"a message: expected an object, found {_shown(value)}")
    name = value.pop("is", None)
    if not isinstance(name, str) or name not in _MESSAGES:
        raise Malformed("a message of an unknown kind")
    kind, fields = _MESSAGES[name]
    message: FromRun = kind(**_read(fields, value, ""))
    _check_against(message, order)
    return message


def _check_against(message: Any, order: Order) -> None:
    """What depends on the order: a run speaks for itself alone, and adds only to its own streams and files."""
    if message.run != order.run or getattr(message, "attempt", order.attempt) != order.attempt:
        raise Malformed(f"a message that speaks for another run than {order.run}, attempt {order.attempt}")
    match message:
        case Produced(unit=unit):
            for number, staged in enumerate(unit.segments):
                _check_staged(staged, f"unit.segments.{number}", order)
            for number, file in enumerate(unit.rejects):
                _check_rejects(file, f"unit.rejects.{number}", order)
            for number, file in enumerate(unit.keeps or ()):
                _check_own(file, f"unit.keeps.{number}", order)
        case SecretSeen():
            if message.authorization != order.authorization or message.field not in order.credentials:
                raise Malformed("field: not a credential of the run")
        case _:
            pass


def _check_staged(staged: Staged, where: str, order: Order) -> None:
    if order.writes is not None and staged.stream not in order.writes:
        raise Malformed(f"{where}.stream: not a stream that the job writes to")
    begin = segment_file(staged.stream, order.job, order.run, order.attempt, 0, 0).removesuffix("0-0.parquet")
    if not re.fullmatch(re.escape(begin) + r"\d+-\d+\.parquet", staged.file):
        raise Malformed(f"{where}.file: not a segment of this stream and attempt")
    if _check_file(staged.file, f"{where}.file", order) != staged.size:
        raise Malformed(f"{where}.size: {staged.size} is not the size of its file")


def _check_rejects(file: str, where: str, order: Order) -> None:
    begin = rejects_file(order.job, order.run, 0).removesuffix("0.ndjson")
    if not re.fullmatch(re.escape(begin) + r"\d+\.ndjson", file):
        raise Malformed(f"{where}: not a rejects file of this run")
    _check_file(file, where, order)


def _check_own(file: str, where: str, order: Order) -> None:
    if file not in order.own_files and not file.startswith(job_folder(order.job)):
        raise Malformed(f"{where}: not a file of this job's own")
    _check_file(file, where, order)


def _check_file(file: str, where: str, order: Order) -> int:
    """The size of a regular file that lies in the data folder, reached through no symlink."""
    path = os.path.join(order.data_dir, file)
    try:
        found = os.lstat(path)
    except OSError:
        raise Malformed(f"{where}: there is no such file in the data folder") from None
    if not stat.S_ISREG(found.st_mode):
        raise Malformed(f"{where}: expected a regular file")
    if os.path.realpath(path) != os.path.join(os.path.realpath(order.data_dir), file):
        raise Malformed(f"{where}: the file leads out of the data folder")
    return found.st_size


def _read(fields: Mapping[str, Checker], value: Any, where: str) -> dict[str, Any]:
    """The keyword arguments of a dataclass: every field once, none besides."""
    if not isinstance(value, dict):
        raise Malformed(f"{where or 'a message'}: expected an object, found {_shown(value)}")
    dot = f"{where}." if where else ""
    for name in value.keys() - fields.keys():
        raise Malformed(f"{where or 'a message'}: an unknown field, {_shown(name)}")
    for name in fields:
        if name not in value:
            raise Malformed(f"{dot}{name}: missing")
    return {name: check(value[name], f"{dot}{name}") for name, check in fields.items()}


def _shown(value: Any) -> str:
    """What was found, without its text: that may hold a secret, and only the run itself could redact it."""
    match value:
        case str():
            return f"a text of {len(value)} characters"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return json.dumps(value)[:40]


def _whole(low: int, high: int) -> Checker:
    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Malformed(f"{where}: expected a whole number from {low} to {high}, found {_shown(value)}")
        return value

    return check


def _text(limit: int, pattern: re.Pattern[str] | None = None, what: str = "text") -> Checker:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
            raise Malformed(f"{where}: expected {what}, found {_shown(value)}")
        if len(value) > limit:
            raise Malformed(f"{where}: {len(value)} characters; at most {limit} are allowed")
        return value

    return check


def _bool(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Malformed(f"{where}: expected true or false, found {_shown(value)}")
    return value


def _json(value: Any, _where: str) -> Any:
    """Anything: `parse` has checked already that it is JSON which can be written again."""
    return value


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_WAIT_S:
        raise Malformed(f"{where}: expected seconds from 0 to {MAX_WAIT_S:.0f}, found {_shown(value)}")
    return float(value)


def _optional(check: Checker) -> Checker:
    return lambda value, where: None if value is None else check(value, where)


def _one_of(*names: str) -> Checker:
    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in names:
            raise Malformed(f"{where}: expected one of {', '.join(names)}, found {_shown(value)}")
        return value

    return check


def _items(check: Checker, *, distinct: str = "") -> Checker:
    def check_items(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Malformed(f"{where}: expected a list, found {_shown(value)}")
        if len(value) > MAX_ITEMS:
            raise Malformed(f"{where}: {len(value)} of them; at most {MAX_ITEMS} are allowed")
        items = tuple(check(one, f"{where}.{number}") for number, one in enumerate(value))
        keys = [getattr(one, distinct) if distinct else one for one in items]
        if len(set(keys)) != len(keys):
            raise Malformed(f"{where}: {distinct or 'a value'} stands there twice")
        return items

    return check_items


def _file(value: Any, where: str) -> str:
    """A path below the data folder: parts of plain characters joined by slashes, none of which begins with a dot."""
    parts = PurePosixPath(value).parts if isinstance(value, str) else ()
    if not parts or "/".join(parts) != value or not all(_FILE_PART.fullmatch(part) for part in parts):
        raise Malformed(f"{where}: expected a file relative to the data folder, found {_shown(value)}")
    return str(value)


def _object(kind: Callable[..., Any], fields: Mapping[str, Checker]) -> Checker:
    return lambda value, where: kind(**_read(fields, value, where))


def _unit(value: Any, where: str) -> Unit:
    return Unit(**_read(_UNIT, {"intends": [], **value} if isinstance(value, dict) else value, where))


def _intent(value: Any, where: str) -> Intent:
    intent = Intent(**_read(_INTENT, value, where))
    if intent.last < intent.first - 1:
        raise Malformed(f"{where}.last: {intent.last} lies before the first position {intent.first}")
    return intent


_COUNT: Final = _whole(0, MAX_COUNT)
_ID: Final = _whole(1, 2**63 - 1)
_KEY: Final = _text(MAX_KEY, re.compile(r"[^\x00-\x1f\x7f]+"), "a key")
_TIME: Final = _optional(_whole(_YEAR_1_MS, _YEAR_9999_MS))

_STAGED: Final[Mapping[str, Checker]] = {
    "stream": _text(63, _LABEL, "the name of a stream"),
    "file": _file,
    "rows": _whole(1, MAX_COUNT),
    "size": _whole(1, 2**53),
    "schema": _text(128),
    "min_timestamp_ms": _TIME,
    "max_timestamp_ms": _TIME,
    "untimed": _optional(_COUNT),
    "digest": _text(64, re.compile(f"({_HEX.pattern})?"), "a SHA-256 digest in hexadecimal, or nothing"),
}
_INTENT: Final[Mapping[str, Checker]] = {
    "key": _KEY,
    "first": _COUNT,
    "last": _whole(-1, MAX_COUNT),
    "digest": _text(64, _HEX, "a SHA-256 digest in hexadecimal"),
    "detail": _json,
}
_UNIT: Final[Mapping[str, Checker]] = {
    "cursor": _json,
    "rows": _COUNT,
    "added": _COUNT,
    "removed": _COUNT,
    "omitted": _COUNT,
    "segments": _items(_object(Staged, _STAGED), distinct="file"),
    "closes": _items(_KEY),
    "rejects": _items(_file),
    "message": _text(MAX_TEXT),
    "moved": _bool,
    "keeps": _optional(_items(_file)),
    "intends": _items(_intent, distinct="key"),
}
_MESSAGES: Final[Mapping[str, tuple[Callable[..., FromRun], Mapping[str, Checker]]]] = {
    "Produced": (Produced, {"run": _ID, "attempt": _ID, "unit": _unit}),
    "Intended": (Intended, {"run": _ID, "attempt": _ID, "intents": _items(_intent, distinct="key")}),
    "Wanted": (Wanted, {"run": _ID, "attempt": _ID}),
    "Output": (Output, {"run": _ID, "text": _text(MAX_LINE)}),
    "SecretSeen": (
        SecretSeen,
        {"run": _ID, "authorization": _text(63), "field": _text(256), "digest": _text(64, _HEX, "a digest")},
    ),
    "Ended": (
        Ended,
        {
            "run": _ID,
            "attempt": _ID,
            "how": _one_of("succeeded", "stopped", "retriable", "fatal", "limited", "held"),
            "message": _text(MAX_TEXT),
            "retry_after_s": _optional(_seconds),
            "found_nothing": _bool,
            "approval": _text(64),
        },
    ),
}
