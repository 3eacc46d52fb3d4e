"""The way in and the one door out: options, exit codes, reports, and how quickly help is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler
from reconciler.cli import door
from reconciler.cli.main import COMMANDS, LazyGroup
from reconciler.cli.main import reconcile as group
from reconciler.cli.options import Call
from reconciler.cli.terminal import Terminal
from reconciler.errors import Locked, Problem, SpecInvalid
from tests.cli.conftest import World

HEAVY = ("pydantic", "duckdb", "pyarrow", "httpx", "jsonschema", "rich", "yaml", "ruamel", "sqlite3", "watchfiles")


#: So that a process finds the package that is tested, from any directory.
PACKAGE = str(Path(reconciler.__file__).parents[1])


def process(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in a shell's words, `reconcile` standing for the real one."""
    command = " ".join(words).replace("reconcile ", f"{sys.executable} -m reconciler ", 1)
    env = {key: value for key, value in os.environ.items() if key not in ("RECONCILE_ROOT", "NO_COLOR")}
    return subprocess.run(
        ["bash", "-c", command], cwd=cwd, env={**env, "PYTHONPATH": PACKAGE},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


# --- options --------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from reconciler.cli.main import entry; code = entry(['--help']);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "0 []\n"
    assert done.stdout.startswith("Usage: reconcile [OPTIONS] [COMMAND] ...")


def test_the_helps_of_the_group_are_the_first_lines_of_the_commands_own() -> None:
    context = group.make_context("reconcile", ["--watch"], resilient_parsing=True)
    assert isinstance(group, LazyGroup)
    for name, entry in COMMANDS.items():
        command = group.get_command(context, name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == entry.help


def test_help_fits_80_columns(world: World) -> None:
    for name in ("", *COMMANDS):
        result = world.run(*name.split(), "--help")
        assert result.code == 0
        assert max(map(len, result.out.splitlines())) <= 80


def test_version_is_printed(world: World) -> None:
    result = world.run("--version")
    assert (result.code, result.out) == (0, "reconcile 0.1.0\n")


@pytest.mark.parametrize("arguments", [("--root", "here", "list"), ("list", "--root", "here")])
def test_common_options_are_taken_before_and_after_the_command(world: World, arguments: tuple[str, ...]) -> None:
    (world.folder / "here").mkdir()
    assert world.run(*arguments).err.startswith("No jobs are recorded for here yet")


def test_the_option_nearer_to_the_end_of_the_line_wins(world: World) -> None:
    (world.folder / "here").mkdir()
    assert world.run("--root", "nowhere", "list", "--root", "here").code == 0


def test_the_root_comes_from_the_environment_where_no_option_names_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (world.folder / "here").mkdir()
    monkeypatch.setenv("RECONCILE_ROOT", "here")
    assert "for here yet" in world.run("list").err
    assert "for jobs.d yet" in world.run("list", "--root", "jobs.d").err


def test_a_root_that_is_not_there_is_a_usage_error_with_the_next_step(world: World) -> None:
    (world.folder / "file").touch()
    for command in ("list", "plan", "validate"):
        missing = world.run(command, "--root", "nowhere")
        assert missing.code == 2
        assert missing.err == (
            f"Error: the root folder 'nowhere' does not exist (seen from {world.folder}); "
            "create it, or name the folder of your specs with --root DIR or RECONCILE_ROOT\n"
        )
    assert "the root folder 'file' is not a folder" in world.run("list", "--root", "file").err


def test_an_unknown_command_is_a_usage_error_that_names_the_closest(world: World) -> None:
    result = world.run("lst")
    assert result.code == 2
    assert result.err.endswith("Error: there is no command 'lst'; did you mean 'list'?\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--watch", "--dry-run"), "--watch and --dry-run exclude each other"),
        (("--watch", "list"), "--watch goes before no command; put it after 'list'"),
        (("-o", "json"), "-o goes with --dry-run, or after a command"),
        (("--detailed-exitcode",), "--detailed-exitcode goes with --dry-run, or after a command"),
        (("-o", "json", "list"), "-o goes before no command; put it after 'list'"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(world: World, arguments: tuple[str, ...], message: str) -> None:
    result = world.run(*arguments)
    assert (result.code, result.err) == (2, f"Error: {message}\n")


@pytest.mark.parametrize("name", ["auth", "audit", "record", "stream"])
def test_a_group_of_commands_alone_lists_them(world: World, name: str) -> None:
    ended = world.run(name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == world.run(name, "--help").out
    assert "\nCommands:\n" in ended.err


def test_a_wrong_option_is_a_usage_error_with_the_way_to_help(world: World) -> None:
    result = world.run("list", "--nope")
    assert result.code == 2
    assert "Try 'reconcile list --help' for help." in result.err


# --- the door -------------------------------------------------------------------------------------------------------


def through_the_door(world: World, error: BaseException) -> int:
    def command() -> int:
        raise error

    terminal = Terminal.of(sys.stdout, sys.stderr, no_color=True)
    return door.run(command, lambda: Call(root=world.root, state=world.state, terminal=terminal))


def test_an_error_that_the_user_can_act_on_is_its_text_and_its_own_exit_code(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert through_the_door(world, Locked("another reconcile (pid 7) is at work")) == 5
    assert capsys.readouterr().err == "Error: another reconcile (pid 7) is at work\n"


def test_problems_of_specs_are_printed_as_seen_from_here(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert through_the_door(world, SpecInvalid([Problem("a.yaml", 4, 8, "spec.x", "bad\x1b")])) == 1
    assert capsys.readouterr().err == "jobs.d/a.yaml:4:8: error: spec.x: bad\\x1b\n"


def test_ctrl_c_is_130_and_silent(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert through_the_door(world, KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_one_line_and_a_report_without_the_values_of_the_environment(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "s3cr3t-value")
    world.state.mkdir()
    assert through_the_door(world, RuntimeError("with s3cr3t-value inside\nand more")) == 3
    err = capsys.readouterr().err
    match = re.fullmatch(
        r"Internal error: RuntimeError: with \*\*\* inside; this is a bug in reconcile, the report is in (\S+)\n", err
    )
    assert match
    report = Path(match[1])
    assert report.parent == world.state / "reports"
    text = report.read_text()
    assert "Traceback" in text
    assert "reconcile 0.1.0, Python 3" in text
    assert "s3cr3t-value" not in text
    assert report.stat().st_mode & 0o077 == 0


def test_a_module_that_ends_the_program_is_a_bug_and_no_success(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert through_the_door(world, SystemExit(0)) == 3
    assert capsys.readouterr().err.startswith("Internal error: SystemExit: 0; this is a bug in reconcile, ")


def test_a_bug_before_there_is_a_state_directory_is_reported_in_the_temporary_one(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert through_the_door(world, RuntimeError("x")) == 3
    assert f"the report is in {tmp_path}/reconcile-" in capsys.readouterr().err


# --- as a process ---------------------------------------------------------------------------------------------------


def test_python_m_reconciler_is_the_command_with_its_exit_codes(tmp_path: Path) -> None:
    assert process("reconcile --version", cwd=tmp_path).stdout == "reconcile 0.1.0\n"
    assert process("reconcile list", cwd=tmp_path).returncode == 2


def test_a_reader_that_goes_away_ends_nothing_in_an_error(world: World) -> None:
    for number in range(200):
        world.job(f"job-{number}")
    for command in ("--help", "list"):
        done = process(f"reconcile {command} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}", cwd=world.folder)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_and_a_full_one_are_told_apart(world: World) -> None:
    world.job("a")
    closed = process("reconcile list >&-", cwd=world.folder)
    assert (closed.returncode, closed.stderr) == (0, "")
    full = process("reconcile list >/dev/full", cwd=world.folder)
    assert (full.returncode, full.stderr) == (1, "Error: standard output cannot be written: No space left on device\n")
