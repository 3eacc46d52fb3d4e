"""From a reference to its secret."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.provider import Secret
from reconciler.errors import Fatal
from reconciler.secrets import resolve as resolve_function
from reconciler.secrets.references import MAX_SECRET_BYTES, keyed_digest, resolve

CANARY = "canary-8f3e1b"


def one(reference: dict[str, Any], base: Path, *, allow_exec: bool = False) -> str:
    return resolve({"token": reference}, base_dir=base, allow_exec=allow_exec)["token"].reveal()


def refusal(reference: dict[str, Any], base: Path, *, allow_exec: bool = False) -> str:
    with pytest.raises(Fatal) as caught:
        one(reference, base, allow_exec=allow_exec)
    whole = "".join(traceback.format_exception(caught.value))
    assert CANARY not in whole
    return str(caught.value)


def python(code: str) -> dict[str, Any]:
    return {"exec": [sys.executable, "-c", code]}


def test_a_variable_of_the_environment_is_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_X", CANARY)
    assert one({"env": "TOKEN_X"}, tmp_path) == CANARY


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    assert refusal({"env": "NOT_SET_X"}, tmp_path) == "credentials.token: the environment variable NOT_SET_X is not set"


def test_a_variable_that_is_empty_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_X", "\n")
    assert refusal({"env": "TOKEN_X"}, tmp_path) == "credentials.token: the value is empty"


def test_a_file_is_read_without_the_line_end_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(f"{CANARY}\r\n".encode())
    assert one({"file": "token"}, tmp_path) == CANARY
    assert one({"file": str(tmp_path / "token")}, Path("/")) == CANARY


def test_lines_inside_of_a_file_stay(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("one\ntwo\n")
    assert one({"file": "key"}, tmp_path) == "one\ntwo"


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal({"file": "gone"}, tmp_path) == (
        "credentials.token: the file gone cannot be read: No such file or directory"
    )


def test_a_file_that_is_not_utf8_is_refused_without_being_quoted(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(CANARY.encode() + b"\xff\xfe")
    assert refusal({"file": "token"}, tmp_path) == "credentials.token: the value is not UTF-8"


def test_a_file_over_64_kib_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"x" * MAX_SECRET_BYTES)
    assert len(one({"file": "token"}, tmp_path)) == MAX_SECRET_BYTES
    (tmp_path / "token").write_bytes(b"x" * (MAX_SECRET_BYTES + 1))
    assert refusal({"file": "token"}, tmp_path) == "credentials.token: the value is larger than 64 KiB"


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_not_a_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "token"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
    assert "is not a regular file" in refusal({"file": str(path)}, tmp_path)


def test_a_command_is_refused_without_the_flag(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    assert refusal(python(f"open({str(ran)!r}, 'w')"), tmp_path) == (
        "credentials.token: commands are run only with --allow-exec"
    )
    assert not ran.exists()


def test_a_command_prints_the_secret(tmp_path: Path) -> None:
    assert one(python(f"print({CANARY!r})"), tmp_path, allow_exec=True) == CANARY


def test_a_command_runs_in_the_folder_of_the_spec_and_without_a_shell(tmp_path: Path) -> None:
    assert one({"exec": ["echo", "$HOME; pwd"]}, tmp_path, allow_exec=True) == "$HOME; pwd"
    assert one(python("import os; print(os.getcwd())"), tmp_path, allow_exec=True) == str(tmp_path.resolve())


def test_what_a_failed_command_says_is_not_shown(tmp_path: Path) -> None:
    code = f"import sys; print({CANARY!r}); print({CANARY!r}, file=sys.stderr); sys.exit(3)"
    message = refusal(python(code), tmp_path, allow_exec=True)
    assert message == f"credentials.token: the command {sys.executable} ended with exit code 3"


def test_a_command_that_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal({"exec": ["no-such-command"]}, tmp_path, allow_exec=True) == (
        "credentials.token: the command no-such-command cannot be run: No such file or directory"
    )


def test_a_command_that_prints_without_end_is_stopped(tmp_path: Path) -> None:
    message = refusal({"exec": ["yes"]}, tmp_path, allow_exec=True)
    assert message == "credentials.token: the command yes printed more than 64 KiB"


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "import os, sys, time; sys.stdout.flush(); os.fork() or time.sleep(60)",
    ],
    ids=["sleeps", "closes its output and sleeps", "leaves a child that holds the output"],
)
def test_a_command_that_does_not_end_is_killed(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.secrets.references.EXEC_TIMEOUT_S", 0.3)
    assert "took longer than 0.3 s" in refusal(python(code), tmp_path, allow_exec=True)


@pytest.mark.parametrize("reference", [{}, {"env": "A", "file": "b"}, {"vault": "x"}, {"exec": []}, {"exec": [1]}])
def test_a_reference_is_one_of_three(tmp_path: Path, reference: dict[str, Any]) -> None:
    assert refusal(reference, tmp_path, allow_exec=True) == "credentials.token: expected one of env, file or exec"


def test_a_digest_is_the_same_only_for_the_same_secret_and_key() -> None:
    key, other = "00" * 32, "11" * 32
    assert keyed_digest(Secret("a"), key) == keyed_digest(Secret("a"), key)
    assert len({keyed_digest(Secret("a"), key), keyed_digest(Secret("b"), key), keyed_digest(Secret("a"), other)}) == 3
    assert len(keyed_digest(Secret("a"), key)) == 64


def test_the_package_offers_the_function() -> None:
    assert resolve_function is resolve
