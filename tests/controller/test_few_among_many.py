"""What an edit, and a turn in which nothing happens, ask of the record costs what has changed: no statement reads all the
jobs, documents, runs or events that there are."""

from __future__ import annotations

import re

from reconciler.controller.loop import Controller
from reconciler.record.store import Record
from tests.controller.conftest import Shop

#: Tables that grow with the number of jobs, or with time.
LARGE = ("document", "resource", "job", "run", "unit", "event", "audit", "metric")
#: Partial indexes, of few rows among many.
FEW = re.compile(
    r"USING (COVERING )?INDEX (document_held|document_renamed|event_unlogged|run_never_overlaps|"
    r"resource_(dirty|orphaned|troubled|backfill))"
)
#: All of one kind: there may be as many jobs as rows, and a few of everything else.
ALL_JOBS = re.compile(r"\(kind=\?\)$")
OTHERS = re.compile(r"kind (= 'Authorization'|= 'Stream'|= 'Audience'|IN \('Stream', 'Audience'\))")


def whole_reads(record: Record, statements: set[str]) -> dict[str, list[str]]:
    """The statements that read a large table from end to end, with the steps that do."""
    sql = record._connection
    found = {}
    for statement in sorted(statements):
        if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b", statement) is None:
            continue
        steps = [row[3] for row in sql.execute(f"EXPLAIN QUERY PLAN {statement}")]
        tables = {
            match[1]: match[0]
            for match in re.findall(r"(?:FROM|JOIN|UPDATE)\s+(?:main\.)?(\w+)(?:\s+(\w+))?", statement)
        }
        wrong = [step for step in steps if _reads_all(step, tables, statement)]
        if wrong:
            found[statement] = wrong
    return found


def _reads_all(step: str, tables: dict[str, str], statement: str) -> bool:
    match = re.match(r"(SCAN|SEARCH) (\w+)", step)
    if match is None or tables.get(match[2], match[2]) not in LARGE or FEW.search(step):
        return False
    return match[1] == "SCAN" or (ALL_JOBS.search(step) is not None and OTHERS.search(statement) is None)


def test_an_edit_and_the_turns_after_it_read_no_large_table_from_end_to_end(shop: Shop) -> None:
    for number in range(4):
        shop.job(f"job-{number}", suspend="true")
    statements: set[str] = set()

    def watched_pass(controller: Controller) -> dict[str, list[str]]:
        controller.run_pass()  # compares everything once
        shop.job("job-1", suspend="true", timeout="3h")
        record = controller._record
        record._connection.set_trace_callback(statements.add)
        controller.run_pass()
        record._connection.set_trace_callback(None)
        return whole_reads(record, statements)

    assert shop.world.act(watched_pass) == {}
    assert any("SET dirty = 1" in one for one in statements), "the statements are seen"
