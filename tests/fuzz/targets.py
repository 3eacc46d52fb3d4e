"""What is fuzzed: each target takes bytes as they would come from outside and raises where the law does not hold.

Beyond the law, a target holds what else must be true: two parsers agree, a text that was read is written back the same,
every row is either good or bad, and none is lost.
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import quote

from reconciler.core.duration import BadDuration, format_duration, parse_duration
from reconciler.core.provider import Secret
from reconciler.errors import Blocked, Problem, RunError, UsageError
from tests.fuzz.law import SECRET, Target, allowing, demand, demand_sound

NOW_MS: Final = 1_790_000_000_000


def text_of(data: bytes) -> str:
    """As text, whatever the bytes: what is no UTF-8 stands there as half of a surrogate pair."""
    return data.decode("utf-8", "surrogateescape")


# --- YAML -----------------------------------------------------------------------------------------------------------


@cache
def _specs() -> Any:
    from reconciler.core.spec_rules import Rules
    from reconciler.providers import catalogue
    from reconciler.repo import parse, parse_careful, parse_fast, yaml_nodes, yaml_text

    found = catalogue()
    return SimpleNamespace(
        catalogue=found, rules=Rules(found), parse=parse, careful=parse_careful, fast=parse_fast, text=yaml_text,
        nodes=yaml_nodes,
    )  # fmt: skip


def specs(data: bytes) -> None:
    """A spec file: both parsers agree, every problem has its place, nothing shows a credential."""
    own = _specs()
    parsed = own.parse.parse_file("a.yaml", data, own.catalogue)
    _places(parsed.problems, data)
    demand(own.parse.Parsed.from_json(parsed.to_json()) == parsed, "what the cache keeps is something else")
    _places(own.parse.check_across(parsed.documents, parsed.problems, own.catalogue, lambda _: {"a.yaml": data}), data)
    try:
        chunks = own.text.split(own.text.decode(data))
    except own.text.NotText:
        return
    for chunk in chunks:
        fast = own.fast.parse_chunk(chunk, "a.yaml", own.rules)
        careful, problems = own.careful.parse_chunk(chunk, "a.yaml", own.rules)
        demand((careful is None) == bool(problems) or not chunk.text.strip("%\n "), "neither a document nor a problem")
        if fast is not None:
            demand(fast == careful and repr(fast) == repr(careful), f"{fast!r} is not {careful!r}")
        _hides_credentials(own, chunk, problems)


def _places(problems: Any, data: bytes) -> None:
    lines = data.count(b"\n") + data.count(b"\r") + 2
    for problem in problems:
        demand(isinstance(problem, Problem), "a problem that is none")
        demand_sound(str(problem), may_show=True)
        demand(1 <= problem.line <= lines and problem.column >= 1, f"a problem without a place: {problem}")


def _hides_credentials(own: Any, chunk: Any, problems: Any) -> None:
    """Where the secret stands once, and that is among the credentials of an Authorization, no message shows it."""
    if chunk.text.count(SECRET) != 1 or not any(SECRET in str(problem) for problem in problems):
        return
    try:
        root = own.nodes.compose(chunk.text, chunk.line)
    except own.nodes.Malformed:
        return
    if root is None or root.kind != "mapping" or own.careful.identity(root)[0] != "Authorization":
        return
    node = own.careful.find(root, ("spec", "credentials"))
    spec = own.careful.find(root, ("spec",))
    if node is not spec and SECRET in json.dumps(own.careful._values(node, (), []), default=str):
        demand(False, "a problem shows a credential")


def operator(data: bytes) -> None:
    """`reconciler.yaml`."""
    from reconciler.repo.operator_file import parse_operator_file

    values, problems = parse_operator_file(data, "reconciler.yaml")
    _places(problems, data)
    demand(not (values and problems), "values in spite of problems")
    json.dumps(values)


def policy(data: bytes) -> None:
    """`policy.yaml`, its rules compiled."""
    from reconciler.repo.policy_file import parse_policy

    values, problems = parse_policy(data, "policy.yaml")
    _places(problems, data)
    json.dumps(values)


# --- small languages ------------------------------------------------------------------------------------------------


def durations(data: bytes) -> None:
    """What is read is written back to the same number."""
    with allowing(BadDuration):
        ms = parse_duration(text_of(data))
        demand(isinstance(ms, int) and ms >= 0, "no number of milliseconds")
        demand(parse_duration(format_duration(ms)) == ms, "written back it is another duration")


def cron(data: bytes) -> None:
    """What is accepted has a next time, or never comes again; and times rise."""
    from reconciler.core.rules import Cron
    from reconciler.core.schedule import next_tick
    from reconciler.core.spec_types import _read_cron

    try:
        text = _read_cron(text_of(data))
    except ValueError as error:
        demand_sound(str(error), may_show=True)
        return
    for zone in ("UTC", "Europe/Paris", "America/St_Johns"):
        rules: Any = SimpleNamespace(schedule=Cron(text, zone))
        after = NOW_MS
        for _ in range(3):
            tick = next_tick(rules, None, after)
            if tick is None:
                break
            demand(tick > after, "the next time is not later")
            after = tick


def expressions(data: bytes) -> None:
    """An expression of a Stream and a condition of an Audience."""
    from reconciler.core.language import BadExpression, compile_condition, compile_expression

    columns = {"amount": "decimal(10,2)", "quantity": "integer", "at": "timestamp", "name": "text", "ok": "boolean"}
    for compile_ in (compile_expression, compile_condition):
        with allowing(BadExpression):
            demand(compile_(text_of(data), columns).sql, "an expression without SQL")


# --- what is read back ----------------------------------------------------------------------------------------------


def plans(data: bytes) -> None:
    """A saved plan; also with a digest that is its own, so that all of it is looked at."""
    from reconciler.core.planned import plan_digest
    from reconciler.core.saved_plan import read_plan

    contents = [data]
    try:
        body = json.loads(data)
        contents += [json.dumps({**body, "digest": plan_digest(body)}).encode()] if isinstance(body, dict) else []
    except (ValueError, RecursionError):
        pass
    for content in contents:
        with allowing(UsageError, Blocked):
            plan = read_plan(content, "plan.json")
            demand(isinstance(plan.runs, frozenset) and plan.event >= 0 and plan.root is not None, "no plan")


def cursors(data: bytes) -> None:
    """What a run sends, and what a provider is given back as its cursor."""
    from reconciler.core.messages import Order
    from reconciler.providers.http.progress import Progress
    from reconciler.runner.frames import Malformed, parse
    from reconciler.runner.wire import decode_from_run

    order = Order(
        job="a-job", run=1, attempt=1, generation=1, root="/r", path="a.yaml", provider="files", job_type="import-csv",
        config={}, data_dir="/d", writes=("s",),
    )  # fmt: skip
    with allowing(Malformed):
        decode_from_run(data, order)
    with allowing(Malformed):
        cursor = parse(data)
        with allowing(RunError):
            Progress.load(cursor).begin("shape", {"page": 1}).cursor()
        _import_again(cursor)


def _import_again(cursor: Any) -> None:
    """A file import whose cursor this is."""
    from reconciler.data.blocks import Mark
    from reconciler.data.content import is_untouched

    path = _folder() / "a.csv"
    for mark in (cursor, {"at": 3, "line": 1, "digest": "x", **cursor} if isinstance(cursor, dict) else None):
        with allowing(RunError):
            if not is_untouched(path, mark):
                Mark.of(mark)


# --- HTTP -----------------------------------------------------------------------------------------------------------


def answers(data: bytes) -> None:
    """An answer of a vendor's: one line of status and headers as JSON, then the body."""
    from reconciler.core.redact import Redactor
    from reconciler.data.document import pluck, records_block
    from reconciler.providers.http.answers import failure
    from reconciler.providers.http.client import Answer
    from reconciler.providers.http.config import Pagination
    from reconciler.providers.http.pages import first_place, next_place, request_url, without_secrets

    head, _, body = data.partition(b"\n")
    status, headers = _head(head)
    redactor = Redactor({"token": Secret(SECRET)})
    answer = Answer(status, headers, body, "http://127.0.0.1/items")
    demand_sound(str(failure("GET", answer, NOW_MS, redactor)))
    for path in ("", "items", "data.items"):
        with allowing(RunError):
            block = records_block(body, path)
            demand(len(block.rejects) + block.table.num_rows >= 0, "no block")
    reader: Any = SimpleNamespace(pluck=pluck)
    for kind, more in (
        ("link", {}), ("link", {"nextPath": "next"}), ("cursor", {"cursorPath": "meta.next"}), ("page", {}), ("offset", {}),
    ):  # fmt: skip
        paging = Pagination.model_validate({"type": kind, **more})
        config: Any = SimpleNamespace(
            pagination=paging, url="http://127.0.0.1/items", params={}, incremental=None, max_pages=10
        )
        try:
            place = next_place(config, reader, first_place(paging), answer, 1)
        except RunError as error:
            demand_sound(str(error), may_show=True)
            continue
        if place is not None:
            kept = without_secrets(place, redactor)
            request_url(config, kept, None)
            json.dumps(kept)


