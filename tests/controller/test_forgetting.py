"""Forgetting a person, end to end: out of messages, profiles, ledgers and rejects, out of every destination, and not back
again when the same messages arrive once more."""

from __future__ import annotations

import copy
import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reconciler.clock import Clock, pause
from reconciler.controller.deeds import forget as forget_deed
from reconciler.controller.deeds import retry, undelete
from reconciler.controller.forgets import Foreseen, foresee, outcomes
from reconciler.controller.forgetting import GONE
from reconciler.controller.lives import Lives
from reconciler.controller.loop import Controller
from reconciler.controller.requests import Desk, Request
from reconciler.controller.settings import Settings
from reconciler.core.forgotten import keyed_hash
from reconciler.core.prune import KEPT_MS
from reconciler.data.engine import workspace
from reconciler.data.profiles.read import ProfileReader
from reconciler.providers import catalogue
from reconciler.record.forgotten import ForgetRequest, Receipt
from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import Fuse, World
from tests.servers import Play, Server, serving
from tests.servers import Request as RequestOf

STREAM = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec:
  columns: {amount: integer}
  timestamp: {field: at, format: iso8601}
  identity:
    - {key: email, from: email, normalize: [trim, lower]}
    - {key: phone, from: phone}
  attributes:
    spent: {from: amount, merge: sum}
"""
IMPORT = """
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-orders}
spec:
  provider: files
  jobType: import-csv
  schedule: {continuous: true}
  config: {path: "in/*.csv", stream: orders, maxRejects: 100}
"""
AUDIENCE = """
apiVersion: reconciler/v1
kind: Audience
metadata: {name: everyone}
spec: {where: "true"}
"""
EXPORT = """
apiVersion: reconciler/v1
kind: Job
metadata: {name: crm}
spec:
  provider: http
  jobType: export-audience
  schedule: {afterDependencies: true}
  dependsOn: [import-orders]
  suspend: SUSPEND
  config:
    audience: everyone
    url: "URL/crm"
    allowPrivateAddresses: true
    mode: MODE
    guard: {maxRemovePercent: 100}
    fields: {email: {from: "key:email"}}
