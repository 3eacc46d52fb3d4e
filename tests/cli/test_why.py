"""`reconcile why`: what is gathered of a job, and how the answer is printed. What it means is proved in core."""

from __future__ import annotations

import json
import os

from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text


def test_a_job_that_waits_for_its_schedule_says_when_and_that_nobody_keeps_time(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    result = world.run("why", "import-orders")
    first, why, *rest = result.out.splitlines()
    assert first == "import-orders: Sleeping (Scheduled)"
    assert why == "Why:   Its schedule's next time has not come."
    assert " ".join(line.strip() for line in rest).startswith("Next:  The first `reconcile` after 20")
    assert max(map(len, result.out.splitlines())) <= 80
    assert (result.code, result.err) == (0, "")


def test_a_controller_at_work_is_the_one_that_starts_it(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    with Record.writing(world.state):
        answer = json.loads(world.run("why", "import-orders", "-o", "json").out)
    assert answer["then"].startswith(f"the controller at work (pid {os.getpid()}) starts it at 20")
    assert (answer["status"], answer["reason"], answer["code"]) == ("Sleeping", "Scheduled", "Scheduled")
    assert answer["at"].endswith("-01-01T03:00:00.000Z")


def test_an_edit_that_no_pass_has_applied_is_a_note(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    world.run("pause", "import-orders")
    assert json.loads(world.run("why", "import-orders", "-o", "json").out)["notes"] == [
        "its spec has changed, and no pass has applied that yet: spec.suspend is true"
    ]


def test_a_paused_job_names_who_paused_it(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    world.run("pause", "import-orders")
    world.run()
    answer = json.loads(world.run("why", "import-orders", "-o", "json").out)
    assert answer["code"] == "Suspended"
    assert " ago) by " in answer["because"]


def test_a_job_that_waits_for_another_names_it(world: World) -> None:
    waiting = job_text("second", schedule="{once: true}", extra="  dependsOn: [first]\n")
    world.write("orders.yaml", STREAM + job_text("first") + waiting)
    world.run()
    answer = json.loads(world.run("why", "second", "-o", "json").out)
    assert answer["code"] == "WaitingForDependency"
    assert answer["because"].startswith("it waits for first, whose latest run has not succeeded, since ")


def test_a_job_that_is_declared_but_not_applied_and_one_that_is_invalid_say_so(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    assert json.loads(world.run("why", "import-orders", "-o", "json").out)["code"] == "NotApplied"
    invalid = world.run("why", "bad", "-o", "json")
    assert invalid.code == 0
    assert json.loads(invalid.out)["because"].startswith("its spec is invalid: jobs.d/bad.yaml:8:")


def test_an_unknown_name_is_exit_code_2_with_the_closest_name(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    result = world.run("why", "import-order")
    assert result.code == 2
    assert result.out == (
        "import-order: not there\n"
        "Why:   No spec declares a job 'import-order', and the record knows none.\n"
        "Next:  Did you mean 'import-orders'?\n"
    )