def _head(line: bytes) -> tuple[int, dict[str, str]]:
    try:
        value = json.loads(line)
        status, headers = int(value["status"]), dict(value.get("headers", {}))
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, AttributeError):
        return 500, {"retry-after": text_of(line[:200]), "link": text_of(line)}
    return status % 600, {str(name).lower(): str(value) for name, value in headers.items()}


def queries(data: bytes) -> None:
    """The query of a bulk body."""
    from reconciler.web.answers import Refused
    from reconciler.web.query import query_of

    text = data.decode("latin-1")
    for query in (text, quote(text, safe="=&%")):
        for format_ in ("csv", "json"):
            try:
                query_of(query, format_)
            except Refused as error:
                demand_sound(str(error.args[0] if error.args else error), may_show=True)


def bodies(data: bytes) -> None:
    """A body of `/collect/json`: what it accepts, the folding reads as good."""
    from reconciler.data.lines import parse_lines
    from reconciler.errors import Fatal
    from reconciler.web.answers import Refused
    from reconciler.web.messages import messages_of

    try:
        count, lines = messages_of(data)
    except Refused as error:
        demand_sound(str(error.args[0] if error.args else error).replace("\n", " "), may_show=True)
        return
    with allowing(Fatal):
        parsed = parse_lines(lines, 1)
        demand(parsed.table.num_rows == count, f"{count} were accepted, {parsed.table.num_rows} can be read")
        demand(not parsed.rejects, "what was accepted is refused later")


