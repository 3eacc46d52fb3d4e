"""A random life of the ways in: hostile tables and objects, sent over HTTP to a real process that listens and is killed, and
read from files by imports that die; and, in plain Python, what must lie on the stream then.

The reference is Python's csv and json modules. Bodies are folded in this process, by the code that the daemon runs, which
is cut off at any unit and goes on from what it has committed.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Unit
from reconciler.data.fold import Folding, Start
from reconciler.data.journal import listing
from reconciler.data.stream import open_stream
from reconciler.errors import RunError
from tests.lives import require, telling
from tests.providers.files_world import World as Files
from tests.providers.files_world import WorldContext
from tests.web.served import CSV, HEADERS, NDJSON, Served

#: Stands in a table for bytes that are no UTF-8.
BROKEN: Final = ("\udcff", "\udcc3", "\udced\udca0\udc80")
FIELDS: Final = (
    "", "", "a", "b", "00123", "1.50", "0x10", "NULL", "null", "NA", " spaced ", "é", "日本", "😀", "e\u0301", "\x00", "a\x00b",
    "it's", '"', '""', 'say "hi"', "a,b", "a;b", "a\tb", "a|b", "two\nlines", "two\r\nlines", "a\rb", "\n", "\r", "\ufeff", "\ufeffx",
    "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\\", "\\n", "x" * 300, "-", "=1+1", "true", "2026-01-02", "\x7f", "\x1b[0m",
)  # fmt: skip
NAMES: Final = (
    "id", "Id", "ID", "email", "a b", "é", "É", "日本", 'q"q', "x,y", "_job", "_received", "__unit", "column1", "", "a.b", "select",
    "filename", "file_row_number", "id_1", "\ufeffid", "two\nlines", "0", "c0", "c1", "v", "x" * 200, "it's",
)  # fmt: skip
#: Texts of a column of times: what each is, None where it is none. An empty one is no time and no error.
TIMES: Final[Mapping[str, int | None]] = {
    "": 0, "2026-01-02": 1767312000000000, "2026-01-02T03:04:05Z": 1767323045000000, "2026-01-02t03:04:05z": 1767323045000000,
    "20260102T030405Z": 1767323045000000, "2026-01-02T03:04:05.25+01:00": 1767319445250000, "yesterday": None, "epoch": None,
    "1700000000": None, "2026-13-01": None, " 2026-01-02": None,
}  # fmt: skip


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_text(text: str) -> bool:
    return not any("\udc80" <= one <= "\udcff" for one in text)


# --- what is written, and what it means -----------------------------------------------------------------------------


@dataclass
class Meant:
    """What a body or a file means: its messages, the lines of what is none, and whether all of it is refused."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    fatal: str = ""
    times: list[int | None] = field(default_factory=list)


def csv_text(dice: random.Random, delimiter: str, columns: Sequence[str] | None, *, quotes: bool = True) -> str:
    """A table as CSV, mostly well written. `columns` is its header; None where it has none."""
    ending = dice.choice(("\n", "\n", "\r\n", "\r"))
    width = len(columns) if columns is not None else dice.randint(1, 4)
    lines = [] if columns is None else [list(columns)]
    for _ in range(dice.choice((0, 1, 3, 8, 30))):
        row = [dice.choice(FIELDS) for _ in range(width)]
        if dice.random() < 0.04:
            row = dice.choice((row[:-1], [*row, ""], [*row, "more"], [""]))
        if dice.random() < 0.002:
            row[0] = "long" * 40_000
        if dice.random() < 0.04 and row:
            row[dice.randrange(len(row))] += dice.choice(BROKEN)
        lines.append(row)
    out = []
    for number, row in enumerate(lines):
        if dice.random() < 0.05:
            out.append(ending * dice.randint(1, 2))  # blank lines
        out.append(delimiter.join(csv_field(dice, one, delimiter, number == 0) for one in row))
        is_last = number == len(lines) - 1
        out.append("" if is_last and dice.random() < 0.3 else ending)
    text = "".join(out)
    if quotes and dice.random() < 0.04:
        text += '"never closed' + ending
    return ("\ufeff" if dice.random() < 0.2 else "") + text


