"""What a pass begins before it knows what it will do: the process that runs are forked from, where runs are to be expected."""

from __future__ import annotations

from pathlib import Path

from reconciler.controller import Settings, Silent, open_controller
from reconciler.core.state import Status
from reconciler.record.store import Record
from reconciler.runner.processes import children

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-in}
spec: {provider: files, jobType: import-csv, restart: "1", config: {path: orders.csv, stream: orders}}
"""


def begun(settings: Settings, *, expects_runs: bool = True) -> int:
    """How many processes there are more, once a controller is opened; none of them is left when it is closed."""
    before = children()
    with open_controller(settings, Silent(), expects_runs=expects_runs):
        found = len(children() - before)
    assert children() == before
    return found


def test_the_process_that_runs_are_forked_from_begins_first_where_specs_are_new(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state=tmp_path / ".reconciler")
    (tmp_path / "specs.yaml").write_text(SPECS)
    (tmp_path / "orders.csv").write_text("id\n1\n")
    assert begun(settings) == 1
    assert begun(settings, expects_runs=False) == 0
    with open_controller(settings, Silent(), expects_runs=True) as controller:
        assert controller.run_pass().rows == 1
    with Record.reading(settings.state) as record:
        assert record.jobs.statuses() == {Status.COMPLETED: 1}
    assert begun(settings) == 0, "nothing is new and nothing is due"
    (tmp_path / "specs.yaml").write_text(SPECS.replace('"1"', '"2"'))
    assert begun(settings) == 1


def test_a_pass_in_which_nothing_is_due_begins_no_process_for_runs(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, state=tmp_path / ".reconciler")
    (tmp_path / "specs.yaml").write_text(SPECS.replace("{provider", "{suspend: true, provider"))
    before = children()
    with open_controller(settings, Silent()) as controller:
        controller.run_pass()
        assert children() == before
