"""`reconciler.yaml` beside the root, as the command line takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli.options import Call, call_of
from reconciler.errors import SpecInvalid
from tests.cli.conftest import STREAM, World, job_text


def call(**noted: object) -> Call:
    return call_of({"root": Path("jobs.d"), **noted})


def test_the_file_beside_the_root_is_taken_and_an_option_wins_over_it(world: World) -> None:
    (world.folder / "reconciler.yaml").write_text(
        "slots: 16\nmemory: 128\nstatusDir: out\nallowExec: true\nlisten: 127.0.0.1:0\n"
    )
    settings = call(slots=2).settings()
    assert (settings.slots, settings.memory_mb, settings.backfill_slots, settings.allow_exec) == (2, 128, 1, True)
    assert settings.status_dir == world.folder / "out"
    assert settings.listen == "127.0.0.1:0"


def test_statuses_go_where_the_file_says(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    (world.folder / "reconciler.yaml").write_text("statusDir: statuses\n")
    assert world.run().code == 0
    assert (world.folder / "statuses" / "import-orders.status.yaml").is_file()
    assert not (world.root / "import-orders.status.yaml").exists()


def test_a_file_can_be_named(world: World) -> None:
    (world.folder / "other.yaml").write_text("slots: 3\n")
    assert call(settings=Path("other.yaml")).settings().slots == 3
    done = world.run("plan", "--settings", "nowhere.yaml")
    assert (done.code, done.err) == (2, "Error: there is no file 'nowhere.yaml' (--settings)\n")


def test_an_error_in_it_stops_a_pass_and_is_told_by_validate(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    (world.folder / "reconciler.yaml").write_text("slot: 3\n")
    message = "reconciler.yaml:1:1: error: slot: unknown field; did you mean 'slots'?\n"
    done = world.run()
    assert (done.code, done.err) == (1, message)
    done = world.run("validate")
    assert (done.code, done.out) == (1, f"{message}2 files checked; 1 invalid, 1 problem.\n")
    (world.folder / "reconciler.yaml").write_text("slots: 3\n")
    assert world.run("validate").out == "2 files checked; no problems.\n"


def test_an_allowed_path_must_be_a_folder(world: World) -> None:
    (world.folder / "reconciler.yaml").write_text("allowPaths: [nowhere]\n")
    done = world.run()
    assert done.code == 2
    assert done.err == f"Error: allowPaths of the settings file names '{world.folder}/nowhere', which is not a folder\n"


@pytest.mark.parametrize("command", ["list", "streams"])
def test_what_only_reads_the_record_needs_no_settings(world: World, command: str) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    assert world.run().code == 0
    (world.folder / "reconciler.yaml").write_text("slot: 3\n")
    assert world.run(command).code == 0


def test_one_command_hears_the_operator_s_file_once(world: World) -> None:
    path = world.folder / "reconciler.yaml"
    path.write_text("slots: 3\n")
    heard = call()
    assert heard.operator().slots == 3
    path.write_text("slots: x\n")
    assert heard.on_disk().settings().slots == 3
    with pytest.raises(SpecInvalid):
        call().settings()


def test_a_link_that_leads_nowhere_is_no_missing_file(world: World) -> None:
    (world.folder / "reconciler.yaml").symlink_to("nowhere")
    for command in ("plan", "validate"):
        result = world.run(command)
        assert (
            result.code,
            "reconciler.yaml:1:1: error: is a link that leads nowhere\n" in result.out + result.err,
        ) == (1, True)
