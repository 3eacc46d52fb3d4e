"""`policy.yaml` beside the root, as `validate`, a pass and the daemon hold to it."""

from __future__ import annotations

import json

import pytest

from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text

OWNED = """\
rules:
  - name: owned
    match: {kind: Job}
    cel: has(metadata.labels.team)
    message: every job has a team
"""
VIOLATION = "jobs.d/orders.yaml:8:18: error: metadata.name: policy owned: every job has a team\n"


@pytest.fixture
def applied(world: World) -> World:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    assert world.run().code == 0
    return world


def policy(world: World, text: str) -> None:
    (world.folder / "policy.yaml").write_text(text, encoding="utf-8")


def spec_of(world: World, name: str) -> object:
    with Record.reading(world.state) as record:
        found = record.resources.resource("Job", name)
    return None if found is None else found.spec["schedule"]


def test_validate_and_a_pass_say_the_same(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    policy(world, OWNED)
    done = world.run("validate")
    assert (done.code, done.out) == (1, f"{VIOLATION}2 files checked; 1 invalid, 1 problem.\n")
    done = world.run()
    assert (done.code, done.err) == (1, VIOLATION)
    assert spec_of(world, "import-orders") is None, "what breaks a policy is not created"


def test_a_file_alone_is_held_to_the_policy_too(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    policy(world, OWNED)
    assert VIOLATION in world.run("validate", "jobs.d/orders.yaml").out


def test_a_job_that_comes_to_break_a_policy_stays_as_it_was(applied: World) -> None:
    before = spec_of(applied, "import-orders")
    policy(applied, OWNED)
    applied.write("orders.yaml", STREAM + job_text("import-orders", schedule="{every: 5m}"))
    assert applied.run().code == 1
    assert spec_of(applied, "import-orders") == before
    policy(applied, "rules: []\n")
    assert applied.run().code == 0
    assert spec_of(applied, "import-orders") == {"every": 300_000}


def test_a_changed_policy_alone_is_noticed_and_so_is_one_that_is_gone(applied: World) -> None:
    policy(applied, OWNED)
    assert applied.run("plan").err == VIOLATION
    assert applied.run().err == VIOLATION
    assert applied.run().err == VIOLATION, "and is not forgotten"
    (applied.folder / "policy.yaml").unlink()
    done = applied.run("plan")
    assert (done.code, done.err) == (0, "")
    assert applied.run().code == 0


def test_a_policy_that_is_wrong_holds_everything(applied: World) -> None:
    policy(applied, "rules:\n  - {name: a, cel: 'nosuch == 1'}\n")
    applied.write("orders.yaml", STREAM)
    done = applied.run("plan")
    message = "policy.yaml:2:20: error: rules[0].cel: not a valid CEL expression: undeclared reference to 'nosuch'\n"
    assert (done.code, done.err) == (1, message)
    assert "delete" not in done.out.replace("nothing is deleted now", "")
    assert applied.run().err == message
    assert spec_of(applied, "import-orders") is not None
    applied.write("orders.yaml", STREAM + job_text("import-orders", schedule="{every: 5m}"))
    assert "Job import-orders  update: policy.yaml is invalid, so nothing is applied" in applied.run("plan").out
    assert applied.run("validate").out.startswith(message)


def test_in_a_window_nothing_is_applied_and_the_plan_says_until_when(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    policy(world, "windows:\n  - {name: freeze, before: 2999-01-01T00:00:00Z}\n")
    done = world.run("plan")
    assert (
        "    Job import-orders  create: nothing is applied until 2999-01-01T00:00:00.000Z (window freeze)\n" in done.out
    )
    assert done.out.endswith("No changes, but 2 wait.\n")
    assert done.code == 0
    assert world.run().code == 0
    assert spec_of(world, "import-orders") is None
    policy(world, "windows:\n  - {name: freeze, before: 2020-01-01T00:00:00Z}\n")
    assert world.run().code == 0
    assert spec_of(world, "import-orders") is not None


def test_a_rule_over_plans_holds_an_action_and_names_itself(applied: World) -> None:
    policy(
        applied,
        "rules:\n  - {name: keep, on: plan, match: {kind: Job}, cel: verb != 'delete', message: nobody deletes jobs}\n",
    )
    applied.write("orders.yaml", STREAM + job_text("another"))
    done = applied.run("plan", "-o", "json")
    plan = json.loads(done.out)
    assert [(one["verb"], one["name"]) for one in plan["actions"]] == [("create", "another")]
    assert {"kind": "Job", "name": "import-orders", "reason": "policy keep: delete: nobody deletes jobs"} in plan[
        "waiting"
    ]
    assert [one["message"] for one in plan["errors"]] == ["policy keep: delete: nobody deletes jobs"]
    done = applied.run()
    assert (done.code, done.err) == (1, "jobs.d/orders.yaml:1:1: error: policy keep: delete: nobody deletes jobs\n")
    assert spec_of(applied, "import-orders") is not None
    assert spec_of(applied, "another") is not None
    notes = json.loads(applied.run("why", "import-orders", "-o", "json").out)["notes"]
    assert notes[1:] == ["policy keep: delete: nobody deletes jobs."], "its spec is not invalid, and it is said once"


def test_a_plan_that_a_rule_refuses_is_not_summed_up_as_an_invalid_spec(applied: World) -> None:
    policy(applied, "rules:\n  - {name: keep, on: plan, cel: verb != 'create'}\n")
    applied.write("more.yaml", job_text("another"))
    assert applied.run("plan").out.endswith("\nNo changes, but the policy refuses 1 action.\n")
    comment = applied.run("plan", "-o", "markdown").out
    assert "### No changes, but the policy refuses 1 action.\n" in comment
    assert (
        "#### Refused by the policy\n\n- `jobs.d/more.yaml:2:1`: `policy keep: create: expected verb != 'create'`"
        in comment
    )
    applied.write("more.yaml", job_text("another", schedule="{evry: 1h}"))
    assert applied.run("plan").out == "No changes, but some specs are invalid.\n"
    policy(applied, "rules: [\n")
    assert applied.run("plan").out.endswith("No changes, but the policy is invalid.\n")
    comment = applied.run("plan", "-o", "markdown").out
    assert "- `policy.yaml:" in comment, "a place is where the file is"


def test_who_needs_what_a_rule_holds_back_waits_too(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    policy(world, "rules:\n  - {name: streams, on: plan, cel: kind != 'Stream'}\n")
    plan = json.loads(world.run("plan", "-o", "json").out)
    assert plan["actions"] == []
    assert [(one["name"], one["reason"]) for one in plan["waiting"]] == [
        ("orders", "policy streams: create: expected kind != 'Stream'"),
        ("import-orders", "needs Stream orders, which the policy holds back"),
    ]


def test_a_rule_over_plans_knows_who_and_what(applied: World) -> None:
    policy(
        applied,
        'rules:\n  - {name: r, on: plan, cel: \'author == "" || changes == ["x"] || resetsCursor || spec.provider == "x"\'}\n',
    )
    applied.write("orders.yaml", STREAM + job_text("import-orders", schedule="{every: 5m}"))
    plan = json.loads(applied.run("plan", "-o", "json").out)
    assert [one["reason"] for one in plan["waiting"]] == [
        'policy r: update: expected author == "" || changes == ["x"] || resetsCursor || spec.pr…'
    ]


def test_a_deleted_job_that_is_declared_again_within_a_window_waits_for_that_alone(applied: World) -> None:
    applied.write("orders.yaml", STREAM + job_text("import-orders") + job_text("gone"))
    assert applied.run().code == 0
    applied.write("orders.yaml", STREAM + job_text("import-orders"))
    assert applied.run().code == 0
    policy(applied, "windows:\n  - {name: freeze, before: 2999-01-01T00:00:00Z}\n")
    applied.write("orders.yaml", STREAM + job_text("import-orders") + job_text("gone"))
    for undelete in (False, True):
        if undelete:
            assert applied.run("undelete", "gone").code == 0
        answer = json.loads(applied.run("why", "gone", "-o", "json").out)
        assert answer["code"] == "HeldBack", answer
        assert "declares it, and that is held back: create: nothing is applied until 2999" in answer["message"]
        assert answer["nextAt"] == "2999-01-01T00:00:00.000Z"
