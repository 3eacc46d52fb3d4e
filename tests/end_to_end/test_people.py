"""Orders and customers in, profiles and an audience out, from the command line: what `examples/mirror` shows."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import entry
from tests.servers import Play, Request, Server, serving

EXAMPLE = Path(__file__).parents[2] / "examples" / "mirror"
JOB = "big-spenders-to-receiver"


class Shop:
    """A copy of the example, with a receiver of its own."""

    def __init__(self, root: Path, receiver: Server) -> None:
        self.root = root
        self.receiver = receiver
        shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns("out", ".reconciler", "*.status.yaml", "*.log"))
        self.edit("jobs.yaml", "http://127.0.0.1:9001/members", f"{receiver.url}/members")

    def edit(self, file: str, before: str, after: str) -> None:
        path = self.root / file
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))

    def order(self, *lines: str) -> None:
        with (self.root / "data" / "orders.csv").open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self.run("rerun", "import-orders")

    def run(self, *arguments: str, code: int = 0) -> str:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            ended = entry([*arguments, "--root", str(self.root)])
        assert ended == code, said.getvalue()
        return said.getvalue()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def sent(self) -> list[tuple[str, str]]:
        """Whom the receiver was told of since this was last asked: (action, first name)."""
        calls, self.receiver.processed = self.receiver.processed, []
        return sorted((call.json["action"], one["first_name"]) for call in calls for one in call.json["members"])


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with serving() as receiver:
        yield Shop(tmp_path / "mirror", receiver)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """One after a pass, for tests that only ask."""
    with serving() as receiver:
        shop = Shop(tmp_path_factory.mktemp("people") / "mirror", receiver)
        shop.run()
        yield shop


def test_one_order_sends_one_change(shop: Shop) -> None:
    shop.run()
    assert shop.sent() == [("add", "Ada"), ("add", "Barbara"), ("add", "Grace"), ("add", "Radia")]
    shop.order("1010,linus@example.org,3,1,800.00,2026-11-02T10:00:00Z")
    shop.run()
    assert shop.sent() == [("add", "Linus")]
    shop.order("1011,ada@example.org,1,1,0.50,2026-11-03T10:00:00Z")
    shop.run()
    assert shop.sent() == [("update", "Ada")]
    shop.run("rerun", JOB)
    assert "nothing new" in shop.run()
    assert shop.sent() == []


def test_an_audience_that_shrinks_is_not_mirrored_before_a_person_approves(shop: Shop) -> None:
    shop.run()
    shop.sent()
    own = shop.root / ".reconciler" / "data" / "jobs" / JOB
    before = sorted(own.iterdir())
    shop.edit("people.yaml", "spent > 1000 and consented", "spent > 1500")
    shop.run("rerun", JOB)
    assert "Sleeping" in shop.run()
    assert shop.sent() == []
    assert "3 members" in shop.run("why", JOB)
    status = (shop.root / f"{JOB}.status.yaml").read_text()
    assert "reason: AwaitingApproval" in status
    assert "it would remove 3 members, 75 % of the 4 that were sent" in status
    assert sorted(own.iterdir()) == before, "what was held back leaves no file"
    shop.run("approve", JOB, "--yes")
    shop.run()
    assert shop.sent() == [("add", "Margaret"), ("remove", "Ada"), ("remove", "Barbara"), ("remove", "Radia")]


def test_an_approval_is_of_one_difference_only(shop: Shop) -> None:
    shop.run()
    shop.sent()
    shop.edit("people.yaml", "spent > 1000 and consented", "spent > 1500")
    shop.run("rerun", JOB)
    shop.run()
    shop.run("approve", JOB, "--yes")
    shop.edit("people.yaml", "spent > 1500", "spent > 5000")
    shop.run()
    assert shop.sent() == []
    assert "the audience is empty now" in " ".join(shop.run("why", JOB).split())


def test_an_audience_says_its_size_and_masks_its_members(built: Shop) -> None:
    said = built.run("audience", "big-spenders")
    assert "Size           4 of 8 profiles" in said
    assert "email=a***@e***.org" in said
    assert "ada@" not in said
    assert "ada@example.org" in built.run("audience", "big-spenders", "--reveal")
    body = built.json("audience", "big-spenders", "--sample", "1")
    assert (body["size"], len(body["sample"]), body["messagesBehind"], body["nextChangeAt"]) == (4, 1, 0, None)
    assert [point["size"] for point in body["growth"]] == [4]


def test_an_audience_that_asks_for_the_present_says_when_it_next_changes(shop: Shop) -> None:
    shop.edit("people.yaml", "spent > 1000 and consented", "last_order_at > now() - interval 200 year")
    shop.run()
    body = shop.json("audience", "big-spenders")
    assert (body["size"], body["nextChangeAt"]) == (7, "2226-09-03T08:45:00.000Z")


def test_an_unknown_audience_is_answered_with_one_that_is_near(built: Shop) -> None:
    assert "there is no audience 'big-spender'; did you mean 'big-spenders'?" in built.run(
        "audience", "big-spender", code=2
    )


def test_a_profile_says_what_is_known_and_which_message_said_so(built: Shop) -> None:
    body = built.json("profile", "email= ADA@Example.org")
    assert [(one["key"], one["value"]) for one in body["identifiers"]] == [
        ("email", "ada@example.org"),
        ("user_id", "1"),
    ]
    assert (body["audiences"], body["messages"]) == (["big-spenders"], 3)
    spent, last = body["attributes"]["spent"], body["attributes"]["last_order_at"]
    assert (spent["value"], spent["merge"]) == ("1150.50", "sum")
    assert (last["value"], last["said"]["position"], last["said"]["job"]) == (
        "2026-09-14T16:30:00Z",
        1,
        "import-orders",
    )
    assert built.json("profile", f"id={body['aliases'][0]}")["id"] == body["id"]
    assert built.json("profile", f"id={body['id'][:12]}")["id"] == body["id"], "as `audience` shows it"
    assert "nobody is known by" in built.run("profile", f"id={body['id'][:11]}", code=2)
    text = built.run("profile", "user_id=1")
    assert "on orders at 1, by run 2 of import-orders, and 1 more" in text


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("mail=x", "no stream identifies people by 'mail'; known are email, user_id, id; did you mean 'email'?"),
        ("email=nobody@example.org", "nobody is known by email=nobody@example.org"),
        ("email", "expected KEY=VALUE such as email=ada@example.org, found 'email'"),
    ],
)
def test_who_is_not_known_is_said_plainly(built: Shop, who: str, said: str) -> None:
    assert said in built.run("profile", who, code=2)


def test_a_changed_stream_plans_a_rebuild_and_says_what_it_costs(shop: Shop) -> None:
    shop.run()
    shop.edit("people.yaml", "spent: {expr", "earned: {expr")
    shop.edit("people.yaml", "spent > 1000", "earned > 1000")
    shop.edit("jobs.yaml", "spent: {from: spent}", "spent: {from: earned}")
    body = shop.json("plan")
    assert body["rebuild"]["streams"] == ["customers", "orders"]
    assert (body["rebuild"]["messages"], body["rebuild"]["because"]) == (17, ["orders"])
    said = " ".join(shop.run("plan").split())
    assert "Profiles are built anew from 17 messages" in said
    assert "because of what orders says about people" in said
    shop.edit("people.yaml", "country: {from", "land: {from")
    assert "because of what customers and orders say about people" in " ".join(shop.run("plan").split())
    shop.run()
    assert "rebuild" not in shop.json("plan")
    assert shop.json("profile", "user_id=1")["attributes"]["earned"]["value"] == "1150.50"


def test_a_rebuild_changes_nothing_and_says_how_far_it_is(shop: Shop) -> None:
    shop.run()
    before = shop.json("profile", "user_id=3")
    assert "profiles" in shop.run("rebuild")
    after = shop.json("profile", "user_id=3")
    assert {**after, "builtAt": ""} == {**before, "builtAt": ""}


def test_a_plan_with_data_says_what_every_export_would_send(shop: Shop) -> None:
    assert shop.json("plan", "--data")["exports"] == [
        {"name": JOB, "audience": "big-spenders", "unknown": "nothing was imported yet"}
    ]
    shop.run()
    shop.sent()
    shop.edit("people.yaml", "spent > 1000 and consented", "spent > 1500")
    (export,) = shop.json("plan", "--data")["exports"]
    assert (export["add"], export["update"], export["remove"], export["requests"]) == (1, 0, 3, 2)
    assert "it would remove 3 members, 75 % of the 4 that were sent" in export["heldBy"][0]
    said = shop.run("plan", "--data")
    assert "add 1, change 0, remove 3 of big-spenders, in 2 requests" in said
    assert shop.sent() == []
    assert [path.name for path in (shop.root / ".reconciler" / "data").iterdir() if path.name.startswith(".")] == []
    assert "exports" not in shop.json("plan")


def test_why_says_of_one_person_whether_they_were_sent(shop: Shop) -> None:
    shop.run()
    assert "Sent and acknowledged; run 3" in shop.run("why", JOB, "--member", "email=ada@example.org")
    said = " ".join(shop.run("why", JOB, "--member", "user_id=4").split())
    assert "does not have this person: spent > 1000 and consented, and consented is false, spent is 2250.00." in said
    body = shop.json("why", JOB, "--member", "user_id=2")
    assert (body["code"], body["held"], body["isMember"], body["sent"]["first_name"]) == ("Sent", "sent", True, "Grace")
    assert "exports no audience" in shop.run("why", "import-orders", "--member", "user_id=2", code=2)


def test_of_a_batch_that_has_no_answer_why_says_so_and_then_what_became_of_it(tmp_path: Path) -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Play:
        asked.append(request)
        return Play(drop=len(asked) in (1, 3))

    with serving(answer) as receiver:
        shop = Shop(tmp_path / "mirror", receiver)
        shop.edit(
            "jobs.yaml",
            "allowPrivateAddresses: true",
            "batchSize: 1\n    replay: {add: unsafe}\n    allowPrivateAddresses: true",
        )
        shop.edit(
            "jobs.yaml",
            "schedule: {afterDependencies: true}",
            "schedule: {afterDependencies: true}\n  retry: {initial: 1ms, max: 1ms}",
        )
        for expected in (["NotYet", "NotYet", "NotYet", "UnderWay"], ["NotYet", "Sent", "UnderWay", "Unsure"]):
            shop.run(code=1)
            codes = [shop.json("why", JOB, "--member", f"user_id={number}")["code"] for number in (1, 2, 5, 7)]
            assert sorted(codes) == expected


def test_whoever_was_refused_is_listed_and_tried_again_when_asked(tmp_path: Path) -> None:
    strict = True

    def answer(request: Request) -> Play:
        grace = any(one["first_name"] == "Grace" for one in request.json["members"])
        return Play(status=422, body=b"no Grace here") if strict and grace else Play()

    with serving(answer) as receiver:
        shop = Shop(tmp_path / "mirror", receiver)
        shop.run()
        assert shop.sent() == [("add", "Ada"), ("add", "Barbara"), ("add", "Radia")]
        assert "answered 422: no Grace here" in shop.run("rejects", JOB)
        assert "Omitted by run 3: answered 422" in shop.run("why", JOB, "--member", "user_id=2")
        strict = False
        shop.run("rerun", JOB)
        shop.run()
        assert shop.sent() == []
        assert "tries again whoever was refused" in shop.run("rejects", JOB, "--retry")
        shop.run()
        assert shop.sent() == [("add", "Grace")]
        assert shop.run("rejects", JOB) == f"{JOB} leaves nobody out.\n"
        assert "can try nobody again" in shop.run("rejects", "import-orders", "--retry", code=5)


def test_nobody_else_may_read_what_is_kept_and_everybody_what_is_written_for_others(tmp_path: Path) -> None:
    with serving(lambda request: Play(status=422 if len(request.json["members"]) == 1 else 400)) as receiver:
        shop = Shop(tmp_path / "mirror", receiver)
        export = {
            "provider": "files",
            "jobType": "export-csv",
            "config": {"stream": "orders", "path": "out/orders.csv"},
        }
        document = {"apiVersion": "reconciler/v1", "kind": "Job", "metadata": {"name": "orders-out"}, "spec": export}
        (shop.root / "out.yaml").write_text(json.dumps(document | {"spec": export | {"dependsOn": ["import-orders"]}}))
        (shop.root.parent / "reconciler.yaml").write_text("slots: 2\n")
        (shop.root.parent / "policy.yaml").write_text("rules: []\n")
        before = os.umask(0o022)
        try:
            shop.run("--status-dir", str(shop.root / ".reconciler" / "status"))
        finally:
            os.umask(before)
    kept = {
        path: stat.S_IMODE(path.lstat().st_mode)
        for path in [shop.root / ".reconciler", *(shop.root / ".reconciler").rglob("*")]
    }
    assert {"rejects", "profiles", "streams", "jobs", "status", "cache"} <= {path.name for path in kept}
    assert {str(path): oct(mode) for path, mode in kept.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}
    assert oct(stat.S_IMODE((shop.root / "out" / "orders.csv").stat().st_mode)) == "0o644"


def test_an_export_follows_its_audience_when_the_moment_comes_at_which_that_changes_by_itself(shop: Shop) -> None:
    shop.edit("people.yaml", "spent > 1000 and consented", "last_order_at > now() - interval 200 year")
    shop.run()
    shop.sent()
    assert "nothing to run" in shop.run()
    why = " ".join(shop.run("why", JOB).split())
    assert "starts it, and so does its audience when it changes by itself: at 2226-09-03T08:45:00Z" in why
    with closing(sqlite3.connect(shop.root / ".reconciler" / "record.db")) as record, record:
        record.execute("UPDATE audience_size SET next_change_ms = 1")  # as if two hundred years had gone by
    assert f"{JOB}: nothing new" in shop.run()
    assert "nothing to run" in shop.run()


def test_a_unit_that_the_record_refuses_takes_no_file_of_the_ledger_with_it(shop: Shop) -> None:
    shop.run()
    shop.sent()
    database = shop.root / ".reconciler" / "record.db"

    def named() -> list[str]:
        with closing(sqlite3.connect(database)) as record:
            return [file for (file,) in record.execute("SELECT file FROM job_file ORDER BY file")]

    def change(statement: str) -> None:
        with closing(sqlite3.connect(database)) as record, record:
            record.execute(statement)

    before = named()
    shop.order(*(f"{1020 + user},,{user},1,2000.00,2026-11-02T10:00:00Z" for user in (3, 6, 8)))
    shop.edit("people.yaml", "spent > 1000 and consented", "spent > 1000")
    change(
        "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.message LIKE 'of % concerned: %' "
        "BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    assert "the record refused what the run produced" in shop.run(code=1)
    data = shop.root / ".reconciler" / "data"
    assert set(before) <= set(named())
    assert all((data / file).is_file() for file in named())
    change("DROP TRIGGER refuse")
    shop.run("rerun", JOB)
    shop.run()
    assert [action for action, _ in shop.sent()] == ["add"] * 4
    assert not set(before) & set(named())  # the deltas were heavy: a new base was written, and now the old one is gone
    assert sorted(path.relative_to(data).as_posix() for path in (data / "jobs").rglob("*.parquet")) == named()


def test_a_request_to_forget_is_not_done_while_a_destination_holds_the_person(shop: Shop) -> None:
    shop.run()
    shop.run("pause", JOB)
    asked = shop.run("forget", "email=ada@example.org", "--yes")
    assert re.search(r"^Request 1 of .*: done here \S+Z, outstanding at 1 destination$", asked, re.MULTILINE)
    shop.run()
    assert f"outstanding: the destination of '{JOB}': the job is paused" in shop.run("forget", "--list")
    shop.run("resume", JOB)
    shop.run("rerun", JOB)
    shop.run()
    listed = shop.run("forget", "--list")
    assert re.search(r"^Request 1 of .*: done \S+Z$", listed, re.MULTILINE)
    assert f"destination of '{JOB}': removed by run" in listed


def test_a_person_is_found_to_be_forgotten_though_a_stream_with_other_keys_was_archived(shop: Shop) -> None:
    visits = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: visits}\n"
    (shop.root / "visits.yaml").write_text(
        f"{visits}spec: {{identity: [{{key: cookie, from: cookie}}]}}\n---\n"
        "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: import-visits}\n"
        "spec: {provider: files, jobType: import-csv, config: {path: data/visits.csv, stream: visits}}\n"
    )
    (shop.root / "data" / "visits.csv").write_text("cookie\nc1\n")
    shop.run()
    (shop.root / "visits.yaml").unlink()
    shop.run()
    shop.run("forget", "email=ada@example.org", "--yes")
    assert "nobody is known by user_id=1" in shop.run("profile", "user_id=1", code=2)
    assert shop.json("profile", "user_id=2")["messages"] == 2
