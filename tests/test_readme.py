"""The README and the pages that it leads to are true: what the program says it says, its specs validate, and its provider passes the rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reconciler.cli import door, plan_file
from reconciler.cli.drift import DRIFTED
from reconciler.cli.main import COMMANDS
from reconciler.controller import settings
from reconciler.core import operator_repo
from reconciler.core.state import EventName, Reason, Status
from reconciler.data import blocks as reading
from reconciler.data import lines, names
from reconciler.errors import Blocked, SpecInvalid, UsageError
from reconciler.providers import ENTRY_POINTS
from reconciler.providers.http import answers, batches, client, config
from reconciler.record import events, runs
from reconciler.repo import transport, verify, walk, write, yaml_text
from reconciler.repo.names import ROTATED_LOGS
from reconciler.runner import capture, frames
from reconciler.secrets import references
from reconciler.web.limits import HEAD_BYTES, Limits
from tests.end_to_end.daemon import reconcile as run
from tests.readme import (
    CATALOGUE,
    COMMANDS_PAGE,
    DOCUMENTS,
    PROVIDERS_PAGE,
    README,
    REPOSITORY,
    blocks,
    commands,
    generated,
    help_of,
)  # fmt: skip

TEXT = README.read_text(encoding="utf-8")
PROVIDERS = PROVIDERS_PAGE.read_text(encoding="utf-8")
TESTS = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8")


def fenced(language: str, text: str = TEXT) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def first_column(header: str) -> list[str]:
    """The first cells of a table, each split at its commas."""
    table = TEXT.split(f"\n| {header} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [cell for line in table for cell in line.split("|")[1].strip().split(", ")]


# --- what the program says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(REPOSITORY)))
def test_what_is_generated_is_what_the_program_says(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert generated(text) == text, "run: python -m tests.readme --write"


def test_every_command_has_a_row_and_its_help() -> None:
    assert blocks(TEXT, "commands") == [""]
    names = [name for name, _ in commands()]
    assert {name.split()[0] for name in names} == set(COMMANDS)
    assert blocks(COMMANDS_PAGE.read_text(encoding="utf-8"), "help") == ["", *names]


def test_a_help_text_is_what_the_command_prints() -> None:
    for command in ("", "plan", "auth check"):
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *command.split(), "--help"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "COLUMNS": "80"},
        )  # fmt: skip
        assert done.stdout.rstrip() == help_of(command).rstrip()


def test_the_readme_has_the_fields_of_every_kind_and_job_type() -> None:
    assert blocks(TEXT, "spec") == ["metadata", "Job", "Authorization", "Stream"]
    job_types = [f"{provider.name} {one.name}" for provider in CATALOGUE.values() for one in provider.job_types]
    assert blocks(TEXT, "types") == list(CATALOGUE)
    assert blocks(PROVIDERS, "config") == job_types
    assert blocks(PROVIDERS, "methods") == [provider.name for provider in CATALOGUE.values() if provider.methods]


def test_the_readme_names_every_status_reason_event_and_exit_code() -> None:
    assert first_column("status") == list(Status)
    assert first_column("reason to sleep") == list(Reason)
    assert sorted(first_column("event")) == sorted(EventName)
    codes = {0, SpecInvalid.exit_code, UsageError.exit_code, door.BUG, DRIFTED, Blocked.exit_code, door.INTERRUPTED}
    assert [int(code) for code in first_column("exit code")] == sorted(codes)


def table_of(section: str) -> dict[str, str]:
    """The rows of a section's first table, by their first cell."""
    rows = TEXT.split(f"\n## {section}\n", 1)[1].strip().split("\n\n", 1)[0].splitlines()[2:]
    return {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in rows)}


def mib(size: int) -> str:
    return f"{size >> 20} MiB"


def kib(size: int) -> str:
    return f"{size >> 10} KiB"