"""
ANN = ("ann@secret.example", "+49301234567")
FIRST = (
    "email,phone,amount,at\n"
    f" Ann@Secret.example ,,10,2026-01-01T00:00:00Z\n"
    "bob@x.com,111,20,2026-01-01T00:00:00Z\n"
    f"ann@secret.example,{ANN[1]},30,2026-01-02T00:00:00Z\n"
    "ann@secret.example,1,2,3,too many\n"
    f",{ANN[1]},40,2026-01-03T00:00:00Z\n"
    "carl@x.com,222,50,2026-01-01T00:00:00Z\n"
)


class Shop:
    """A root whose people can be forgotten."""

    def __init__(self, root: Path, runner: LocalRunner, receiver: Server, mode: str = "mirror") -> None:
        self.root, self.world = root, World(root, runner)
        self.receiver, self.mode = receiver, mode
        self.texts: dict[str, str] = {}  # written otherwise
        (root / "in").mkdir(parents=True)
        (root / "in" / "1.csv").write_text(FIRST)
        self.write()

    def write(self, *, suspend: bool = False) -> None:
        export = EXPORT.replace("URL", self.receiver.url).replace("MODE", self.mode)
        export = export.replace("SUSPEND", "true" if suspend else "false")
        text = "---".join([STREAM, IMPORT, AUDIENCE, export])
        for one, other in self.texts.items():
            text = text.replace(one, other)
        (self.root / "jobs.yaml").write_text(text)

    @property
    def state(self) -> Path:
        return self.world.state

    def go(self, fuse: Fuse | None = None) -> bool:
        """One pass, an hour after the last one."""
        self.world.ahead_ms += 3_600_000
        return self.world.live(fuse) is not None

    def ask(self, key: str = "email", value: str = "ANN@secret.example") -> str:
        with Record.writing(self.state) as record:
            desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
            request = Request(do="forget", arguments={"key": key, "value": value}, by="me")
            with record.transaction():
                return forget_deed(desk, request, Clock().now()).message

    def foreseen(self) -> Foreseen:
        """What `reconcile forget` says before it asks."""
        return foresee(Settings(root=self.root, state=self.state), "email", ANN[0], Clock().now())

    def release(self) -> None:
        """`reconcile rejects crm --release`."""
        with Record.writing(self.state) as record:
            desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
            with record.transaction():
                retry(desk, Request(do="retry", arguments={"job": "crm", "what": "all"}, by="me"), Clock().now())

    def requests(self) -> list[ForgetRequest]:
        with Record.reading(self.state) as record:
            return record.forgotten.requests()

    def receipts(self, request: int = 1) -> dict[tuple[str, str], Receipt]:
        with Record.reading(self.state) as record:
            return {(one.what, one.name): one for one in record.forgotten.receipts(request)}

    def waits(self) -> str:
        """Why the destination cannot remove anybody now."""
        with Record.reading(self.state) as record:
            (outcome,) = outcomes(record)
        return outcome.waits["crm"]

    def messages(self) -> list[tuple[int, str]]:
        from reconciler.data.stream import open_stream

        with Record.reading(self.state) as record:
            read = open_stream(self.state / "data", "orders", record.streams.segments("orders"))
        return [
            (first + index, json.loads(text)["amount"])
            for first, texts in read.json_messages(0, read.end)
            for index, text in enumerate(texts)
        ]

    def spent(self) -> dict[str, Any]:
        with Record.reading(self.state) as record:
            profiles, rules = record.profiles.current(), record.profiles.rules()
        data = self.state / "data"
        with workspace(data, memory_mb=256) as connection:
            sql = ProfileReader(data, profiles, rules).view_sql(["spent"], ["email"])
            rows = connection.execute(f"SELECT * EXCLUDE (id) FROM ({sql})").fetchall()
        return {(emails or ["?"])[0]: spent for emails, spent in rows}

    def sent(self) -> list[tuple[str, list[str]]]:
        bodies = [json.loads(one.body) for one in self.receiver.processed]
        return [(one["action"], sorted(member["email"] for member in one["members"])) for one in bodies]

    def traces(self, *needles: str) -> list[str]:
        """Files of the state directory that hold any of these, in their bytes or in their Parquet columns."""
        return sorted(
            str(path.relative_to(self.state))
            for path in self.state.rglob("*")
            if path.is_file() and any(needle.lower().encode() in content_of(path).lower() for needle in needles)
        )


def content_of(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(io.BytesIO(data))
        data += repr(table.to_pydict()).encode("utf-8", "surrogatepass")
    return data


@pytest.fixture
def shop(tmp_path: Path, runner: LocalRunner) -> Iterator[Shop]:
    with serving() as receiver:
        yield Shop(tmp_path / "jobs", runner, receiver)


def test_a_person_is_gone_from_everywhere_and_every_other_stays_as_before(shop: Shop) -> None:
    assert shop.go()
    assert shop.spent() == {"ann@secret.example": 80, "bob@x.com": 20, "carl@x.com": 50}
    foreseen = shop.foreseen()
    assert (foreseen.destinations, foreseen.noted) == (("crm",), ())
    assert shop.ask() == "Request 1 to forget is recorded."
    assert shop.go()
    (request,) = shop.requests()
    assert (request.step, request.known, request.by, request.work) == ("done", True, "me", None)
    assert shop.messages() == [(1, "20"), (4, "50")]
    assert shop.spent() == {"bob@x.com": 20, "carl@x.com": 50}
    receipts = shop.receipts()
    assert receipts["messages", "orders"].count == 3
    assert receipts["rejects", ""].count == 1
    assert receipts["profiles", ""].count == 1
    for _ in range(2):
        assert shop.go()
    assert shop.sent() == [
        ("add", ["ann@secret.example", "bob@x.com", "carl@x.com"]),
        ("remove", ["ann@secret.example"]),
    ]
    done = shop.receipts()["destination", "crm"]
    assert done.at_ms is not None
    with Record.reading(shop.state) as record:
        (job,) = record.jobs.jobs(["crm"])
        (remover,) = [one.id for one in record.runs.history(job.id, 10) if one.totals.removed]
    assert done.note == f"removed by run {remover}"
    assert done.members == ()
    assert all(one.at_ms for one in shop.receipts().values())
    assert shop.traces(*ANN) == []


@pytest.mark.parametrize("mode", ["add-only", "update-only"])
def test_a_destination_that_nobody_is_ever_removed_from_loses_who_is_forgotten(
    tmp_path: Path, runner: LocalRunner, mode: str
) -> None:
    with serving() as receiver:
        shop = Shop(tmp_path / "jobs", runner, receiver, mode)
        assert shop.go()
        shop.ask()
        for _ in range(3):
            assert shop.go()
        assert shop.sent()[1:] == [("remove", ["ann@secret.example"])]
        assert shop.receipts()["destination", "crm"].at_ms is not None
        assert shop.traces(*ANN) == []


def test_a_removal_that_may_have_arrived_and_must_not_be_repeated_waits_for_a_person(
    tmp_path: Path, runner: LocalRunner
) -> None:
    lost = [Play(status=500)]

    def answer(request: RequestOf) -> Play:
        return lost.pop() if lost and request.json["action"] == "remove" else Play()

    with serving(answer) as receiver:
        shop = Shop(tmp_path / "jobs", runner, receiver, "mirror\n    replay: {remove: unsafe}")
        assert shop.go()
        shop.ask()
        for _ in range(5):
            assert shop.go()
        asked = [json.loads(one.body)["action"] for one in receiver.requests]
        assert asked == ["add", "remove"], "it is not sent again by itself"
        assert shop.waits() == (
            "its next run removes the person, unless that may have happened before: then a person has to look, and "
            "`reconcile rejects crm --release` lets it be tried again"
        )
        assert any("rejects/crm" in one for one in shop.traces(*ANN)), "what may have arrived is listed"
        shop.release()
        for _ in range(3):
            assert shop.go()
        assert [json.loads(one.body)["action"] for one in receiver.requests] == ["add", "remove", "remove"]
        assert shop.receipts()["destination", "crm"].at_ms is not None
        assert shop.traces(*ANN) == []


@pytest.mark.parametrize("name", ["Ann", "Anna"])
def test_somebody_who_comes_back_before_the_destination_could_act_is_a_member_like_any_other(
    shop: Shop, name: str
) -> None:
    shop.texts = {
        "{from: amount, merge: sum}": "{from: name}",
        'fields: {email: {from: "key:email"}}': 'fields: {email: {from: "key:email"}, n: {from: spent}}',
    }
    (shop.root / "in" / "1.csv").write_text(
        f"email,name,at\n{ANN[0]},Ann,2026-01-01T00:00:00Z\nb@x,B,2026-01-01T00:00:00Z\n"
    )
    shop.write()
    assert shop.go()
    shop.write(suspend=True)
    assert shop.go()
    shop.ask()
    assert shop.go()
    (shop.root / "in" / "2.csv").write_text(f"email,name,at\n{ANN[0]},{name},2199-01-01T00:00:00Z\n")
    assert shop.go()
    shop.write()
    for _ in range(3):
        assert shop.go()
    assert shop.sent()[1:] == ([] if name == "Ann" else [("update", [ANN[0]])])
    done = shop.receipts()["destination", "crm"]
    assert done.at_ms is not None
    assert done.note.startswith("a member again, by messages from after the request alone, as of run ")
    assert shop.go(), "and the next run is one like any other"


def test_a_paused_destination_is_outstanding_until_it_has_removed_the_person(shop: Shop) -> None:
    assert shop.go()
    shop.write(suspend=True)
    assert shop.go()
    shop.ask()
    for _ in range(2):
        assert shop.go()
    assert shop.requests()[0].step == "done"
    assert shop.receipts()["destination", "crm"].at_ms is None
    assert all("jobs/crm" in one for one in shop.traces(*ANN))  # its ledger alone
    shop.write()
    for _ in range(3):
        assert shop.go()
    assert shop.receipts()["destination", "crm"].at_ms is not None
    assert shop.sent()[-1] == ("remove", ["ann@secret.example"])
    assert shop.traces(*ANN) == []


def test_a_destination_whose_job_is_gone_can_never_say_that_it_has_removed_anybody(shop: Shop) -> None:
    assert shop.go()
    shop.write(suspend=True)
    assert shop.go()
    shop.ask()
    assert shop.go()
    (shop.root / "jobs.yaml").write_text("---".join([STREAM, IMPORT, AUDIENCE]))
    assert shop.go()
    assert shop.receipts()["destination", "crm"].at_ms is None
    assert shop.waits().startswith("the job was deleted, and its ledger goes at ")
    assert shop.waits().endswith("; before that, `reconcile undelete crm`")
    shop.world.ahead_ms += KEPT_MS
    assert shop.go()
    assert shop.receipts()["destination", "crm"].note == GONE
    assert shop.traces(*ANN) == []


def test_a_destination_whose_job_begins_anew_meanwhile_was_not_told_by_the_new_one(shop: Shop) -> None:
    assert shop.go()
    text = (shop.root / "jobs.yaml").read_text()
    (shop.root / "jobs.yaml").write_text("---".join([STREAM, IMPORT, AUDIENCE]))
    assert shop.go()
    shop.ask()
    assert shop.go()
    (shop.root / "jobs.yaml").write_text(text)
    assert shop.go()
    assert shop.receipts()["destination", "crm"].note == GONE


def test_the_receipt_of_a_destination_that_was_never_sent_a_person_names_no_run_that_removed_them(shop: Shop) -> None:
    shop.texts["mode: mirror"] = "mode: add-only\n    backfill: false"
    shop.write()
    assert shop.go()
    foreseen = shop.foreseen()
    assert (foreseen.destinations, foreseen.noted) == ((), ("crm",))
    shop.ask()
    for _ in range(3):
        assert shop.go()
    assert shop.sent() == []
    assert shop.receipts()["destination", "crm"].note.endswith("; no removal was needed")


def test_the_receipt_of_a_destination_that_had_lost_a_person_before_names_no_run_that_removed_another_one(
    shop: Shop,
) -> None:
    assert shop.go()
    shop.texts['where: "true"'] = 'where: "spent < 60"'
    shop.write()
    for _ in range(2):
        assert shop.go()
    assert shop.foreseen().noted == ("crm",)
    shop.ask()
    (shop.root / "in" / "2.csv").write_text("email,phone,amount,at\nbob@x.com,,500,2026-01-01T00:00:00Z\n")
    for _ in range(3):
        assert shop.go()
    assert shop.sent()[1:] == [("remove", ["ann@secret.example"]), ("remove", ["bob@x.com"])]
    assert shop.receipts()["destination", "crm"].note.endswith("; no removal was needed")
    assert shop.traces(*ANN) == []


def test_a_destination_whose_job_is_undeleted_is_told_to_remove_whoever_was_forgotten_meanwhile(shop: Shop) -> None:
    assert shop.go()
    text = (shop.root / "jobs.yaml").read_text()
    (shop.root / "jobs.yaml").write_text("---".join([STREAM, IMPORT, AUDIENCE]))
    assert shop.go()
    shop.ask()
    assert shop.go()
    with Record.writing(shop.state) as record:
        desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
        with record.transaction():
            undelete(desk, Request(do="undelete", arguments={"job": "crm"}, by="Ada"), Clock().now())
    assert shop.waits() == "the job is undeleted; restore jobs.yaml"
    (shop.root / "jobs.yaml").write_text(text)
    assert shop.go()
    assert shop.receipts()["destination", "crm"].note.startswith("removed by run ")
    assert shop.traces(*ANN) == []


def test_messages_from_before_the_request_are_dropped_when_they_arrive_again_and_later_ones_are_kept(
    shop: Shop,
) -> None:
    assert shop.go()
    shop.ask()
    assert shop.go()
    later = "ann@secret.example,,7,2099-01-01T00:00:00Z\n"
    (shop.root / "in" / "2.csv").write_text(FIRST.replace("1,2,3,too many", "x,5,2026-01-01T00:00:00Z") + later)
    assert shop.go()
    assert shop.messages() == [(1, "20"), (4, "50"), (5, "20"), (6, "50"), (7, "7")]
    assert shop.spent() == {"bob@x.com": 40, "carl@x.com": 100, "ann@secret.example": 7}
    log = (shop.root / "import-orders.log").read_text()
    assert 'rows=3 added=0 removed=0 omitted=4 msg="4 messages were left out: forgotten"' in log
    assert "secret" not in log


def test_somebody_unknown_leaves_nothing_but_the_hash(shop: Shop) -> None:
    assert shop.go()
    shop.ask("email", "Zoe@x.com")
    assert shop.go()
    (request,) = shop.requests()
    assert (request.step, request.known) == ("done", False)
    assert shop.receipts() == {}
    with Record.reading(shop.state) as record:
        key = str(record.setting("secret_key"))
        assert keyed_hash(key, "email", "zoe@x.com") in record.forgotten.hashes()
    (shop.root / "in" / "2.csv").write_text("email,phone,amount,at\nzoe@x.com,,7,2026-01-01T00:00:00Z\n")
    assert shop.go()
    assert "7" not in [amount for _, amount in shop.messages()]
    assert shop.traces("zoe@x.com") == []


def test_the_same_request_twice_is_one_and_two_persons_go_together(shop: Shop) -> None:
    assert shop.go()
    assert shop.ask() == "Request 1 to forget is recorded."
    assert shop.ask() == "Request 1 to forget is under way."
    assert shop.ask("phone", "222") == "Request 2 to forget is recorded."
    assert shop.go()
    assert [one.step for one in shop.requests()] == ["done", "done"]
    assert shop.messages() == [(1, "20")]
    assert shop.receipts(1)["messages", "orders"].count == 3
    assert shop.receipts(2)["messages", "orders"].count == 1
    assert shop.spent() == {"bob@x.com": 20}


class Weighty(Fuse):
    """Burns down with those deeds alone that a step of forgetting is made of: before each is committed, and before each
    process is made or the record's file is written anew."""

    _open: str = ""

    def burn(self, name: str) -> None:
        if name in STEPS or name in ("runner.start", "record.forgotten.scrub"):
            self._open = name
        is_commit = name == "record.transaction: before the commit" and self._open in STEPS
        if is_commit or name in ("runner.start", "record.forgotten.scrub"):
            super().burn(f"{self._open} / {name}")
            self._open = ""


