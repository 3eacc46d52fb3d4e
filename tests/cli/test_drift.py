"""`reconcile drift`: whatever was changed behind the controller's back is a line, and nothing is written to find it."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text

RESTORE = "restore record.db and data/ from a backup; `reconcile history` shows what was done"
ANEW = "its status is written anew when it next says something else"
LOST = "nothing writes them again; `reconcile logs import-orders` has its events"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which a pass has imported a file."""
    root = tmp_path_factory.mktemp("shop") / "jobs.d"
    (root / "data").mkdir(parents=True)
    (root / "data" / "one.csv").write_text("a,b\n1,2\n")
    (root / "orders.yaml").write_text(STREAM + job_text("import-orders", schedule="{every: 1d}"))
    command = [sys.executable, "-m", "reconciler", "--root", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    return root


@pytest.fixture
def shop(world: World, imported: Path) -> World:
    """A world of its own in which that pass was made."""
    shutil.copytree(imported, world.root, dirs_exist_ok=True)
    return world


def drifted(world: World) -> list[str]:
    """The lines, without the one that sums up."""
    result = world.run("drift")
    *lines, summary = result.out.splitlines()
    assert result.err == ""
    assert result.code == (4 if lines else 0)
    assert summary.startswith((f"{len(lines)} thing", "Nothing has drifted; "))
    return lines


def sql(world: World, *statements: str) -> None:
    connection = sqlite3.connect(world.state / "record.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(one): (one.stat().st_mtime_ns, one.read_bytes()) for one in folder.rglob("*") if one.is_file()}


def test_where_nothing_has_drifted_that_is_said_and_no_file_is_made_or_touched(shop: World) -> None:
    for name in ("record.db-wal", "record.db-shm"):  # as a controller leaves them that nobody read beside
        (shop.state / name).unlink(missing_ok=True)
    before = files_of(shop.folder)
    result = shop.run("drift")
    assert (result.code, result.out) == (0, "Nothing has drifted; 4 files were compared with the record.\n")
    assert files_of(shop.folder) == before


def test_before_the_first_pass_nothing_can_have_drifted_and_nothing_is_made(world: World) -> None:
    result = world.run("drift")
    assert (result.code, result.out) == (0, "Nothing is recorded yet, so nothing can have drifted.\n")
    assert list(world.root.iterdir()) == []


def test_a_changed_and_a_lost_status_are_named_with_what_mends_them(shop: World) -> None:
    path = shop.root / "import-orders.status.yaml"
    path.write_text(path.read_text().replace("Sleeping", "Running"))
    [line] = drifted(shop)
    assert line.startswith("status jobs.d/import-orders.status.yaml: expected digest ")
    assert line.endswith(f"; {ANEW}")
    path.unlink()
    assert drifted(shop) == [
        f"status jobs.d/import-orders.status.yaml: expected the status, found no such file; {ANEW}"
    ]


def test_a_line_that_was_changed_added_or_removed_in_a_log_is_named(shop: World) -> None:
    path = shop.root / "import-orders.log"
    whole = path.read_text()
    path.write_text(whole + "hello\n")
    assert drifted(shop) == [
        "log jobs.d/import-orders.log: expected no other lines than the controller's, found the line 'hello'; " + LOST
    ]
    path.write_text(whole.replace("event=Started", "event=Stopped"))
    [line] = drifted(shop)
    assert "event=Started run=1', found 1 line of it is missing or changed; " in line
    path.unlink()
    [line] = drifted(shop)
    assert line.endswith(f", found no such file; {LOST}")


def test_data_files_that_are_gone_of_another_size_or_nobodys_are_named(shop: World) -> None:
    [segment] = (shop.state / "data" / "streams" / "orders").iterdir()
    size = segment.stat().st_size
    with open(segment, "ab") as file:
        file.write(b"x")
    name = f"data data/streams/orders/{segment.name}"
    assert drifted(shop) == [f"{name}: expected {size:,} bytes, found {size + 1:,} bytes; {RESTORE}"]
    segment.rename(segment.with_name("eve.parquet"))
    assert drifted(shop) == [
        "data data/streams/orders/eve.parquet: expected no file that no row names, "
        f"found {size + 1:,} bytes; the next `reconcile` removes it",
        f"{name}: expected {size:,} bytes, found no such file; {RESTORE}",
    ]


def test_a_byte_that_was_changed_in_a_data_file_is_drift_and_quick_does_not_look(shop: World) -> None:
    [segment] = (shop.state / "data" / "streams" / "orders").iterdir()
    content = bytearray(segment.read_bytes())
    before = hashlib.sha256(content).hexdigest()
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    after = hashlib.sha256(content).hexdigest()
    name = f"data data/streams/orders/{segment.name}"
    assert drifted(shop) == [f"{name}: expected digest {before[:12]}, found digest {after[:12]}; {RESTORE}"]
    assert shop.run("drift", "--quick").code == 0


def test_what_a_run_that_was_cut_off_has_left_is_no_drift(shop: World) -> None:
    """The next controller sweeps it; nobody has changed anything behind this one's back."""
    [segment] = (shop.state / "data" / "streams" / "orders").iterdir()
    job, run, attempt, unit, _ = segment.stem.rsplit("-", 4)
    segment.with_name(f"{job}-{run}-{attempt}-{int(unit) + 9}-1.parquet").write_bytes(b"PAR1")
    assert drifted(shop) == []
    strange = segment.with_name(f"{job}-{int(run) + 9}-1-1-1.parquet")
    strange.write_bytes(b"PAR1")
    [line] = drifted(shop)
    assert strange.name in line, "no such run has ever begun"


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE resource SET spec = replace(spec, 'data/', 'dada/') WHERE kind = 'Job'",
         "record Job import-orders: expected spec digest "),
        ("UPDATE resource SET title = 'Eve' WHERE kind = 'Job'", "record Job import-orders: expected metadata digest "),
        ("UPDATE resource SET digest = '0a1b' WHERE kind = 'Stream'", "record Stream orders: expected generation 1 with "),
        ("DELETE FROM resource WHERE kind = 'Stream'", "record Stream orders: expected generation 1 with digest "),
        ("UPDATE job SET rows = 99", "record Job import-orders: expected the totals that its status says, found "),
        ("UPDATE job SET status = 'Failed', reason = NULL",
         "record Job import-orders: expected the status that its status says, found \"Failed\"; "),
        ("UPDATE run SET rows = 7", "record run 1: expected 1 units, 1 rows, found 1 units, 7 rows; "),
        ("UPDATE stream SET next = 0", "record Stream orders: expected next position 1, found next position 0; "),
        ("INSERT INTO approval SELECT id, '0a1b', 'all of it', 1, 4102444800000, 'Eve' FROM job",
         "record Job import-orders: expected no approval of 0a1b, by the audit log, found one by Eve; "),
        ("INSERT INTO prune (one, digest, reason, jobs, spent, revision, asked_ms, approved_ms, approved_by) "
         "VALUES (1, '0a1b', '', '{}', 0, '', 1, 4102444800000, 'Eve')",
         "record deletions: expected no approval of 0a1b, by the audit log, found one by Eve; "),
        ("INSERT INTO applied_plan VALUES ('0a1b', 4102444800000, 'Eve')",
         "record plan 0a1b: expected no such plan applied, by the audit log, found one by Eve; "),
        ("DROP TRIGGER audit_is_not_changed", ""),
    ],
)  # fmt: skip
def test_what_was_changed_in_the_record_is_named(shop: World, statement: str, says: str) -> None:
    sql(shop, statement)
    lines = drifted(shop)
    assert any(line.startswith(says) for line in lines) if says else lines == []


