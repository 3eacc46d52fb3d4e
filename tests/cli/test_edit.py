"""`pause`, `resume` and `rerun`: the spec is edited in place, and it is said where, and what happens next."""

from __future__ import annotations

import re
import subprocess

import pytest

from reconciler.core.state import JobState, Status
from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text

COMMENTED = (STREAM + job_text("import-orders", extra="  suspend: false   # not now\n") + job_text("nightly")).replace(
    "kind: Job", "kind: Job  # a job", 1
)


@pytest.fixture
def declared(world: World) -> World:
    world.write("orders.yaml", COMMENTED)
    return world


def text_of(world: World) -> str:
    return (world.root / "orders.yaml").read_text()


def test_pause_sets_suspend_and_keeps_every_other_character(declared: World) -> None:
    result = declared.run("pause", "import-orders")
    assert result.out == (
        "jobs.d/orders.yaml:13: suspend: true   # not now\nimport-orders: it is paused at the next `reconcile`\n"
    )
    assert (result.code, result.err) == (0, "")
    assert text_of(declared) == COMMENTED.replace("suspend: false", "suspend: true")


def test_several_names_are_edited_in_one_go_and_resume_takes_them_back(declared: World) -> None:
    declared.run("pause", "import-orders", "nightly")
    assert text_of(declared).count("suspend: true") == 2
    declared.run("resume", "nightly", "import-orders")
    assert text_of(declared).count("suspend: false") == 2


def test_what_is_so_already_is_not_edited(declared: World) -> None:
    declared.run("pause", "nightly")
    before = text_of(declared)
    assert declared.run("pause", "nightly").out == "nightly is paused already: nothing to edit\n"
    assert (
        declared.run("resume", "import-orders").out == "import-orders is neither paused nor failed: nothing to edit\n"
    )
    assert text_of(declared) == before


def test_rerun_sets_the_present_time_and_a_new_one_each_time(declared: World) -> None:
    first = declared.run("rerun", "import-orders").out
    match = re.fullmatch(
        r'jobs\.d/orders\.yaml:13: rerun: "(20\d\d-\d\d-\d\dT[\d:.]+Z)"\n'
        r"import-orders: it runs once more at the next `reconcile`\n",
        first,
    )
    assert match
    second = declared.run("rerun", "import-orders").out
    assert match[1] not in second
    assert text_of(declared).count("rerun:") == 1


def test_resume_of_a_failed_job_asks_for_a_run(declared: World) -> None:
    assert declared.run().code == 0
    with Record.writing(declared.state) as record:
        job = record.jobs.job("nightly")
        assert job is not None
        record.jobs.save_state(job.id, JobState(status=Status.FAILED, reason=None), wake_at_ms=None)
    result = declared.run("resume", "nightly")
    assert "it runs once more at the next `reconcile`" in result.out
    assert text_of(declared).count("rerun:") == 1


def test_in_a_git_work_tree_the_next_step_is_a_commit(declared: World) -> None:
    subprocess.run(["git", "init", "-q"], cwd=declared.folder, check=True)
    assert declared.run("pause", "nightly").out.endswith(
        "nightly: it is paused at the next `reconcile`; commit the change to keep it\n"
    )


def test_a_controller_at_work_is_named(declared: World) -> None:
    with Record.writing(declared.state):
        assert "as soon as the controller at work (pid " in declared.run("pause", "nightly").out


def test_one_unknown_name_edits_nothing_and_names_the_closest(declared: World) -> None:
    result = declared.run("pause", "nightly", "import-order")
    assert (result.code, result.err) == (
        2,
        "Error: no spec below jobs.d declares a job 'import-order'; did you mean 'import-orders'?\n",
    )
    assert text_of(declared) == COMMENTED


def test_an_invalid_spec_is_not_edited(declared: World) -> None:
    broken = COMMENTED.replace("suspend: false", "suspend: maybe")
    declared.write("orders.yaml", broken)
    result = declared.run("pause", "import-orders")
    assert result.code == 1
    assert result.err == "jobs.d/orders.yaml:13:12: error: spec.suspend: expected true or false, found 'maybe'\n"
    assert text_of(declared) == broken


def test_a_file_that_cannot_be_parsed_is_named_where_the_job_may_be_in_it(declared: World) -> None:
    declared.write("broken.yaml", "a: [")
    assert declared.run("pause", "hidden").err == (
        "Error: no spec below jobs.d declares a job 'hidden'; it may be in jobs.d/broken.yaml, which is invalid\n"
    )


def test_a_job_that_is_paused_says_when_its_rerun_comes(declared: World) -> None:
    declared.run("pause", "nightly")
    assert "it runs once more, once it is resumed," in declared.run("rerun", "nightly").out
