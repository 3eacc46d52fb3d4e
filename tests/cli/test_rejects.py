"""`reconcile rejects`: what a job has left out, as it came, with the reasons."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from reconciler.cli.rejects import of_members
from reconciler.controller.omitted import Omitted, OmittedMember
from reconciler.core.provider import Reject, Unit
from reconciler.record.store import Record
from tests.cli.conftest import CREATED_MS, World


def leave_out(world: World, job_id: int, rejects: Sequence[Reject], source: str = "in/1.csv") -> str:
    """A run of one unit that left those rows out; the file that holds them."""
    with Record.writing(world.state) as record, record.transaction():
        run = record.runs.run(record.runs.begin(job_id, 1, CREATED_MS))
        assert run is not None
        name = f"rejects/import-orders/run-{run.id}-unit-1.ndjson"
        path = world.state / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ({"source": source, "line": one.line, "reason": one.reason, "text": one.text} for one in rejects)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        record.runs.commit_unit(run, 1, Unit(cursor=1, omitted=len(rejects), rejects=(name,)), CREATED_MS)
        record.runs.finish(run.id, "succeeded", "", CREATED_MS)  # type: ignore[arg-type]
    return name


@pytest.fixture
def job_id(world: World) -> int:
    return world.job("import-orders")


def test_each_reject_says_where_it_stood_why_it_was_left_out_and_what_it_was(world: World, job_id: int) -> None:
    leave_out(world, job_id, [Reject(3, "expected 2 fields, found 1", "1\n"), Reject(9, "not UTF-8", "x,é")])
    ended = world.run("rejects", "import-orders")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "run 1, unit 1: in/1.csv:3: expected 2 fields, found 1",
        "    1",
        "run 1, unit 1: in/1.csv:9: not UTF-8",
        "    x,é",
    ]


def test_the_newest_run_comes_first_and_a_limit_says_that_there_are_more(world: World, job_id: int) -> None:
    for number in range(3):
        leave_out(world, job_id, [Reject(line, f"bad {number}", "") for line in (1, 2)])
    ended = world.run("rejects", "import-orders", "--limit", "3")
    assert [line.split(": ")[0] for line in ended.out.splitlines()] == [
        "run 3, unit 1",
        "run 3, unit 1",
        "run 2, unit 1",
    ]
    assert ended.err == "There are more than these 3: --limit shows more.\n"
    assert world.run("rejects", "import-orders", "--limit", "6").err == ""


def test_json_is_one_object_a_line_with_all_of_the_text(world: World, job_id: int) -> None:
    leave_out(world, job_id, [Reject(1, "too long", "x" * 5_000)])
    (line,) = world.run("rejects", "import-orders", "-o", "json").out.splitlines()
    assert json.loads(line) == {
        "run": 1, "unit": 1, "source": "in/1.csv", "line": 1, "reason": "too long", "text": "x" * 5_000,
    }  # fmt: skip


def test_a_long_row_is_cut_unless_all_of_it_is_asked_for(world: World, job_id: int) -> None:
    leave_out(world, job_id, [Reject(1, "too long", "x" * 5_000)])
    assert world.run("rejects", "import-orders").out.splitlines()[1] == f"    {'x' * 999}…"
    assert world.run("rejects", "import-orders", "-v").out.splitlines()[1] == f"    {'x' * 5_000}"


def test_what_a_row_says_is_shown_and_never_obeyed(world: World, job_id: int) -> None:
    leave_out(world, job_id, [Reject(1, "bad\x1b[31m", "\x1b]0;owned\x07\r\u202e")], source="in/\x9b1.csv")
    for arguments in ([], ["-o", "json"], ["-v"]):
        out = world.run("rejects", "import-orders", *arguments).out
        assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(out)
    assert "in/\\x9b1.csv:1: bad\\x1b[31m" in world.run("rejects", "import-orders").out


def test_a_damaged_line_is_shown_as_it_is_and_hides_none_of_the_others(world: World, job_id: int) -> None:
    name = leave_out(world, job_id, [Reject(1, "bad", "1")])
    path = world.state / "data" / name
    path.write_bytes(b'{"source": "in\n[1]\n' + b"[" * 100_000 + b"\n\xff\n" + path.read_bytes())
    out = world.run("rejects", "import-orders").out.splitlines()
    assert [line for line in out if line.startswith("run")] == [
        *["run 1, unit 1: this line of the rejects file is damaged"] * 4,
        "run 1, unit 1: in/1.csv:1: bad",
    ]


def test_a_file_that_is_gone_is_named_and_the_others_are_shown(world: World, job_id: int) -> None:
    leave_out(world, job_id, [Reject(1, "old", "")])
    gone = leave_out(world, job_id, [Reject(1, "new", "")])
    (world.state / "data" / gone).unlink()
    ended = world.run("rejects", "import-orders")
    assert ended.out == "run 1, unit 1: in/1.csv:1: old\n"
    assert ended.err == f"jobs.d/.reconciler/data/{gone} is not there any more.\n"
    assert ended.code == 0


def test_a_file_that_cannot_be_read_is_an_error(world: World, job_id: int) -> None:
    name = leave_out(world, job_id, [Reject(1, "old", "")])
    path = world.state / "data" / name
    path.unlink()
    path.mkdir()
    ended = world.run("rejects", "import-orders")
    assert (ended.code, ended.err) == (1, f"Error: jobs.d/.reconciler/data/{name} cannot be read: Is a directory\n")


def test_a_job_that_left_nothing_out_says_so(world: World, job_id: int) -> None:
    ended = world.run("rejects", "import-orders")
    assert (ended.code, ended.out) == (0, "import-orders has left nothing out in the runs that are kept.\n")
    assert world.run("rejects", "import-orders", "-o", "json").out == ""
    assert world.run("rejects", "import").code == 2


def test_what_the_data_hands_keep_is_what_is_listed(world: World, job_id: int) -> None:
    """The file is that of a real import, not one that this test made up."""
    world.write("stream.yaml", "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: s}\nspec: {}\n")
    world.write("in/1.csv", "id,n\n1,2\n3\n")
    world.write(
        "job.yaml",
        "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: import-s}\nspec:\n  provider: files\n"
        "  jobType: import-csv\n  config: {path: 'in/*.csv', stream: s, maxRejects: 5}\n",
    )
    world.run()
    ended = world.run("rejects", "import-s")
    first, text = ended.out.splitlines()
    assert first.startswith("run 1, unit 1: in/1.csv:3: ")
    assert text == "    3"


def test_of_an_export_of_an_audience_it_is_whom_the_ledger_omits_with_what_was_kept_of_them_last() -> None:
    def kept(run: int, member: str, reason: str) -> dict[str, object]:
        text = json.dumps({"member": member, "fields": {"n": run}})
        return {"run": run, "unit": 1, "source": "all", "line": 4, "reason": reason, "text": text}

    def left_out(since: int) -> list[tuple[object, ...]]:
        rejects = iter([kept(9, "d", "bad 9"), kept(8, "a", "bad 8"), kept(7, "a", "bad 7"), kept(7, "b", "bad 7")])
        now = Omitted(
            audience="all",
            members=(
                OmittedMember(member="a", reason="bad 8", run=8, fields=""),
                OmittedMember(member="c", reason="no email", run=2, fields='{"n":2}'),
            ),
            since=since,
        )
        return [(one["run"], one["reason"], one["text"]) for one in of_members(now, rejects)]

    held = [
        (8, "bad 8", '{"member": "a", "fields": {"n": 8}}'),
        (2, "no email", '{"member":"c","fields":{"n":2}}'),
    ]
    assert left_out(0) == held, "not whoever was sent since, nor anybody twice; whoever was omitted long ago"
    assert left_out(9) == [(9, "bad 9", '{"member": "d", "fields": {"n": 9}}'), *held], (
        "and what the plan at hand has left out"
    )