def test_a_changed_audit_log_is_drift_too(shop: World) -> None:
    sql(shop, "DROP TRIGGER audit_is_not_changed", "UPDATE audit SET author = 'Eve' WHERE seq = 1")
    assert drifted(shop) == [
        "audit audit log: expected a chain of entries as they were written, found entry 1 has been changed since it was "
        "written; a cut audit.log is completed by the next `reconcile`; for anything else, find out who did it"
    ]


def test_a_state_directory_that_others_can_read_is_drift(shop: World) -> None:
    shop.state.chmod(0o755)
    assert drifted(shop) == [
        "state jobs.d/.reconciler: expected nobody but its owner may read or write it, found mode 0755; the next "
        "`reconcile` closes the folder"
    ]
    shop.state.chmod(0o700)
    (shop.state / "audit.log").chmod(0o644)
    assert drifted(shop)[0].endswith("found mode 0644; chmod 600 jobs.d/.reconciler/audit.log")


def _no_database(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


@pytest.mark.parametrize("damage", [_no_database, _cut, Path.unlink])
def test_a_record_that_is_damaged_or_gone_is_drift(shop: World, damage: Callable[[Path], None]) -> None:
    for name in ("record.db-wal", "record.db-shm"):
        (shop.state / name).unlink(missing_ok=True)
    damage(shop.state / "record.db")
    lines = drifted(shop)
    assert lines
    assert all(line.startswith("record ") for line in lines)


def test_json_has_every_drift_with_what_was_expected_and_found(shop: World) -> None:
    (shop.root / "import-orders.status.yaml").unlink()
    result = shop.run("drift", "-o", "json")
    body = json.loads(result.out)
    assert (result.code, body["drifted"], body["checked"]) == (4, True, 4)
    assert body["drifts"] == [
        {
            "what": "status",
            "subject": "jobs.d/import-orders.status.yaml",
            "expected": "the status",
            "found": "no such file",
            "mends": ANEW,
        }
    ]


def test_statuses_that_are_written_elsewhere_are_looked_for_there(world: World) -> None:
    world.write("orders.yaml", STREAM + job_text("import-orders"))
    world.run("--status-dir", "elsewhere")
    assert drifted(world) == []
    (world.folder / "elsewhere" / "import-orders.status.yaml").unlink()
    assert len(drifted(world)) == 1


def test_statuses_that_are_to_be_elsewhere_are_written_there_at_once_and_old_lines_are_not_missed(shop: World) -> None:
    assert shop.run("--status-dir", "elsewhere").code == 0
    status = shop.folder / "elsewhere" / "import-orders.status.yaml"
    assert "kind: JobStatus" in status.read_text()
    assert drifted(shop) == []
    shop.run("rerun", "import-orders")
    assert shop.run("--status-dir", "elsewhere").code == 0
    assert "event=Rerun" in (shop.folder / "elsewhere" / "import-orders.log").read_text()
    assert drifted(shop) == []
    status.unlink()
    assert len(drifted(shop)) == 1
    assert shop.run().code == 0, "beside the specs again"
    assert drifted(shop) == []


def test_edits_renames_and_deletions_that_passes_have_made_true_are_no_drift(shop: World) -> None:
    shop.run("pause", "import-orders")
    assert drifted(shop) == []  # the spec was edited, and no pass has been since: that is a plan's
    shop.run()
    assert drifted(shop) == []
    shop.write("orders.yaml", STREAM + job_text("eu").replace("{name: eu}", "{name: eu, renamedFrom: import-orders}"))
    shop.run()
    assert drifted(shop) == []
    shop.write("orders.yaml", STREAM + job_text("other"))
    shop.run()
    assert drifted(shop) == []


def test_a_record_that_a_killed_controller_left_is_read_as_it_is_and_not_touched(shop: World) -> None:
    copy = shop.state.parent / "kept"
    with Record.writing(shop.state) as record:
        record.set_setting("colour", "red")
        copy.mkdir()
        for name in ("record.db", "record.db-wal"):
            (copy / name).write_bytes((shop.state / name).read_bytes())
    before = files_of(copy)
    frozen = Record.frozen(copy)
    assert frozen is not None
    with frozen:
        assert frozen.setting("colour") == "red"
    assert files_of(copy) == before


def test_what_persons_did_approve_and_apply_is_no_drift(shop: World) -> None:
    shop.write("more.yaml", STREAM.replace("orders", "returns"))
    shop.run("plan", "--out", "plan.json")
    assert shop.run("apply", "plan.json").code == 0
    (shop.root / "orders.yaml").unlink()
    blocked = shop.run("--no-color")
    assert blocked.code == 5
    [command] = [line for line in blocked.out.splitlines() + blocked.err.splitlines() if "reconcile approve" in line]
    arguments = command.partition("reconcile ")[2].rstrip("`.").split("`")[0].split()
    assert shop.run(*arguments).code == 0
    assert drifted(shop) == []
