"""`reconcile show`: status, facts, metrics, configuration, events, and the output of a run that ended badly."""

from __future__ import annotations

import json

import pytest
import ryaml

from reconciler.core.provider import Unit
from reconciler.core.state import JobState, Outcome, Reason
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, SPEC, World, job_text

SECOND = 1_000


@pytest.fixture
def failing(world: World) -> World:
    state = JobState(
        reason=Reason.BACKOFF, since_ms=CREATED_MS, run=1, attempt=1, errors=1, errors_since_ms=CREATED_MS,
        last_error="orders/b.csv: no column ordered_at", last_outcome=Outcome.ERRORED, not_before_ms=CREATED_MS,
        owed="schedule",
    )  # fmt: skip
    job_id = world.job("import-orders", title="Import orders\x1b[2J", state=state, labels={"team": "growth"})
    with Record.writing(world.state) as record, record.transaction():
        run_id = record.runs.begin(job_id, 1, CREATED_MS)
        run = record.runs.run(run_id)
        assert run is not None
        record.runs.commit_unit(run, 1, Unit(cursor={"n": 1}, rows=1000, omitted=2), CREATED_MS)
        record.runs.append_output(run_id, "reading a.csv\nreading b.csv\x1b[31m\n")
        record.runs.note_exit(run_id, 1, exit_code=1, signal=None, peak_kib=102_400, cpu_s=1.25)
        record.runs.finish(run_id, Outcome.ERRORED, "no column", CREATED_MS + 2 * SECOND)
    world.event("import-orders", "Error", run=1, message="orders/b.csv: no column ordered_at")
    return world


def test_text_reads_well_at_80_columns(failing: World) -> None:
    result = failing.run("show", "import-orders")
    # The bars of the last days have a test of their own: which days those are, the machine's clock says.
    lines = [line for line in result.out.splitlines() if not line.startswith("  30 days")]
    head, tail = lines[: lines.index("Facts")], lines[lines.index("Metrics") :]
    assert head == ["import-orders  Sleeping (Backoff)", "Import orders\\x1b[2J", ""]
    assert tail == [
        "Metrics",
        "  all runs        1,000 rows, 0 added, 0 removed, 2 omitted",
        "  last run        1,000 rows in 1 unit, 2.0 s, 500 rows/s, 1.2 s of CPU, 100 MiB",
        "                  at most",
        "",
        "Configuration",
        "  {",
        '    "path": "orders/*.csv",',
        '    "stream": "orders"',
        "  }",
        "",
        "Recent events",
        "  2026-11-20T09:30:00.000Z  Error        run=1  orders/b.csv: no column ordered_at",
        "",
        "Output of the last run",
        "  reading a.csv",
        "  reading b.csv\\x1b[31m",
    ]
    assert max(map(len, lines)) <= 82
    assert (result.code, result.err) == (0, "")


def test_facts_name_who_made_it_what_went_wrong_and_where_the_spec_is(failing: World) -> None:
    out = failing.run("show", "import-orders").out
    for line in (
        "  job type        files import-csv, import",
        "  labels          team=growth",
        "  spec            jobs.d/orders.yaml",
        "  created         2026-11-20T09:30:00Z by Ada",
        "  revision        main@sha1:0a1b2c3d",
        "  last run        1: errored, started 2026-11-20T09:30:00Z, 1,000 rows, 2",
        "                  omitted",
        "  errors          1 in a row since 2026-11-20T09:30:00Z",
        "  last error      orders/b.csv: no column ordered_at",
    ):
        assert line in out.splitlines()


def test_json_holds_status_metrics_configuration_events_and_output(failing: World) -> None:
    body = json.loads(failing.run("show", "import-orders", "-o", "json").out)
    assert body["status"]["status"] == "Sleeping"
    assert body["status"]["lastRun"]["outcome"] == "errored"
    assert body["configuration"] == SPEC["config"]
    assert body["metrics"]["lastRun"]["peakMemoryKiB"] == 102_400
    assert body["metrics"]["lastRun"]["exitCode"] == 1
    assert [event["event"] for event in body["events"]] == ["Error"]
    assert body["output"] == ["reading a.csv", "reading b.csv\x1b[31m"]


def test_yaml_says_the_same_as_json(failing: World) -> None:
    as_yaml = ryaml.loads(failing.run("show", "import-orders", "-o", "yaml").out)
    as_json = json.loads(failing.run("show", "import-orders", "-o", "json").out)
    for body in (as_yaml, as_json):
        body["status"].pop("message")
        body["status"].pop("conditions")
        body["status"].pop("nextRunAt")
    assert as_yaml == as_json


def test_output_is_shown_only_where_the_last_run_ended_badly(world: World) -> None:
    job_id = world.job("a")
    with Record.writing(world.state) as record, record.transaction():
        run_id = record.runs.begin(job_id, 1, CREATED_MS)
        record.runs.append_output(run_id, "fine\n")
        record.runs.finish(run_id, Outcome.SUCCEEDED, "", CREATED_MS)
    assert "Output of the last run" not in world.run("show", "a").out


def test_an_unknown_name_is_a_usage_error(failing: World) -> None:
    result = failing.run("show", "importorders")
    assert (result.code, result.err) == (2, "Error: there is no job 'importorders'; did you mean 'import-orders'?\n")


def test_a_job_that_is_declared_but_could_not_be_made_leads_to_why(world: World) -> None:
    world.write("orders.yaml", job_text("import-orders"))
    assert world.run().code == 1
    result = world.run("show", "import-orders")
    assert (result.code, result.err) == (
        2,
        "Error: the job 'import-orders' is declared but not there yet: `reconcile why import-orders` says why\n",
    )
    assert "Its spec is invalid:" in world.run("why", "import-orders").out


def test_list_and_show_load_no_catalogue(failing: World, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = failing.folder / "site" / "broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[reconciler.providers]\nbroken = no_such_module_at_all\n")
    monkeypatch.syspath_prepend(str(failing.folder / "site"))
    assert "'broken'" in failing.run("providers").err
    for command in (("list",), ("show", "import-orders")):
        result = failing.run(*command)
        assert "import-orders" in result.out
        assert (result.code, result.err) == (0, "")


def test_messages_without_a_time_of_their_own_stand_with_the_last_run(world: World) -> None:
    job_id = world.job("import-orders")
    with Record.writing(world.state) as record, record.transaction():
        run_id = record.runs.begin(job_id, 1, CREATED_MS)
        run = record.runs.run(run_id)
        assert run is not None
        record.runs.commit_unit(run, 1, Unit(cursor=None, rows=1000), CREATED_MS, untimed=12)
    assert "last run        1,000 rows in 1 unit, 12 without a time" in world.run("show", "import-orders").out
    assert json.loads(world.run("show", "import-orders", "-o", "json").out)["metrics"]["lastRun"]["untimed"] == 12