STEPS = {
    *(f"record.forgotten.{name}" for name in ("found", "note", "add_files", "advance", "blank", "finish")),
    *("record.streams.hollow", "record.profiles.swap"),
}


@pytest.mark.timeout(300)
def test_a_controller_that_dies_at_any_step_of_forgetting_is_followed_by_one_that_completes_it(
    tmp_path: Path, runner: LocalRunner
) -> None:
    with serving() as receiver:
        ready = Shop(tmp_path / "ready", runner, receiver)
        assert ready.go()
        ready.ask()
        number, came_through = 0, False
        while not came_through:
            number += 1
            root = tmp_path / str(number)
            shutil.copytree(ready.root, root, symlinks=True, ignore=shutil.ignore_patterns("doorbell"))
            world = World(root, runner, ahead_ms=ready.world.ahead_ms)
            fuse = Weighty(number)
            came_through = forgets(world, fuse)
            assert forgets(world)
            shop = copied(root, ready, world)
            try:
                assert shop.requests()[0].step == "done"
                assert shop.messages() == [(1, "20"), (4, "50")]
                assert shop.spent() == {"bob@x.com": 20, "carl@x.com": 50}
                assert shop.receipts()["messages", "orders"].count == 3
                assert shop.receipts()["destination", "crm"].at_ms is None
                assert all("jobs/crm" in one for one in shop.traces(*ANN))
            except AssertionError as error:
                raise AssertionError(f"died at deed {number}, {fuse.deeds[-1]}: {error}") from error
        assert number > 10


