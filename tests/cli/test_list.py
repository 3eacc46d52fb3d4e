"""`reconcile list`: what it shows, in which shape, and what it leaves out."""

from __future__ import annotations

import json

import pytest
import ryaml

from reconciler.core.state import JobState, Outcome, Reason, Status
from reconciler.errors import Problem
from tests.cli.conftest import CREATED_MS, SPEC, World

WEBHOOK = {
    "provider": "http",
    "jobType": "export-webhook",
    "authorization": "receiver",
    "schedule": {"every": 60_000},
    "config": {"stream": "orders", "url": "https://example.com/hook"},
}
NEXT_MS = CREATED_MS + 4_000_000_000_000 - CREATED_MS % 1000


@pytest.fixture
def three(world: World) -> World:
    world.job("import-orders", labels={"team": "growth"}, title="Orders", state=JobState(tick_at_ms=NEXT_MS))
    world.job(
        "orders-to-receiver",
        spec=WEBHOOK,
        labels={"team": "sales", "tier": "1"},
        state=JobState(status=Status.PAUSED, reason=None, held_status=Status.SLEEPING, held_reason=Reason.SCHEDULED),
    )
    world.job("seed", state=JobState(status=Status.COMPLETED, reason=None, last_outcome=Outcome.SUCCEEDED))
    return world


def test_the_table_shows_six_columns_sorted_by_name_within_80(three: World) -> None:
    result = three.run("list")
    assert result.out == (
        "Name                Authorization  Provider  Type    Status     Created\n"
        "import-orders       -              files     import  Sleeping   2026-11-20\n"
        "orders-to-receiver  receiver       http      export  Paused     2026-11-20\n"
        "seed                -              files     import  Completed  2026-11-20\n"
    )
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80


def test_wide_adds_job_type_next_run_reason_generation_and_path(three: World) -> None:
    header, first, *_ = three.run("list", "-o", "wide").out.splitlines()
    assert header.split("  ")[0] == "Name"
    for word in ("Job type", "Next run", "Reason", "Generation", "Path"):
        assert word in header
    for word in ("import-csv", "Scheduled", "2026-11-20 09:30Z", "jobs.d/orders.yaml"):
        assert word in first


def test_json_is_an_array_with_the_documented_fields(three: World) -> None:
    rows = json.loads(three.run("list", "-o", "json").out)
    assert [row["name"] for row in rows] == ["import-orders", "orders-to-receiver", "seed"]
    first = rows[0]
    assert first["nextRunAt"] is not None
    assert {key: value for key, value in first.items() if key not in ("nextRunAt", "updatedAt", "updatedBy")} == {
        "name": "import-orders",
        "title": "Orders",
        "authorization": None,
        "provider": "files",
        "jobType": "import-csv",
        "type": "import",
        "status": "Sleeping",
        "reason": "Scheduled",
        "createdAt": "2026-11-20T09:30:00.000Z",
        "createdBy": "Ada",
        "generation": 1,
        "lastOutcome": None,
        "rows": 0,
        "labels": {"team": "growth"},
        "path": "jobs.d/orders.yaml",
        "held": None,
    }
    assert rows[1]["reason"] is None
    assert rows[1]["authorization"] == "receiver"


def test_yaml_says_the_same_as_json(three: World) -> None:
    assert ryaml.loads(three.run("list", "-o", "yaml").out) == json.loads(three.run("list", "-o", "json").out)


def test_name_prints_one_name_a_line(three: World) -> None:
    assert three.run("list", "-o", "name").out == "import-orders\norders-to-receiver\nseed\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--status", "paused"], ["orders-to-receiver"]),
        (["--status", "Paused,completed"], ["orders-to-receiver", "seed"]),
        (["--status", "Paused", "--status", "Sleeping"], ["import-orders", "orders-to-receiver"]),
        (["-l", "team=growth"], ["import-orders"]),
        (["-l", "team==growth"], ["import-orders"]),
        (["-l", "team!=growth"], ["orders-to-receiver", "seed"]),
        (["-l", "team,tier=1"], ["orders-to-receiver"]),
        (["-l", "!team"], ["seed"]),
        (["-l", "team", "--status", "sleeping"], ["import-orders"]),
    ],
)
def test_filters_by_status_and_labels_all_hold_together(three: World, arguments: list[str], names: list[str]) -> None:
    assert three.run("list", "-o", "name", *arguments).out.split() == names


def test_a_filter_that_cannot_be_meant_is_a_usage_error(three: World) -> None:
    status = three.run("list", "--status", "asleep")
    assert (status.code, status.err) == (
        2,
        "Error: --status: expected Running, Sleeping, Failed, Paused, Completed, found 'asleep'\n",
    )
    label = three.run("list", "-l", "team in (a)")
    assert (label.code, label.err) == (
        2,
        "Error: -l: expected key=value, key!=value, key or !key, found 'team in (a)'\n",
    )


def test_an_empty_record_says_what_to_do_and_is_an_empty_array_in_json(world: World) -> None:
    result = world.run("list")
    assert (result.code, result.out) == (0, "")
    assert result.err == (
        "No jobs are recorded for jobs.d yet: run `reconcile`, or `reconcile plan` to see what it would do.\n"
    )
    assert json.loads(world.run("list", "-o", "json").out) == []
    assert world.run("list", "-o", "yaml").out == "[]\n"


def test_no_match_is_said_and_is_no_error(three: World) -> None:
    result = three.run("list", "-l", "team=none")
    assert (result.code, result.out, result.err) == (0, "", "None of the 3 jobs is like that.\n")


def test_invalid_specs_are_mentioned_and_are_no_error(three: World) -> None:
    three.problem(Problem("bad.yaml", 1, 1, "spec", "missing", "Job", "bad"))
    result = three.run("list")
    assert result.code == 0
    assert result.err == "1 file has an invalid spec: run `reconcile validate`\n"


def test_control_characters_in_what_others_wrote_are_shown_as_escapes(world: World) -> None:
    world.job("evil", spec={**SPEC, "authorization": "a\x1b[2Jb"}, title="t\x9b31m")
    assert "a\\x1b[2Jb" in world.run("list").out
    for shape in ("json", "yaml", "wide"):
        out = world.run("list", "-o", shape).out
        assert "\x1b" not in out
        assert "\x9b" not in out