# --- files of rows --------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (folder / "a.csv").write_text("a,b\n1,2\n")
    return folder


def _read(data: bytes, make: Any, block_bytes: int) -> tuple[list[dict[str, Any]], list[int]]:
    """All rows and the lines of all bad ones, read in blocks of a size."""
    from reconciler.data.blocks import Reader

    path = _folder() / "input"
    path.write_bytes(data)
    reader = Reader(block_bytes=block_bytes, compression="none", encoding="utf-8", now_ms=NOW_MS)
    rows: list[dict[str, Any]] = []
    bad: list[int] = []
    for block in reader.blocks(path, None, make):
        rows += block.table.to_pylist()
        bad += [reject.line for reject in block.rejects]
        for reject in block.rejects:
            demand(reject.reason and reject.line >= 1, "a reject without a place")
            json.dumps([reject.reason, reject.text])
    return rows, bad


def csv_rows(data: bytes) -> None:
    """A CSV file: the same in one block and in many, and where nothing is bad, what Python's reader finds."""
    from reconciler.data.delimited import Delimited
    from reconciler.data.records import Dialect
    from reconciler.errors import Fatal, Retriable

    dialect = Dialect(",", '"')
    with allowing(Fatal, Retriable):
        rows, bad = _read(data, lambda: Delimited(dialect, True, None), 1 << 20)
        demand((rows, bad) == _read(data, lambda: Delimited(dialect, True, None), 64), "it depends on the blocks")
        if not bad and b"\0" not in data:
            _as_python_reads(data, rows)