def test_the_limits_are_those_of_the_program() -> None:
    assert table_of("Limits") == {
        "a spec file": f"{mib(walk.MAX_FILE_BYTES)}, {yaml_text.MAX_DOCUMENTS:,} documents, "
        f"{yaml_text.MAX_DEPTH} levels of nesting",
        "runs at a time": f"{settings.DEFAULT_SLOTS} (`--slots`, 1 to 512)",
        "what a run prints": f"{capture.MAX_LINES:,} lines or {mib(capture.MAX_CHARACTERS)} an attempt; "
        f"the record keeps the last {kib(runs.KEPT_OUTPUT)} of a run",
        "a unit, or an intent": f"{mib(frames.MAX_MESSAGE)} as JSON; data is not in it",
        "a secret": f"{kib(references.MAX_SECRET_BYTES)}; a command that prints one, {references.EXEC_TIMEOUT_S:g} s",
        "columns of a CSV file": f"{names.MAX_COLUMNS:,}; one file is read in blocks of {mib(reading.BLOCK_BYTES)}, "
        "whatever its size",
        "a line of NDJSON": f"{lines.MAX_DEPTH} levels of nesting",
        "an HTTP answer": f"{mib(client.MAX_ANSWER_BYTES)}, {client.MAX_REDIRECTS} redirects, {config.MAX_TIMEOUT_S} s",
        "the head of a request to `--listen`": f"{kib(HEAD_BYTES)}, {Limits().body_s:g} s",
        "a webhook's batch": f"{config.MAX_BATCH:,} messages or {mib(batches.MAX_BATCH_BYTES)}",
        "a saved plan": mib(plan_file.MAX_BYTES),
        "a fetch of `--repo`": f"{transport.FETCH_TIMEOUT_S // 60} min, the first one an hour; given up below "
        f"{transport.SLOWEST} bytes a second for a minute",
        "a public key in `verify`": f"{kib(operator_repo.MAX_KEY)}, a file of them {mib(verify.MAX_KEY_BYTES)}; "
        f"{operator_repo.MAX_KEYS} of either",
        "`Retry-After`": f"believed up to {answers.MAX_RETRY_AFTER_S / 3600:g} hours",
    }
    text = " ".join(TEXT.split())
    older = ("no", "one", "two", "three")[ROTATED_LOGS]
    assert f"keeps the last {events.KEPT_EVENTS:,} events and {runs.KEPT_RUNS} runs of a job" in text
    assert f"rotated at {mib(write.MAX_LOG_BYTES)} with {older} older ones kept" in text


def test_every_line_of_the_threat_model_is_held_by_a_test() -> None:
    section = TEXT.split("\n## Threat model\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        assert_names_a_test(row)


def assert_names_a_test(row: str) -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)::(test_\w+)`", row)
    assert named, row
    for file, test in named:
        assert f"\ndef {test}(" in (REPOSITORY / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_bug_that_the_instruments_found_is_held_by_a_test() -> None:
    section = (REPOSITORY / "tests" / "README.md").read_text(encoding="utf-8").split("\n## What they have found\n")[1]
    for row in [line for line in section.splitlines() if line.startswith("| ")][1:]:
        assert_names_a_test(row)


# --- what the reader may copy ---------------------------------------------------------------------------------------


BESIDE = re.compile(r"# (reconciler|policy)\.yaml\n")


@pytest.mark.parametrize("text", [text for text in fenced("yaml") if BESIDE.match(text)])
def test_a_file_beside_the_root_in_the_readme_validates_as_it_stands(tmp_path: Path, text: str) -> None:
    root = tmp_path / "jobs.d"
    root.mkdir()
    (tmp_path / text.split()[1]).write_text(text, encoding="utf-8")
    checked = run("validate", "--root", str(root))
    assert (checked.returncode, checked.stdout) == (0, "1 file checked; no problems.\n")


@pytest.mark.parametrize("text", [text for text in fenced("yaml") if "kind:" in text and not BESIDE.match(text)])
def test_a_spec_of_the_readme_validates_as_it_stands(tmp_path: Path, text: str) -> None:
    (tmp_path / "specs.yaml").write_text(text, encoding="utf-8")
    checked = run("validate", "--root", str(tmp_path))
    assert (checked.returncode, checked.stdout) == (0, "1 file checked; no problems.\n")


def test_the_provider_of_the_page_passes_the_rules_with_the_tests_of_the_page(tmp_path: Path) -> None:
    modules = {re.match(r"# (\w+\.py)\n", text)[1]: text for text in fenced("python", PROVIDERS)}  # type: ignore[index]
    assert sorted(modules) == ["readings.py", "test_readings.py"]
    for name, text in modules.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_readings.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout + tested.stderr
    (declared,) = (tomllib.loads(text) for text in fenced("toml", PROVIDERS))
    assert declared["project"]["entry-points"] == {ENTRY_POINTS: {"readings": "readings"}}


def test_the_files_and_variables_that_shown_commands_name_are_there() -> None:
    shown = "\n".join(fenced("bash") + fenced("bash", TESTS))
    for path in re.findall(r"tests/[\w/]+\.py", shown):
        assert (REPOSITORY / path).is_file(), path
    for module in re.findall(r"python -m (tests[\w.]+)", shown):
        path = REPOSITORY / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module
    for variable, path in re.findall(r"(RECONCILE_\w+)=\S+ python .* (tests/\S+\.py)", shown):
        assert variable in (REPOSITORY / path).read_text(), variable
