"""What ships as an example works as it stands: it validates, plans, and (jobs.d) runs to its end."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

from tests.end_to_end.daemon import jobs, reconcile

REPOSITORY = Path(__file__).parents[1]
FLIGHTS = REPOSITORY / "examples" / "flights"
ROOTS = [REPOSITORY / "jobs.d", *sorted({path.parent for path in (REPOSITORY / "examples").rglob("*.yaml")})]
LEFT_BEHIND = shutil.ignore_patterns(".reconciler", "*.status.yaml", "*.log*", "out")


def copy_of(root: Path, folder: Path) -> Path:
    shutil.copytree(root, folder / root.name, ignore=LEFT_BEHIND)
    return folder / root.name


def documents(root: Path) -> list[str]:
    """The kind and name of every document, as a reader of the files sees them."""
    text = "\n".join(path.read_text() for path in sorted(root.rglob("*.yaml")))
    return sorted(
        f"{kind} {name}"
        for kind, name in re.findall(r"^kind: (\w+)\nmetadata:(?: \{|\n  )name: ([\w-]+)", text, re.MULTILINE)
    )


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.name)
def test_an_example_validates_and_plans_to_create_all_of_it(tmp_path: Path, root: Path) -> None:
    copy = copy_of(root, tmp_path)
    checked = reconcile("validate", "--root", str(copy))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.endswith("no problems.\n")
    planned = reconcile("plan", "-o", "json", "--root", str(copy))
    assert (planned.returncode, planned.stderr) == (0, "")
    actions = json.loads(planned.stdout)["actions"]
    assert {action["verb"] for action in actions} == {"create"}
    assert sorted(f"{action['kind']} {action['name']}" for action in actions) == documents(copy)
    assert not (copy / ".reconciler").exists()


@pytest.mark.parametrize(
    "spec", [path for root in ROOTS for path in sorted(root.rglob("*.yaml"))], ids=lambda p: p.name
)
def test_the_schema_that_an_example_names_is_there(spec: Path) -> None:
    for schema in re.findall(r"^# yaml-language-server: \$schema=(.+)$", spec.read_text(), re.MULTILINE):
        assert (spec.parent / schema).is_file()


# --- jobs.d ---------------------------------------------------------------------------------------------------------


def test_the_default_root_runs_to_its_end_on_the_data_that_ships_with_it(tmp_path: Path) -> None:
    root = copy_of(REPOSITORY / "jobs.d", tmp_path)
    first = reconcile(cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[-1] == "3 jobs: 3 sleeping; 1,160 rows in 3 runs"
    assert {job["lastOutcome"] for job in jobs(root).values()} == {"succeeded"}
    orders = duckdb.sql(
        f"SELECT count(*), count(DISTINCT order_id) FROM '{root / 'out' / 'orders.parquet'}'"
    ).fetchall()
    assert orders == [(480, 480)]
    again = reconcile(cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "3 jobs: 3 sleeping; nothing to run\n")
    for name in ("import-customers", "import-orders", "orders-parquet"):
        assert (root / f"{name}.status.yaml").is_file()
        assert (root / f"{name}.log").is_file()


# --- flights --------------------------------------------------------------------------------------------------------


def test_the_flights_are_split_into_twelve_months_with_every_row_once(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, str(FLIGHTS / "prepare.py"), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert said.stdout == f"336,776 flights in {tmp_path}\n"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"flights-2013-{month:02d}.csv.gz" for month in range(1, 13)]
    read = f"read_csv('{tmp_path}/*.csv.gz', filename=true, all_varchar=true)"
    astray = f"SELECT count(*) FROM {read} WHERE filename NOT LIKE format('%-2013-{{:02d}}.csv.gz', month::INTEGER)"
    assert duckdb.sql(f"SELECT count(*) FROM {read}").fetchall() == [(336_776,)]
    assert duckdb.sql(astray).fetchall() == [(0,)]
    assert len({gzip.decompress(path.read_bytes()).partition(b"\n")[0] for path in tmp_path.iterdir()}) == 1


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_s_receiver_counts_a_batch_once_however_often_it_comes() -> None:
    receiver = loaded(FLIGHTS / "receiver.py").Receiver
    with ThreadingHTTPServer(("127.0.0.1", 0), receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        body = gzip.compress(b'{"messages": [{"a": 1}, {"a": 2}]}')
        for key in ("one", "one", "two"):
            request = urllib.request.Request(
                f"http://127.0.0.1:{server.server_port}/hook",
                data=body,
                headers={"Idempotency-Key": key, "Content-Encoding": "gzip"},
            )
            with urllib.request.urlopen(request) as answer:
                assert answer.status == 200
        server.shutdown()
        thread.join()
    assert (len(receiver.seen), receiver.messages) == (2, 4)