def _as_python_reads(data: bytes, rows: list[dict[str, Any]]) -> None:
    try:
        found = [one for one in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")) if one]
    except (UnicodeDecodeError, csv.Error):
        return
    demand(len(rows) == max(0, len(found) - 1), f"{len(rows)} rows, and Python reads {max(0, len(found) - 1)}")
    if all(len(one) == len(found[0]) for one in found[1:]):
        demand([list(row.values()) for row in rows] == found[1:], "a field is not as it came")


def ndjson(data: bytes) -> None:
    """An NDJSON file: the same in one block and in many; every line that is not blank is a row or a reject."""
    from reconciler.data.lines import JsonLines, parse_lines
    from reconciler.errors import Fatal, Retriable

    with allowing(Fatal, Retriable):
        parsed = parse_lines(data, 1)
        filled = sum(bool(line.strip()) for line in data.split(b"\n"))
        demand(parsed.table.num_rows + len(parsed.rejects) == filled, "a line is lost")
        good = parsed.table.num_rows
        places = parsed.locate(range(good)) if good else []
        for _, text in places:
            demand(isinstance(json.loads(text), dict), "a row that is no object")
        for reject in parsed.rejects:
            demand(reject.reason and reject.line >= 1, "a reject without a place")
            _is_bad(reject.text, reject.reason)
        _, bad = _read(data, JsonLines, 64)
        demand(bad == [reject.line for reject in parsed.rejects], "it depends on the blocks")


def _is_bad(text: str, reason: str) -> None:
    """A line that Python takes for a whole object of no more than a few keys is none that is refused."""
    if "twice" in reason or "deeper" in reason or "surrogate" in reason or "\\x" in text:
        return
    try:
        value = json.loads(text, parse_constant=lambda name: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return
    demand(not isinstance(value, dict), f"a good line is refused: {reason}")


def times(data: bytes) -> None:
    """Timestamps: a text that all columns of one write alike is read the same beside others; one text a line."""
    import pyarrow as pa

    from reconciler.core.provider import TimestampRule
    from reconciler.data.timestamps import read_times
    from reconciler.errors import Fatal

    texts = [line.decode("utf-8", "replace") for line in data.split(b"\n")[:8]]
    pattern = texts[-1] if "%" in texts[-1] and "\0" not in texts[-1] else "%d/%m/%Y %H:%M"
    for form in ("iso8601", "epoch_s", "epoch_ms", pattern):
        rule = TimestampRule(field="at", format=form)
        with allowing(Fatal):
            together, bad = read_times(pa.table({"at": pa.array([*texts, "no time"])}), rule)
            for index, text in enumerate(texts):
                alone, wrong = read_times(pa.table({"at": pa.array([text])}), rule)
                same = alone[0] == together[index] and wrong[0] == bad[index]
                demand(same, f"{text!r} as {form} is {alone[0]} alone, and {together[index]} beside others")


TARGETS: Final[Mapping[str, Target]] = {
    "answers": answers,
    "bodies": bodies,
    "cron": cron,
    "csv": csv_rows,
    "cursors": cursors,
    "durations": durations,
    "expressions": expressions,
    "ndjson": ndjson,
    "operator": operator,
    "plans": plans,
    "policy": policy,
    "queries": queries,
    "specs": specs,
    "times": times,
}
