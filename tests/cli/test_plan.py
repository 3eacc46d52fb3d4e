"""`reconcile plan`: what it says for a person and for a program, its exit codes, and that it changes nothing."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import STREAM, World, job_text


@pytest.fixture
def applied(world: World) -> World:
    """A stream and two jobs that a pass has made true."""
    world.write("orders.yaml", STREAM + job_text("import-orders") + job_text("nightly"))
    assert world.run().code == 0
    return world


def test_a_first_plan_creates_everything_and_writes_nothing(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders", schedule="{once: true}"))
    result = world.run("plan")
    assert result.out == (
        "  + create Stream orders  declared in orders.yaml\n"
        "  + create Job import-orders  declared in orders.yaml\n"
        "\n"
        "Runs that are due:\n"
        "    import-orders  first run\n"
        "\n"
        "Plan: 2 to create, 0 to update, 0 to delete.\n"
    )
    assert (result.code, result.err) == (0, "")
    assert not world.state.exists()


def test_changes_are_shown_before_and_after_and_a_reset_cursor_stands_out(applied: World) -> None:
    text = STREAM + job_text("import-orders", schedule='{cron: "0 4 1 1 *"}', config=', delimiter: ";"')
    applied.write("orders.yaml", text)
    assert applied.run("plan").out == (
        "  ~ update Job import-orders  spec.config and spec.schedule changed\n"
        '      spec.config.delimiter: (none) → ";"\n'
        '      spec.schedule.cron: "0 3 1 1 *" → "0 4 1 1 *"\n'
        "      ! resets the cursor: the rows of earlier runs, if any, may be landed a\n"
        "      second time on stream orders\n"
        "  - delete Job nightly  no file declares it\n"
        "\n"
        "Plan: 0 to create, 1 to update, 1 to delete.\n"
    )


def test_a_change_that_is_too_long_for_a_line_takes_three(applied: World) -> None:
    path = "x" * 60
    applied.write("orders.yaml", (STREAM + job_text("import-orders") + job_text("nightly")).replace("data/*.csv", path))
    lines = applied.run("plan").out.splitlines()
    assert lines[1:4] == ["      spec.config.path:", '        "data/*.csv"', f'        → "{path}"']


def test_nothing_to_do_says_so(applied: World) -> None:
    result = applied.run("plan")
    assert (result.code, result.out) == (0, "No changes. The record is what the specs declare.\n")


def test_dry_run_is_the_same_as_plan_with_its_options(applied: World) -> None:
    applied.write("more.yaml", job_text("third"))
    assert applied.run("--dry-run").out == applied.run("plan").out
    assert applied.run("--dry-run", "-o", "json").out == applied.run("plan", "-o", "json").out
    assert applied.run("--dry-run", "--detailed-exitcode").code == 2


def test_the_detailed_exit_code_tells_changes_from_none_and_from_errors(applied: World) -> None:
    assert applied.run("plan", "--detailed-exitcode").code == 0
    applied.write("more.yaml", job_text("third"))
    assert applied.run("plan").code == 0
    assert applied.run("plan", "--detailed-exitcode").code == 2
    applied.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    assert applied.run("plan").code == 1
    assert applied.run("plan", "--detailed-exitcode").code == 1


def test_problems_stand_on_standard_error_with_their_places(applied: World) -> None:
    applied.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    result = applied.run("plan")
    assert result.out == "No changes, but some specs are invalid.\n"
    assert result.err.startswith("jobs.d/bad.yaml:8:")
    assert "did you mean 'every'?" in result.err


def test_json_has_the_documented_fields_and_out_writes_the_same(applied: World) -> None:
    applied.write("more.yaml", job_text("third", schedule="{once: true}"))
    result = applied.run("plan", "-o", "json", "--out", "plan.json")
    body = json.loads(result.out)
    assert body["formatVersion"] == 1
    assert body["summary"]["create"] == 1
    assert body["actions"][0]["verb"] == "create"
    assert body["runs"] == [{"name": "third", "reason": "first run"}]
    assert json.loads((applied.folder / "plan.json").read_text()) == body


def test_paths_in_json_begin_with_the_root_as_it_was_given(applied: World) -> None:
    applied.write("shop/more.yaml", job_text("third"))
    applied.write("bad.yaml", job_text("bad", schedule="{evry: 1h}"))
    for root in ("jobs.d", str(applied.root), "../" + applied.folder.name + "/jobs.d"):
        body = json.loads(applied.run("plan", "-o", "json", "--root", root).out)
        assert body["root"] == root
        assert [action["path"] for action in body["actions"]] == [f"{root}/shop/more.yaml"]
        assert {error["path"] for error in body["errors"]} == {f"{root}/bad.yaml"}


def test_an_out_that_cannot_be_written_is_a_usage_error(applied: World) -> None:
    result = applied.run("plan", "--out", "nowhere/plan.json")
    assert (result.code, result.err) == (
        2,
        "Error: --out: nowhere/plan.json cannot be written: No such file or directory\n",
    )


def test_long_lists_are_cut_unless_v_is_given(world: World) -> None:
    world.write("orders.yaml", STREAM + "".join(job_text(f"job-{n:02}", schedule="{once: true}") for n in range(25)))
    assert "    … and 5 more (-v shows all)\n" in world.run("plan").out
    assert "    job-24  first run\n" in world.run("plan", "-v").out