def copied(root: Path, ready: Shop, world: World) -> Shop:
    shop = copy.copy(ready)
    shop.root, shop.world = root, world
    return shop


def forgets(world: World, fuse: Fuse | None = None) -> bool:
    """One controller that only forgets; False where it died."""

    def deed(controller: Controller) -> bool:
        controller.forget()
        return True

    return world.act(deed, fuse) or False


PULL = """
apiVersion: reconciler/v1
kind: Job
metadata: {name: pull-orders}
spec:
  provider: http
  jobType: import-json
  config: {url: "URL/orders", stream: orders, allowPrivateAddresses: true}
"""


def test_what_a_run_brings_that_began_before_anybody_told_it_to_drop_goes_too(
    tmp_path: Path, runner: LocalRunner
) -> None:
    body = json.dumps([{"email": "ann@secret.example", "amount": "60", "at": "2026-01-05T00:00:00Z"}]).encode()
    with serving() as receiver, serving([Play(hold=True, body=body)]) as source:
        shop = Shop(tmp_path / "jobs", runner, receiver)
        assert shop.go()
        shop.ask()
        (shop.root / "pull.yaml").write_text(PULL.replace("URL", source.url))

        def release_once_scanned() -> None:
            while not shop.receipts():
                pause(0.05)
            source.release()

        helper = threading.Thread(target=release_once_scanned)
        helper.start()
        assert shop.go()
        helper.join()
        assert shop.requests()[0].step == "done"
        assert shop.receipts()["messages", "orders"].count == 4
        assert [amount for _, amount in shop.messages()] == ["20", "50"]
        assert all("jobs/crm" in one for one in shop.traces(*ANN))


def test_a_ledger_that_remembers_one_who_has_left_before_is_written_anew(shop: Shop) -> None:
    # So many that a base is not written anew when one of them goes.
    others = "".join(f"p{number}@x.com,{number},1,2026-01-01T00:00:00Z\n" for number in range(10, 30))
    (shop.root / "in" / "2.csv").write_text(f"email,phone,amount,at\n{others}")
    assert shop.go()
    only_rich = AUDIENCE.replace('"true"', '"spent < 60"')
    text = (shop.root / "jobs.yaml").read_text()
    (shop.root / "jobs.yaml").write_text(text.replace(AUDIENCE, only_rich))
    assert shop.go()  # ann has spent 80, and is removed
    assert shop.sent()[-1] == ("remove", ["ann@secret.example"])
    assert any("jobs/crm" in one for one in shop.traces(*ANN))
    shop.ask()
    for _ in range(3):
        assert shop.go()
    assert len(shop.sent()) == 2
    assert shop.receipts()["destination", "crm"].at_ms is not None
    assert shop.traces(*ANN) == []
