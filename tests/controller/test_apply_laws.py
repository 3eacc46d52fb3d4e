"""The laws of saved plans, over random worlds with a real record: apply does what the plan said, the plan after it is empty,
a merge is foreseen as a pass would do it, and one thing that moves between plan and apply is refused by its name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from reconciler.cli.specs import read_specs
from reconciler.clock import Clock
from reconciler.controller.looking import preview
from reconciler.controller.loop import Controller
from reconciler.controller.merging import Declaration, plan_merge
from reconciler.controller.settings import Settings
from reconciler.controller.trees import installed
from reconciler.core.canonical_json import canonical_json
from reconciler.core.planned import to_json
from reconciler.core.prune import Budget
from reconciler.core.saved_plan import SavedPlan, read_plan
from reconciler.core.state import Status
from reconciler.errors import Blocked
from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import Fuse, World

NAMES = ("a", "b", "c", "d")
#: How far apart the deeds lie at which an apply dies.
STRIDE = int(os.environ.get("RECONCILE_STRIDE", "3"))
STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: s}\nspec: {}\n"

JOB = st.fixed_dictionaries(
    {
        "file": st.sampled_from(["one.yaml", "two.yaml", "deep/three.yml"]),
        "schedule": st.sampled_from(['{cron: "0 3 1 1 *"}', '{cron: "0 4 1 1 *"}']),
        "path": st.sampled_from(["x/*.csv", "y/*.csv"]),
        "suspend": st.booleans(),
        "deletionPolicy": st.sampled_from(["delete", "orphan", "protect"]),
        "title": st.sampled_from(["", "Äpfel → Öl", "`@all` <b>"]),
        "rerun": st.sampled_from(["", "1"]),
        "restart": st.sampled_from(["", "1"]),
    }
)
DEFAULT: dict[str, Any] = {
    "file": "one.yaml",
    "schedule": '{cron: "0 3 1 1 *"}',
    "path": "x/*.csv",
    "suspend": False,
    "deletionPolicy": "delete",
    "title": "",
    "rerun": "",
    "restart": "",
}
TREE = st.dictionaries(st.sampled_from(NAMES), JOB, max_size=4)
Tree = dict[str, dict[str, Any]]
LAW = settings(max_examples=int(os.environ.get("RECONCILE_LAWS", "6")), deadline=None, derandomize=True,
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip


def text_of(name: str, one: dict[str, Any]) -> str:
    lines = "".join(
        f"  {field}: {json.dumps(one[field])}\n"
        for field in ("suspend", "deletionPolicy", "rerun", "restart")
        if one[field] not in ("", False)
    )
    return (
        f"---\napiVersion: reconciler/v1\nkind: Job\nmetadata: {{name: {name}, title: {json.dumps(one['title'])}}}\n"
        f"spec:\n  provider: files\n  jobType: import-csv\n  schedule: {one['schedule']}\n{lines}"
        f"  config: {{path: {json.dumps(one['path'])}, stream: s}}\n"
    )


@dataclass
class Shop:
    """A root, its record, and the passes that are made over it."""

    folder: Path
    runner: LocalRunner
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.folder / "jobs"
        self.root.mkdir()
        self.world = World(self.root, self.runner)

    def write(self, tree: Tree) -> None:
        """The tree is exactly this."""
        for path in (*self.root.glob("*.y*ml"), *self.root.glob("deep/*.y*ml")):
            path.unlink()
        (self.root / "stream.yaml").write_text(STREAM)
        for name, one in tree.items():
            path = self.root / one["file"]
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text_of(name, one))

    def plan(self) -> dict[str, Any]:
        return preview(Settings(root=self.root, state=self.world.state), basis=True).document

    def apply(self, saved: SavedPlan) -> dict[str, Any]:
        """What it did, as the JSON of a plan."""
        report = self.world.act(lambda controller: controller.apply(saved, "ada"))
        assert report is not None
        return to_json(report.plan, str(self.root), "")

    def declared(self) -> Declaration:
        found = read_specs(self.root)
        return Declaration(found.documents, found.problems)


@contextmanager
def shop(runner: LocalRunner) -> Iterator[Shop]:
    memory = Path("/dev/shm")  # nothing here is about disks
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Shop(Path(folder), runner)


def saved_of(document: dict[str, Any]) -> SavedPlan:
    """The plan, by way of its file."""
    return read_plan(canonical_json(document).encode(), "plan.json")


def quiet(tree: Tree) -> Tree:
    """The same without runs: whatever is asked to run is paused."""
    return {
        name: {**one, "suspend": one["suspend"] or bool(one["rerun"] or one["restart"])} for name, one in tree.items()
    }


@LAW
@given(TREE, TREE)
def test_apply_does_what_the_plan_said_and_the_plan_after_it_is_empty(
    runner: LocalRunner, before: Tree, after: Tree
) -> None:
    before, after = quiet(before), quiet(after)
    with shop(runner) as one:
        one.write(before)
        assert one.world.live() is not None
        declared = one.declared()
        one.write(after)
        document = one.plan()
        assert one.plan() == document, "two plans of one state are equal"
        foreseen = plan_merge(declared, one.declared(), installed(), Budget(), Clock().now())
        merged = to_json(foreseen, str(one.root), "")
        assert merged["actions"] == document["actions"], "a merge is what a pass would do"
        assert merged["waiting"] == document["waiting"]
        event(f"{len(document['actions'])} actions")
        saved = saved_of(document)
        did = one.apply(saved)
        assert did["actions"] == document["actions"]
        assert did["runs"] == document["runs"]
        afterwards = one.plan()
        assert (afterwards["actions"], afterwards["runs"]) == ([], [])
        with pytest.raises(Blocked, match="was applied already"):
            one.apply(saved)


# --- one thing moves ----------------------------------------------------------------------------------------------------

#: Changes of a spec; each of any job's.
EDITS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "schedule": lambda one: {**one, "schedule": '{cron: "0 5 1 1 *"}'},
    "title": lambda one: {**one, "title": "another"},
    "file": lambda one: {**one, "file": "four.yaml"},
    "suspend": lambda one: {**one, "suspend": not one["suspend"]},
    "rerun": lambda one: {**one, "rerun": "9", "suspend": True},
}


@LAW
@given(TREE, TREE, st.sampled_from(NAMES), st.sampled_from(sorted(EDITS)))
def test_a_spec_that_is_edited_between_plan_and_apply_is_named_by_its_file(
    runner: LocalRunner, before: Tree, after: Tree, name: str, edit: str
) -> None:
    before, after = quiet(before), quiet(after)
    assume(name in after)
    with shop(runner) as one:
        one.write(before)
        assert one.world.live() is not None
        one.write(after)
        saved = saved_of(one.plan())
        edited = EDITS[edit](after[name])
        one.write({**after, name: edited})
        found = refused(one, saved)
        assert f"{one.root}/{edited['file']}: Job {name} has " in found or f"Job {name} is declared now" in found
        assert one.plan()["actions"], "nothing was done"


@LAW
@given(TREE, TREE, st.sampled_from(NAMES), st.booleans())
def test_a_spec_that_comes_or_goes_between_plan_and_apply_is_named(
    runner: LocalRunner, before: Tree, after: Tree, name: str, comes: bool
) -> None:
    before, after = quiet(before), quiet(after)
    assume((name in after) != comes)
    there = {**after, name: after.get(name) or before.get(name) or DEFAULT}
    gone = {other: one for other, one in after.items() if other != name}
    with shop(runner) as one:
        one.write(before)
        assert one.world.live() is not None
        one.write(gone if comes else there)
        saved = saved_of(one.plan())
        one.write(there if comes else gone)
        found = refused(one, saved)
        assert f"Job {name} " in found or "other specs have changed" in found


@LAW
@given(TREE, TREE, st.data())
def test_a_job_that_moves_on_between_plan_and_apply_is_named(
    runner: LocalRunner, before: Tree, after: Tree, data: st.DataObject
) -> None:
    before, after = quiet(before), quiet(after)
    with shop(runner) as one:
        one.write(before)
        assert one.world.live() is not None
        one.write(after)
        document = one.plan()
        names = [
            known["name"] for known in document["basis"]["observed"] if "state" in known and known["life"] == "live"
        ]
        assume(names)
        name = data.draw(st.sampled_from(names))
        with Record.writing(one.world.state) as record, record.transaction():
            job = record.jobs.job(name)
            assert job is not None
            if data.draw(st.booleans()):
                record.jobs.save_state(job.id, replace(job.state, since_ms=job.state.since_ms + 1), wake_at_ms=None)
                words = "has moved on in the record"
            else:
                failed = replace(job.state, status=Status.FAILED, reason=None, held_status=None, held_reason=None)
                record.jobs.save_state(job.id, failed, wake_at_ms=None)
                words = f"is Failed, and was {job.state.status}"
        assert f"Job {name} {words}" in refused(one, saved_of(document))


@LAW
@given(TREE, TREE, st.integers(0, 10_000))
def test_a_plan_of_which_a_byte_was_changed_is_refused(
    runner: LocalRunner, before: Tree, after: Tree, where: int
) -> None:
    with shop(runner) as one:
        one.write(quiet(before))
        content = bytearray(canonical_json(one.plan()).encode())
    where %= len(content)
    content[where] ^= 1 + where % 255
    with pytest.raises(Exception, match=r"plan\.json") as found:
        read_plan(bytes(content), "plan.json")
    assert type(found.value).__name__ in ("Blocked", "UsageError")


# --- it dies ------------------------------------------------------------------------------------------------------------


def test_an_apply_that_dies_at_any_deed_has_done_all_of_it_or_nothing_and_the_next_pass_completes_it(
    runner: LocalRunner,
) -> None:
    before = {name: {**DEFAULT, "suspend": True} for name in ("a", "b")}
    after = {"a": {**before["a"], "title": "another"}, "c": {**before["a"], "file": "two.yaml"}}
    number, came_through, done = 1 - STRIDE, None, set()
    while came_through is None:
        number += STRIDE
        with shop(runner) as one:
            one.write(before)
            assert one.world.live() is not None
            one.write(after)
            document = one.plan()
            saved = saved_of(document)
            fuse = Fuse(number)
            came_through = one.world.act(lambda controller, plan=saved: controller.apply(plan, "ada"), fuse)  # type: ignore[misc]
            with Record.reading(one.world.state) as record:
                is_done = record.plans.applied(saved.digest) is not None
                titles = [(job.name, job.title) for job in record.jobs.jobs()]
            assert titles == ([("a", "another"), ("c", "")] if is_done else [("a", ""), ("b", "")]), fuse.deeds[-1]
            done.add(is_done)
            if is_done:
                with pytest.raises(Blocked, match="was applied already"):
                    one.apply(saved)
            assert one.world.live() is not None
            assert one.plan()["actions"] == []
            assert "title: another" in (one.root / "a.status.yaml").read_text(), fuse.deeds[-1]
            assert not (one.root / "b.status.yaml").exists(), fuse.deeds[-1]
    assert done == {False, True}
    assert number > 5


def refused(one: Shop, saved: SavedPlan) -> str:
    """Why it was not applied; nothing of the record is another afterwards."""

    def act(controller: Controller) -> str:
        with pytest.raises(Blocked, match="is stale, and nothing was done") as found:
            controller.apply(saved, "ada")
        return str(found.value)

    before = events(one)
    found = one.world.act(act)
    assert found is not None
    assert events(one) == before
    return found


def events(one: Shop) -> int:
    with Record.reading(one.world.state) as record:
        return record.events.last_id()
