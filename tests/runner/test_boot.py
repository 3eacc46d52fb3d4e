"""How the fork server begins: out of a pass that has only just begun, or in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BEGINS: dict[str, str] = {
    "fork": "",
    "boot": "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()",
}

#: A process that holds a lock, an open file and unwritten words, and begins a fork server. `{first}` comes before that.
BEGIN = """
import os, subprocess, sys, time
from pathlib import Path
from reconciler.runner.boot import Forked, fork
{first}
lock = os.open("lock", os.O_CREAT | os.O_RDWR)
kept = open("kept", "w")
kept.write("once ")
sys.stdout.write("once ")
booted = fork(Path("state"))
pid = booted.process.pid
while Path(f"/proc/{{pid}}/comm").read_text().strip() != "reconcile-forks":
    time.sleep(0.01)
print(type(booted.process).__name__)
print(sorted(int(one) for one in os.listdir(f"/proc/{{pid}}/fd"))[:3], os.getsid(pid) == pid, file=sys.stderr)
for one in sorted(os.listdir(f"/proc/{{pid}}/fd")):
    try:
        print(os.readlink(f"/proc/{{pid}}/fd/{{one}}"), file=sys.stderr)
    except FileNotFoundError:
        pass  # a module that it was reading
{last}
"""
CLOSED = "booted.control.close(); print(booted.process.wait(60), booted.process.wait(60))"
ENDED = "booted.end(); print(booted.process.wait())"
LATE = """
try:
    booted.process.wait(0)
except subprocess.TimeoutExpired:
    booted.process.kill()
print(booted.process.wait(60))
booted.process.kill()
"""


def begin(folder: Path, first: str, last: str) -> tuple[list[str], list[str]]:
    """What a process says that begins a fork server: its own lines, and the server's open files."""
    program = BEGIN.format(first=first, last=last)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.parametrize("way", BEGINS)
def test_a_fork_server_has_nothing_open_of_the_process_that_begins_it(tmp_path: Path, way: str) -> None:
    said, files = begin(tmp_path, BEGINS[way], CLOSED)
    assert said == ["once Forked" if way == "fork" else "once Popen", "0 0"], "unwritten words are written once"
    assert (tmp_path / "kept").read_text() == "once "
    assert files[0] == "[0, 1, 2] True"
    assert not [one for one in files if one.startswith(str(tmp_path))]


@pytest.mark.parametrize("way", BEGINS)
def test_a_fork_server_is_ended_and_waited_for_in_one_way_however_it_began(tmp_path: Path, way: str) -> None:
    assert begin(tmp_path, BEGINS[way], ENDED)[0][1:] == ["-9"]
    assert begin(tmp_path, BEGINS[way], LATE)[0][1:] == ["-9"]


def test_a_fork_server_is_waited_for_beside_more_open_files_than_select_takes(tmp_path: Path) -> None:
    many = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)); kept = [os.dup(0) for _ in range(1100)]"
    assert begin(tmp_path, many, CLOSED)[0][1:] == ["0 0"]


def test_where_nobody_is_told_of_a_child_s_end_a_fork_server_is_no_fork(tmp_path: Path) -> None:
    ignored = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    assert begin(tmp_path, ignored, ENDED)[0] == ["once Popen", "0"]


def test_ctrl_c_while_a_fork_server_begins_is_its_controller_s_alone(tmp_path: Path) -> None:
    """Until the fork has a session of its own, a terminal sends it there too."""
    program = """
import os, signal, time
from pathlib import Path
from reconciler.runner.boot import fork
def wait():
    until_s = time.monotonic() + 30
    while signal.SIGINT not in signal.sigpending() and time.monotonic() < until_s:
        pass
os.register_at_fork(after_in_child=lambda: os.killpg(0, signal.SIGINT), after_in_parent=wait)
os.setpgid(0, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    fork(Path("state"))
except KeyboardInterrupt:
    print("interrupted")
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("interrupted\n0\n", "", 0)


def test_whatever_happens_to_a_fork_it_does_not_go_on_as_its_controller(tmp_path: Path) -> None:
    breaks = "sys.modules['reconciler.runner.server'] = None"
    program = f"import sys\nfrom pathlib import Path\nfrom reconciler.runner.boot import fork\n{breaks}\nbooted = fork(Path('state'))\nprint(booted.process.wait(60))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"{os.EX_SOFTWARE}\n"
    assert "ModuleNotFoundError" in done.stderr
