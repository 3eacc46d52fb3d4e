"""What the fork server loads: what runs of a type need is known, and is there before everything else."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

from reconciler.core.messages import MAINTENANCE
from reconciler.providers import collect, files, http
from reconciler.runner.loading import ALWAYS, NEEDED, OTHERS, CannotLoad, Loading

FIRST = """
import sys
from reconciler.runner.loading import Loading

loading = Loading()
loading.begin()
begun = set(sys.modules)
loading.load_for("-maintenance", "compact")
print("reconciler.data.store" in sys.modules, set(sys.modules) == begun)
loading.load_for("files", "import-csv")
print("duckdb" in sys.modules, "reconciler.providers.files.imports" in sys.modules)
loading.load_for("files", "export-csv")
print("duckdb" in sys.modules, "httpx" in sys.modules, "httpx" in begun, "pyarrow" in begun, "reconciler.providers.files.exports" in sys.modules)
loading.load_for("-maintenance", "build")
print("sqlglot" in sys.modules, "reconciler.data.profiles.build" in sys.modules, "httpx" in sys.modules)
loading.load_for("somebody", "else")
print("httpx" in sys.modules, "httpx._main" in sys.modules, "reconciler.providers.http.webhook" in sys.modules)
print(loading.step())
"""

#: Asked for a run before it has loaded anything. No process is made for it, because the run's socket does not come along.
ASKED = """
import json, socket
from reconciler.runner.loading import Loading
from reconciler.runner.server import Server

class Noting(Loading):
    def step(self):
        print("anything", flush=True)
        return super().step()

    def load_for(self, provider, job_type):
        print(provider, job_type, flush=True)

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.send(json.dumps({"do": "start", "run": 1, "attempt": 1, "timeout_s": None, "of": ["http", "export-webhook"]}).encode())
ours.shutdown(socket.SHUT_WR)
Server(theirs, Noting(), "").serve()
print(json.loads(ours.recv(2**16))["is"])
"""


def test_what_is_needed_is_known_of_job_types_that_ship_and_can_be_imported() -> None:
    shipped = {(one.PROVIDER.name, two.name) for one in (collect, files, http) for two in one.PROVIDER.job_types}
    assert shipped | {(MAINTENANCE, "build"), (MAINTENANCE, "compact")} >= NEEDED.keys()
    for name in {*ALWAYS, *OTHERS, *(name for names in NEEDED.values() for name in names)}:
        assert find_spec(name) is not None, name


def test_a_run_waits_for_what_its_type_needs_and_one_of_an_unknown_type_for_everything() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "True True",
        "False True",
        "True False False True True",
        "True True False",
        "True False True",
        "False",
    ]


def test_who_was_asked_for_a_run_meanwhile_loads_nothing_else_first() -> None:
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["http export-webhook", "failed"]


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NEEDED, ("http", "none"), ("httpx.nowhere",))  # type: ignore[arg-type]
    with pytest.raises(CannotLoad, match=r"ModuleNotFoundError: No module named 'httpx\.nowhere'"):
        Loading().load_for("http", "none")