def csv_field(dice: random.Random, value: str, delimiter: str, is_name: bool) -> str:
    needs = any(one in value for one in f'{delimiter}"\r\n') or value == ""
    if needs or is_name or dice.random() < 0.2:
        return '"' + value.replace('"', '""') + '"' if needs or dice.random() < 0.9 else value
    return value + ('"' if dice.random() < 0.02 else "")


def csv_records(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """The records of a text with the line that each begins on, blank lines left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found, line = [], 1
    for row in reader:
        if row:
            found.append((line, row))
        line = reader.line_num + 1
    return found


def has_open_end(text: str, delimiter: str) -> bool:
    """Whether the last record's quote is never closed: then whatever follows belongs to it."""
    more = [row for _, row in csv_records(text + "\nMARK", delimiter)]
    return bool(more) and "MARK" in more[-1][-1] and more[-1] != ["MARK"]


def distinct(names: Sequence[str]) -> list[str]:
    given = [name or f"column{index}" for index, name in enumerate(names)]
    found: list[str] = []
    for name in given:
        unique, count = name, 0
        while unique in found or (count and unique in given):
            count += 1
            unique = f"{name}_{count}"
        found.append(unique)
    return found


def csv_meaning(
    text: str, delimiter: str, columns: Sequence[str] | None, *, header: bool, strict: bool, time: str = ""
) -> Meant:
    """`columns` are given beside the text; `strict` refuses a header that names a column twice."""
    meant = Meant()
    records = csv_records(text.removeprefix("\ufeff"), delimiter)
    is_open = has_open_end(text.removeprefix("\ufeff"), delimiter)
    if is_open and len(records) == 1:
        return Meant(fatal="a quote is opened in the first record and never closed")
    names = list(columns or [])
    if header and records:
        line, first = records.pop(0)
        if not all(map(is_text, first)):
            return Meant(fatal=f"line {line}: the header is not valid text")
        given = [one for one in first if one]
        if strict and len(set(given)) < len(given):
            return Meant(fatal=f"line {line}: the header names the column")
        names = distinct(columns if columns is not None else first)
    if columns is not None and not header:
        names = distinct(columns)
    if columns is None and not header:
        names = distinct([""] * (len(records[0][1]) if records else 0))
    if time and time not in names and records:
        return Meant(fatal="there is no column")
    for number, (line, row) in enumerate(records):
        is_last = number == len(records) - 1
        if (is_open and is_last) or len(row) != len(names) or not all(map(is_text, row)):
            meant.bad.append(line)
            continue
        message = dict(zip(names, row, strict=True))
        if time:
            moment = TIMES.get(message[time])
            if moment is None:
                meant.bad.append(line)
                continue
            meant.times.append(moment or None)
        meant.messages.append(message)
    return meant


# --- objects --------------------------------------------------------------------------------------------------------


def json_value(dice: random.Random, depth: int = 0) -> str:
    """A value as JSON text; not always JSON."""
    kind = dice.random()
    if kind < 0.35:
        return json_string(dice, dice.choice(FIELDS))
    if kind < 0.65:
        return dice.choice((
            "0", "-0", "1", "-1", "1.0", "1.50", "1e3", "1E-7", "9007199254740993", "9223372036854775807", "9223372036854775808",
            "-9223372036854775809", "0.1", "123456789012345678901234567890", "1e400", "4.9e-324", "0.30000000000000004", "1e22", "100",
        ))  # fmt: skip
    if kind < 0.8:
        return dice.choice(("true", "false", "null"))
    if kind < 0.97 and depth < 3:
        if dice.random() < 0.5:
            return "[" + ",".join(json_value(dice, depth + 1) for _ in range(dice.randint(0, 3))) + "]"
        return json_object(dice, depth + 1)
    if kind < 0.985 and depth < 4:
        return dice.choice(
            ("NaN", "Infinity", "01", "+1", "'a'", "nul", '"\\ud800"', '"\\x"', "[1,]", "1.", "{", '"a\tb"')
        )
    return "1"


def json_string(dice: random.Random, text: str) -> str:
    return json.dumps(text, ensure_ascii=dice.random() < 0.5)


def json_object(dice: random.Random, depth: int = 0) -> str:
    names = [dice.choice(NAMES) for _ in range(dice.randint(0, 5))]
    if dice.random() < 0.95:
        names = list(dict.fromkeys(names))
    space = dice.choice(("", "", " ", "  "))
    members = [f"{json_string(dice, one)}{space}:{space}{json_value(dice, depth)}" for one in names]
    return "{" + f",{space}".join(members) + "}"


def json_line(dice: random.Random, depth: int = 0) -> str:
    """An object on a line; now and then something else."""
    if dice.random() < 0.04:
        return dice.choice(
            ("[]", "1", "null", '"a"', "{", "}", "{} {}", "nonsense", '{"a":1', '{"a":1}}', '{"a":1,}', "[{}]")
        )
    made = json_object(dice, depth)
    if dice.random() < 0.02:
        made = made.replace("}", dice.choice(BROKEN) + "}", 1)
    return made


def refuse(name: str) -> Any:
    raise ValueError(name)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(pairs)


def json_read(text: str) -> dict[str, Any] | None:
    """A message; None where it is none. Numbers are compared as decimals."""
    top: list[list[tuple[str, Any]]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        top.append(found)
        return dict(found)

    try:
        value = json.loads(text, parse_constant=refuse, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=pairs)
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or len(value) < len(top[-1]):
        return None
    return value


def is_balanced(line: str) -> bool:
    """Whether a line can be an element of an array, good or bad: none of its quotes and brackets is left open."""
    rest, depth = re.sub(r'"(\\.|[^"\\])*"', "", line), 0
    for one in rest:
        depth += (one in "{[") - (one in "}]")
        if depth < 0:
            return False
    return depth == 0 and '"' not in rest and "," not in re.sub(r"[\[{].*[\]}]", "", rest)


def ndjson_meaning(text: str) -> Meant:
    meant = Meant()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if not line.strip(" \t\r\n"):
            continue
        message = json_read(line) if is_text(line) else None
        if message is None:
            meant.bad.append(number)
        else:
            meant.messages.append(message)
    return meant


def landed_object(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    return found


# --- a life ---------------------------------------------------------------------------------------------------------


@dataclass
class Sent:
    """A request that may be repeated."""

    path: str
    body: bytes
    headers: dict[str, str]
    status: int
    answer: Any


class Walk:
    """One life of a process that listens, and of the foldings behind it."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.dice = random.Random(seed)
        self.trace: list[str] = []
        self.state = folder / "state"
        self.served = Served(self.state)
        self.data = self.state / "data"
        self.data.mkdir()
        self.marks: dict[int, tuple[int, Any, bool]] = {}  # by journal: its units, the last mark, whether it is whole
        self.segments: list[SegmentRef] = []
        self.expected: list[dict[str, Any]] = []
        self.times: list[int] = []  # of the messages that have one of their own
        self.sent: list[Sent] = []
        self.foldings = 0
        self.keys = 0

    def note(self, text: str) -> None:
        self.trace.append(text)

    def live(self, steps: int) -> None:
        try:
            for _ in range(steps):
                self.step()
            self.settle()
        finally:
            self.served.kill()

    def step(self) -> None:
        self.dice.choice((
            self.csv, self.csv, self.csv, self.bulk_json, self.bulk_json, self.json, self.json, self.repeat, self.crash, self.fold,
        ))()  # fmt: skip

    # --- requests

    def csv(self) -> None:
        dice = self.dice
        delimiter = dice.choice((",", ",", ";", "\t", "|"))
        names = dice.sample(NAMES, dice.randint(1, 4))
        if dice.random() < 0.1:
            names[-1] = names[0]
        given = None if dice.random() < 0.7 else [one or "e" for one in names]
        time = dice.choice(["", "", "", "when"])
        if time and "when" not in names:
            names[-1] = "when"
            given = given and [*given[:-1], "when"]
        text = csv_text(dice, delimiter, names if given is None else None)
        if given is not None and dice.random() < 0.8:
            text = csv_text(dice, delimiter, given).partition("\n")[2]
        if time:
            text = self.timed(text, delimiter, given is not None)
        meant = csv_meaning(text, delimiter, given, header=given is None, strict=True, time=time)
        query = (
            {"delimiter": "tab" if delimiter == "\t" else delimiter} if delimiter != "," or dice.random() < 0.3 else {}
        )
        if given is not None:
            if len(set(given)) < len(given):
                return
            plain = all("," not in one and one.isprintable() and not one.startswith("[") for one in given)
            query["headers"] = ",".join(given) if plain else json.dumps(given)
        if time:
            query["timestamp_field"] = time
        self.bulk("csv", to_bytes(text), meant, query)

    def timed(self, text: str, delimiter: str, headless: bool) -> str:
        """With a time in the last column of most rows."""
        lines = csv_records(text.removeprefix("\ufeff"), delimiter)
        if has_open_end(text.removeprefix("\ufeff"), delimiter):
            return text
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for number, (_, row) in enumerate(lines):
            is_row = headless or number
            writer.writerow([*row[:-1], self.dice.choice(list(TIMES) + ["2026-01-02"] * 20)] if is_row else row)
        return out.getvalue()

    def bulk_json(self) -> None:
        dice = self.dice
        lines = [json_line(dice) for _ in range(dice.choice((0, 1, 3, 10, 40)))]
        if dice.random() < 0.5 and lines and all(map(is_balanced, lines)):
            text = dice.choice(("", " \n", "\ufeff")) + "[" + dice.choice((",", ",\n", " ,\r\n ")).join(lines) + "]"
            read = [json_read(one) if is_text(one) else None for one in lines]
            bad = [number for number, one in enumerate(read, 1) if one is None]
            meant = Meant(messages=[one for one in read if one is not None], bad=bad)
        else:
            ending = dice.choice(("\n", "\r\n"))
            text = "".join(one + ending + (ending if dice.random() < 0.05 else "") for one in lines)
            text = ("\ufeff" if dice.random() < 0.1 else "") + text
            if text.lstrip(" \t\r\n\ufeff").startswith("["):
                return  # a body that begins so is one array
            meant = ndjson_meaning(text)
        self.bulk("json", to_bytes(text), meant, {})

    def bulk(self, kind: str, body: bytes, meant: Meant, query: dict[str, str]) -> None:
        dice = self.dice
        constants: dict[str, Any] = {}
        if dice.random() < 0.2:
            constants = {"source": dice.choice(("é'\"", 7, 1.5, True)), **({"id": 1} if dice.random() < 0.1 else {})}
            query["append"] = json.dumps(constants)
        drops, dry = dice.random() < 0.5, dice.random() < 0.15
        if drops:
            query["droperrors"] = "true"
        if dry:
            query["dryrun"] = "true"
        if dice.random() < 0.2:
            query["filename"] = "old orders é.csv"
        status, accepted = 202, meant.messages
        clash = any(name in one for one in meant.messages for name in constants)
        if meant.fatal or clash or (meant.bad and not drops) or not meant.messages:
            status, accepted = 422, []
        elif dry:
            status, accepted = 200, []
        answer = self.send(
            f"/collect/bulk/{kind}/orders?{urlencode(query)}", body, CSV if kind == "csv" else NDJSON, status
        )
        if clash:
            return
        said = answer.get("errors", [])
        require(
            meant.fatal in answer.get("error", ""), lambda: f"expected '{meant.fatal}', was told {answer} of {body!r}"
        )
        if not meant.fatal:
            lines = [one.get("element", one.get("line")) for one in said]
            require(lines == meant.bad[: len(lines)], lambda: f"bad lines {meant.bad}, told {answer} of {body!r}")
            require(bool(lines) == bool(meant.bad), lambda: f"bad lines {meant.bad}, told {answer} of {body!r}")
        if status == 202:
            require(answer["accepted"] == len(accepted), lambda: f"{len(accepted)} messages, told {answer} of {body!r}")
            constant = json.loads(json.dumps(constants), parse_float=Decimal, parse_int=Decimal)
            self.expected += [{**one, **constant} for one in accepted]
            self.times += [one for one in meant.times if one is not None]

    def json(self) -> None:
        dice = self.dice
        lines = [json_line(dice) for _ in range(dice.choice((1, 1, 2, 5, 20)))]
        good = [json_read(one) for one in lines]
        shape = dice.choice(("one", "array", "lines"))
        if not all(map(is_text, lines)):
            shape = "lines"
        if shape == "one":
            lines, good, text = lines[:1], good[:1], lines[0]
        elif shape == "array":
            text = dice.choice(("", " ", "\n")) + "[" + dice.choice((",", ", ", ",\n")).join(lines) + "]\n"
        else:
            text = "".join(one + dice.choice(("\n", "\r\n", "\n\n")) for one in lines)
        if shape != "array" and text.startswith("[") and len(lines) > 0:
            return  # it would be an array
        is_good = all(one is not None for one in good) and is_text(text)
        answer = self.send("/collect/json/orders", to_bytes(text), HEADERS, 202 if is_good else 422)
        if is_good:
            require(answer["accepted"] == len(good), lambda: f"{len(good)} messages, told {answer} of {text!r}")
            self.expected += [one for one in good if one is not None]
        elif shape == "lines" and is_text(text):
            bad = ndjson_meaning(text).bad
            told = [one["line"] for one in answer.get("errors", [])]
            require(told == bad[: len(told)] and bool(told), lambda: f"bad lines {bad}, told {answer} of {text!r}")

    def send(self, path: str, body: bytes, headers: dict[str, str], status: int) -> Any:
        dice = self.dice
        headers = dict(headers)
        if dice.random() < 0.3:
            headers["Content-Encoding"] = "gzip"
            middle = dice.randint(0, len(body))
            body = gzip.compress(body[:middle]) + gzip.compress(body[middle:])
        if dice.random() < 0.5:
            self.keys += 1
            headers["Idempotency-Key"] = f"key-{self.keys}"
        response = self.served.post(path, self.chunks(body), headers)
        self.note(
            f"{path} {headers.get('Content-Encoding', '')} {body[:2000]!r}: {response.status_code} {response.text[:300]}"
        )
        require(response.status_code == status, lambda: f"{status} was due, not {response.status_code} {response.text}")
        if "Idempotency-Key" in headers and status == 202:
            self.sent.append(Sent(path, body, headers, status, response.json()))
        return response.json()

    def chunks(self, body: bytes) -> Any:
        if self.dice.random() < 0.4:
            return body
        sizes = [self.dice.choice((1, 7, 100, 5000)) for _ in range(50)]

        def parts() -> Iterator[bytes]:
            at = 0
            for size in [*sizes, len(body) + 1]:
                if at < len(body):
                    yield body[at : at + size]
                at += size

        return parts()

    def repeat(self) -> None:
        """What was accepted under a key is answered the same, and lands no second time."""
        if not self.sent:
            return
        one = self.dice.choice(self.sent)
        answer = self.served.post(one.path, one.body, one.headers)
        self.note(f"again {one.headers['Idempotency-Key']}: {answer.status_code}")
        require((answer.status_code, answer.json()) == (one.status, one.answer), lambda: f"repeated: {answer.text}")
        other = self.served.post(one.path, one.body + b" ", one.headers)
        refusals = (400, 422) if "Content-Encoding" in one.headers else (422,)  # what follows its end is no gzip
        require(
            other.status_code in refusals, lambda: f"another body under the same key: {other.status_code} {other.text}"
        )

    def crash(self) -> None:
        self.note("the process is killed")
        self.served.kill()
        self.served.start()

    # --- foldings

    def fold(self, *, cut: bool = True) -> None:
        """Live journals, then bulk bodies, as far as it comes."""
        found = listing(self.served.folder)
        for lane, journals in (("live", found.live), ("bulk", found.bulk)):
            waiting = [one for one in journals if not self.marks.get(one.number, (0, None, False))[2]]
            starts = []
            for one in waiting:
                units, mark, _ = self.marks.get(one.number, (0, None, False))
                size = None if one.open or lane == "bulk" else one.size
                starts.append(Start(one.number, units, mark, size))
            self.foldings += 1
            folding = Folding(self.data, self.served.folder, self.foldings)
            left = self.dice.choice((0, 1, 2, 99)) if cut else 10_000
            for unit in folding.live(starts) if lane == "live" else folding.bulk(starts):
                if left == 0:
                    self.note(f"folding {self.foldings} dies before a unit is committed")
                    break
                left -= 1
                self.commit(unit)

    def commit(self, unit: Unit) -> None:
        told = unit.cursor
        units, mark, whole = self.marks.get(told["journal"], (0, None, False))
        require((units, mark, whole) == (told["units"], told["before"], False), lambda: f"a unit out of order: {told}")
        self.marks[told["journal"]] = (units + 1, told["mark"], told["whole"])
        for staged in unit.segments:
            first = self.segments[-1].first + self.segments[-1].rows if self.segments else 0
            self.segments.append(SegmentRef(file=staged.file, first=first, rows=staged.rows))

    def settle(self) -> None:
        self.crash()
        self.fold(cut=False)
        reader = open_stream(self.data, "orders", self.segments)
        landed = [landed_object(text) for _, texts in reader.json_messages(0, reader.end) for text in texts]
        compare(self.expected, landed)
        own = pa.chunked_array(
            [
                chunk
                for _, table in reader.tables(0, reader.end, meta=True)
                for chunk in table.column("_timestamp").chunks
            ],
            pa.timestamp("us", "UTC"),
        )
        times = [one for one in own.cast(pa.int64()).to_pylist() if one is not None]
        require(sorted(times) == sorted(self.times), lambda: f"times {sorted(times)} instead of {sorted(self.times)}")


def compare(expected: Sequence[Mapping[str, Any]], landed: Sequence[Mapping[str, Any]]) -> None:
    """The same messages, each as often; the lanes put them into another order."""
    ours, theirs = (sorted(map(shown, some)) for some in (expected, landed))
    missing = [one for one in ours if one not in theirs][:3]
    more = [one for one in theirs if one not in ours][:3]
    require(ours == theirs, lambda: f"{len(ours)} sent, {len(theirs)} landed; missing {missing}; more {more}")


def shown(message: Mapping[str, Any]) -> str:
    return json.dumps(plain(message), sort_keys=True)


def plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"number {value.normalize()}" if value else "number 0"
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


# --- files ----------------------------------------------------------------------------------------------------------

#: How files are packed, by the ending of their names.
PACKED: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :]),
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


class FilesWalk:
    """One life of an import of files, which come, grow, change and go; its runs die anywhere between two units."""

    def __init__(self, seed: int, folder: Path) -> None:
        dice = self.dice = random.Random(seed)
        self.trace: list[str] = []
        (folder / "specs").mkdir()
        (folder / "data").mkdir()
        self.world = Files(folder / "specs", folder / "data")
        self.world.now_ms = 4_000_000_000_000  # far behind every file's time, so that looks are trusted
        self.kind = dice.choice(("csv", "csv", "ndjson", "parquet"))
        self.encoding = (
            dice.choice(("utf-8", "utf-8", "utf-8", "utf-16", "cp1252")) if self.kind != "parquet" else "utf-8"
        )
        self.config: dict[str, Any] = {"path": "in/*", "stream": "s", "maxRejects": 1_000_000}
        self.delimiter = dice.choice((",", ";", "\t", "|"))
        self.columns: list[str] | None = None
        self.header = True
        if self.kind == "csv":
            self.header = dice.random() < 0.7
            names = [one or "e" for one in dice.sample(NAMES, dice.randint(1, 4))]
            self.columns = names if dice.random() < 0.4 else None
            self.config |= {"delimiter": self.delimiter, "header": self.header}
            self.config |= {"columns": self.columns} if self.columns else {}
        if self.kind != "parquet":
            self.config["encoding"] = self.encoding
        self.texts: dict[str, str] = {}
        self.landed: dict[str, str] = {}
        self.expected: list[dict[str, Any]] = []
        self.bad: list[int] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def note(self, text: str) -> None:
        self.trace.append(text)

    def live(self, steps: int) -> None:
        for _ in range(steps):
            for _ in range(self.dice.choice((0, 1, 1, 2))):
                self.write()
            self.run()
        if self.kind != "parquet" and self.expected:
            self.come_back()

    def come_back(self) -> None:
        """What a stream is exported to, and read from again, is what it holds."""
        columns = list(dict.fromkeys(name for one in self.expected for name in one))
        missing: dict[str, Any] = {"csv": "", "parquet": None} if self.kind == "csv" else {}
        self.world.block_bytes = 1 << 20
        for kind in ("ndjson", *missing):
            self.world.start(f"export-{kind}", {"stream": "s", "path": f"o.{kind}"}, job=f"out-{kind}")
            self.world.start(f"import-{kind}", {"stream": kind, "path": f"o.{kind}"}, job=f"in-{kind}")
            reader = self.world.reader(kind)
            texts = [text for _, texts in reader.json_messages(0, reader.end) for text in texts]
            found = [plain(landed_object(text)) for text in texts]
            filled = [
                {name: one.get(name, missing[kind]) for name in columns} if kind in missing else one
                for one in self.expected
            ]
            wanted = [plain(one) for one in filled]
            require(found == wanted, lambda: f"by {kind}: {difference(wanted, found)}")  # noqa: B023

    # --- files

    def write(self) -> None:
        dice = self.dice
        name = f"{dice.choice('abc')}.{self.kind}{dice.choice(list(PACKED))}"
        if self.kind == "parquet":
            self.write_parquet(name.split(".")[0])
            return
        before = self.texts.get(name, "")
        if before and dice.random() < 0.5:
            text = before + self.more()
        elif before and dice.random() < 0.2:
            del self.texts[name]
            (self.world.folder / "in" / name).unlink()
            return
        else:
            text = self.more(first=True)
        if self.encoding != "utf-8":
            text = text.replace("\ufeff", "").encode(self.encoding, "replace").decode(self.encoding)
            body = text.encode(self.encoding)
        else:
            body = to_bytes(text)
        self.texts[name] = text
        self.world.write(f"in/{name}", PACKED["." + name.split(".")[2] if name.count(".") > 1 else ""](body))
        self.note(f"{name} {text[:1500]!r}")

    def more(self, *, first: bool = False) -> str:
        dice = self.dice
        if self.kind == "ndjson":
            return "".join(
                json_line(dice) + dice.choice(("\n", "\r\n", "\n\n")) for _ in range(dice.choice((0, 1, 5, 40)))
            )
        width = len(self.columns) if self.columns else dice.randint(1, 4)
        names = [dice.choice(NAMES) for _ in range(width)]
        text = csv_text(dice, self.delimiter, names if first and self.header else None, quotes=False)
        return text if first else text.removeprefix("\ufeff")

    def write_parquet(self, name: str) -> None:
        dice = self.dice
        rows = dice.choice((0, 1, 7, 3000))
        kinds: list[Callable[[], pa.Array]] = [
            lambda: pa.array([dice.choice((None, *FIELDS)) for _ in range(rows)], pa.string()),
            lambda: pa.array([dice.choice((None, *FIELDS)) for _ in range(rows)], pa.string()).dictionary_encode(),
            lambda: pa.array([dice.choice((None, 0, -1, 2**63 - 1)) for _ in range(rows)], pa.int64()),
            lambda: pa.array([dice.choice((None, [], ["a", None])) for _ in range(rows)], pa.list_(pa.string())),
            lambda: pa.array([dice.choice((None, Decimal("1.50"))) for _ in range(rows)], pa.decimal128(9, 2)),
            lambda: pa.array([dice.choice((None, b"\x00\xff")) for _ in range(rows)], pa.large_binary()),
        ]
        names = [dice.choice(NAMES) for _ in range(dice.randint(1, 5))]
        table = pa.table([dice.choice(kinds)() for _ in names], names=names)
        path = self.world.folder / "in" / f"{name}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path, row_group_size=dice.choice((5, 1000)), use_dictionary=dice.random() < 0.5)
        self.texts[path.name] = f"{dice.random()}"
        columns = [one.to_pylist() for one in table.columns]
        self.tables[path.name] = [dict(zip(distinct(names), row, strict=True)) for row in zip(*columns, strict=True)]
        self.note(f"{path.name}: {table.schema.names} {rows} rows")

    # --- runs

    def run(self) -> None:
        world, dice = self.world, self.dice
        world.block_bytes = dice.choice((1, 7, 50, 400, 1 << 20))
        world.run += 1
        due = self.due()
        before = len(world.units)
        for attempt in range(1, 50):
            context = WorldContext(world, "job", f"import-{self.kind}", self.config, attempt)
            context.unit += len(world.units) - before
            left = dice.choice((0, 1, 2, 99)) if attempt < 20 else 99
            try:
                for unit in context.units():
                    if left == 0:
                        self.note(f"run {world.run}.{attempt} dies")
                        break
                    left -= 1
                    world.commit("job", context, unit)
                else:
                    break
            except RunError as error:
                self.refused(str(error), due)
                return
        require(not due.fatal, lambda: f"{due.fatal} was due")
        self.expected += due.messages
        rejected = [line for unit in world.units[before:] for line in self.rejects(unit)]
        require(
            sorted(rejected) == sorted(due.bad), lambda: f"bad lines {sorted(due.bad)}, rejected {sorted(rejected)}"
        )
        self.landed = dict(self.texts)
        found = self.found()
        wanted = [plain(one) for one in self.expected]
        require(found == wanted, lambda: f"{len(wanted)} were due, {len(found)} landed; {difference(wanted, found)}")

    def rejects(self, unit: Unit) -> list[int]:
        lines = [
            line for file in unit.rejects for line in (self.world.data_dir / file).read_bytes().split(b"\n") if line
        ]
        return [json.loads(line)["line"] for line in lines]

    def refused(self, why: str, due: Meant) -> None:
        """A file that cannot be read goes; what the run had not committed comes with the next one."""
        require(due.fatal in why and bool(due.fatal), lambda: f"'{due.fatal}' was due, not '{why}'")
        name = why.partition(":")[0]
        self.note(f"{why}; it goes")
        (self.world.folder / "in" / name).unlink()
        del self.texts[name]
        self.run()

    def found(self) -> list[Any]:
        reader = self.world.reader("s")
        if self.kind == "ndjson":
            texts = [text for _, texts in reader.json_messages(0, reader.end) for text in texts]
            return [plain(landed_object(text)) for text in texts]
        return [plain(one) for one in self.world.messages("s")]

    def due(self) -> Meant:
        """What the next run is to land."""
        due = Meant()
        for name in sorted(self.texts):
            now, before = self.texts[name], self.landed.get(name)
            if now == before:
                continue
            new = self.meaning(name, now)
            if new.fatal:
                return Meant(fatal=new.fatal)
            old = self.meaning(name, before) if before is not None and goes_on(before, now) else Meant()
            due.messages += new.messages[len(old.messages) :]
            due.bad += new.bad[len(old.bad) :]
        return due

    def meaning(self, name: str, text: str) -> Meant:
        if self.kind == "parquet":
            return Meant(messages=self.tables[name])
        if self.kind == "ndjson":
            return ndjson_meaning(text)
        meant = csv_meaning(text, self.delimiter, self.columns, header=self.header, strict=False)
        width = len(next((row for _, row in csv_records(text.removeprefix("\ufeff"), self.delimiter)), []))
        if self.columns and self.header and width and width != len(self.columns):
            return Meant(fatal=f"the header has {width} columns, and `columns` names {len(self.columns)}")
        return meant


def goes_on(before: str, now: str) -> bool:
    """Whether a file that said `before` has only grown, behind the end of a line."""
    return now.startswith(before) and (
        not before.removeprefix("\ufeff") or before[-1] in "\r\n" or now[len(before)] in "\r\n"
    )


def difference(wanted: Sequence[Any], found: Sequence[Any]) -> str:
    at = next((at for at, (one, other) in enumerate(zip(wanted, found, strict=False)) if one != other), None)
    if at is None:
        return f"then {[*wanted, *found][min(len(wanted), len(found)) :][:2]!r}"
    return f"number {at}: {wanted[at]!r} was due, not {found[at]!r}"


def live_files(seed: int, folder: Path, steps: int = 8) -> None:
    """A life of files. Raises Broken, with what came before."""
    folder.mkdir(parents=True, exist_ok=True)
    walk = FilesWalk(seed, folder)
    with telling(seed, walk.trace, walk.config):
        walk.live(steps)


def live(seed: int, folder: Path, steps: int = 40) -> None:
    """A life of a process that listens. Raises Broken, with what came before."""
    folder.mkdir(parents=True, exist_ok=True)
    walk = Walk(seed, folder)
    with telling(seed, walk.trace):
        walk.live(steps)
