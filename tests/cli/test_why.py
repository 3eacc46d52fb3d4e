"""`reconcile why`: what is gathered of a job, and how the answer is printed. What it means is proved in core."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

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
    assert (answer["nextAt"], answer["next"], answer["message"]) == (answer["at"], answer["then"], answer["because"])
    assert (answer["kind"], answer["step"], answer["controller"]) == ("Job", None, os.getpid())
    assert answer["since"].endswith("Z")


def test_an_edit_that_no_pass_has_applied_is_a_note(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    world.run("pause", "import-orders")
    assert json.loads(world.run("why", "import-orders", "-o", "json").out)["notes"][1:] == [
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


def ask(world: World, name: str) -> dict[str, Any]:
    result = world.run("why", name, "-o", "json")
    assert (result.code, result.err) == (0, "")
    answer: dict[str, Any] = json.loads(result.out)
    return answer


def test_a_job_that_waits_says_that_nobody_is_at_work_and_when_somebody_was(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    [note] = ask(world, "import-orders")["notes"]
    assert note.startswith("no reconcile is at work on this record; last seen 20")


def test_a_job_that_was_suspended_says_by_which_commit(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders", extra="  suspend: true\n"))
    git(world.folder, "init", "-q", "-b", "main")
    git(world.folder, "add", "-A")
    git(world.folder, "commit", "-q", "-m", "pause")
    world.run()
    commit = git(world.folder, "rev-parse", "HEAD")
    answer = ask(world, "import-orders")
    assert answer["code"] == "Suspended"
    assert answer["message"].endswith(f" by Ada Lovelace (commit {commit[:12]}).")
    assert answer["step"] == "reconcile resume import-orders"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org")
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_renamed_job_is_found_under_its_new_name(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("orders-all"))
    world.run()
    world.write("orders.yaml", STREAM + job_text("eu").replace("{name: eu}", "{name: eu, renamedFrom: orders-all}"))
    world.run()
    renamed = ask(world, "orders-all")
    assert (renamed["code"], renamed["next"]) == ("Renamed", "`reconcile why eu` says more.")
    assert renamed["message"].startswith("it is called 'eu' since 20")


def test_a_name_in_a_file_that_cannot_be_parsed_says_where_that_is_broken(world: World) -> None:
    world.write("orders.yaml", STREAM)
    world.write("broken.yaml", "metadata: {name: import-orders\n")
    answer = ask(world, "import-orders")
    assert answer["code"] == "Unreadable"
    assert "cannot be: jobs.d/broken.yaml:2:1: error: " in answer["message"]
    assert world.run("why", "orders-elsewhere").code == 2


def test_what_a_window_holds_back_says_until_when(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    window = "windows:\n  - {name: freeze, after: 2020-01-01T00:00:00Z, before: 2099-01-01T00:00:00Z}\n"
    (world.folder / "policy.yaml").write_text(window)
    answer = ask(world, "import-orders")
    assert (answer["code"], answer["nextAt"]) == ("HeldBack", "2099-01-01T00:00:00.000Z")
    assert "nothing is applied until 2099-01-01T00:00:00.000Z (window freeze)" in answer["message"]


def test_a_stream_says_that_it_never_runs_and_who_uses_it(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run()
    answer = ask(world, "orders")
    assert (answer["kind"], answer["code"], answer["status"]) == ("Stream", "NotAJob", None)
    assert answer["message"] == "it is a stream, which never runs by itself; used by import-orders."
    assert world.run("why", "orders").out.startswith("orders: stream\nWhy:   It is a stream, ")


def test_its_commands_find_the_same_folders_as_it_did(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders", extra="  suspend: true\n"))
    options = ("--root", "jobs.d", "--state", "else where")
    assert world.run(*options).code == 0
    answer = json.loads(world.run("why", "import-orders", "-o", "json", *options).out)
    command = "reconcile resume import-orders --root jobs.d --state 'else where'"
    assert (answer["step"], answer["next"]) == (
        command,
        f"`{command}` takes it back to Sleeping (Scheduled).",
    )
    unknown = json.loads(world.run("why", "import-order", "-o", "json", *options).out)
    assert unknown["step"] == "reconcile why import-orders --root jobs.d --state 'else where'"
    (world.root / "orders.yaml").write_text(STREAM)
    assert json.loads(world.run("plan", "-o", "json", *options).out)["prune"]["deletions"]


def test_a_stream_of_the_same_name_does_not_hide_what_became_of_a_job(world: World) -> None:
    stream = STREAM.replace("orders", "copy")
    world.write("stays.yaml", STREAM + job_text("stays"))
    world.write("copy.yaml", stream + job_text("copy", schedule="{evry: 1h}"))
    world.run()
    answer = json.loads(world.run("why", "copy", "-o", "json").out)
    assert (answer["kind"], answer["code"]) == ("Job", "Invalid")
    world.write("copy.yaml", stream + job_text("copy"))
    world.run()
    world.write("copy.yaml", stream)
    world.run()
    answer = json.loads(world.run("why", "copy", "-o", "json").out)
    assert (answer["kind"], answer["code"]) == ("Job", "Deleted")
    assert world.run("why", "copy").out.startswith("copy: not there\nWhy:   No file declares it any more, ")
