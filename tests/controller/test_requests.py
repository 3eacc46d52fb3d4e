"""What a person asks of the controller: done once, by whoever writes the record, or not at all."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import select
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import Clock, Now, pause
from reconciler.controller.deeds import DEEDS, perform
from reconciler.controller.lives import Lives
from reconciler.controller.requests import (
    ANSWER_KEPT_MS,
    MAX_BYTES,
    Answer,
    Asked,
    Deed,
    Desk,
    Inbox,
    Request,
    ask,
)
from reconciler.core.state import JobState, Reason
from reconciler.errors import Blocked, Locked, ReconcileError, RecordUnusable, UsageError
from reconciler.providers import catalogue
from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.end_to_end.daemon import Daemon, command, environment, reconcile
from tests.servers import Play, serving

ME = getpass.getuser()


class Office:
    """A record that is held for writing, and an inbox beside it whose deeds are noted."""

    def __init__(self, record: Record, state: Path) -> None:
        self.state, self.folder = state, state / "requests"
        self.record = record
        self.done: list[tuple[str, str]] = []
        self.refusal: ReconcileError | None = None
        self.desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)

    @property
    def deeds(self) -> Mapping[str, Deed]:
        return {"note": self._note}

    def _note(self, desk: Desk, request: Request, now: Now) -> Answer:
        desk.record.set_setting("noted", request.text("what"))
        if self.refusal:
            raise self.refusal
        self.done.append((request.text("what"), request.by))
        return Answer(message="noted")

    def serve(self, now: Now | None = None) -> int:
        with Inbox(self.state, self.deeds) as inbox:
            return inbox.serve(self.desk, now or Clock().now())

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


NOTE = Request(do="note", arguments={"what": "this"})


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with Record.writing(tmp_path / "state") as record:
        yield Office(record, tmp_path / "state")


# --- one request ----------------------------------------------------------------------------------------------------


def test_a_request_is_done_once_and_answered(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    assert asked.answer() is None
    assert office.serve() == 1
    assert office.serve() == 0
    answer = asked.answer()
    assert answer is not None
    assert answer.checked().message == "noted"
    assert office.done == [("this", ME)]
    asked.close()
    assert office.names() == []


def test_requests_are_served_in_the_order_in_which_they_were_put(office: Office) -> None:
    asked = [Asked(office.state, replace(NOTE, arguments={"what": str(number)})) for number in range(5)]
    for number, path in enumerate(sorted(office.folder.glob("*.json"))):
        what = json.loads(path.read_text())["arguments"]["what"]
        os.utime(path, (1_000 + int(what), 1_000 + int(what)))
        assert number < 5
    office.serve()
    assert [what for what, _ in office.done] == ["0", "1", "2", "3", "4"]
    for one in asked:
        one.close()


def test_only_its_owner_can_read_what_is_asked_and_answered(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    (request,) = office.folder.glob("*.json")
    assert stat.S_IMODE(request.stat().st_mode) == 0o600
    assert stat.S_IMODE(office.folder.stat().st_mode) == 0o700
    office.serve()
    (answer,) = office.folder.glob("*.answer.json")
    assert stat.S_IMODE(answer.stat().st_mode) == 0o600
    asked.close()
    with Inbox(office.state, office.deeds):
        assert stat.S_IMODE((office.folder / "doorbell").stat().st_mode) == 0o600
    assert office.names() == []


def test_who_asks_is_the_owner_of_the_file_whatever_it_says(office: Office) -> None:
    asked = Asked(office.state, replace(NOTE, by="somebody else"))
    office.serve()
    assert office.done == [("this", ME)]
    asked.close()


def test_a_request_wakes_the_controller(office: Office) -> None:
    with Inbox(office.state, office.deeds) as inbox:
        assert select.select(inbox.fds, [], [], 0)[0] == []
        asked = Asked(office.state, NOTE)
        assert select.select(inbox.fds, [], [], 5)[0] == list(inbox.fds)
        assert inbox.serve(office.desk, Clock().now()) == 1
        assert select.select(inbox.fds, [], [], 0)[0] == []
        asked.close()


def test_where_no_doorbell_can_hang_requests_are_served_all_the_same(office: Office) -> None:
    (office.folder / "doorbell" / "in the way").mkdir(parents=True)
    with Inbox(office.state, office.deeds) as inbox:
        assert inbox.fds == ()
        asked = Asked(office.state, NOTE)
        assert inbox.serve(office.desk, Clock().now()) == 1
        asked.close()


def test_a_refused_request_leaves_nothing_in_the_record(office: Office) -> None:
    office.refusal = Blocked("it has changed since")
    asked = Asked(office.state, NOTE)
    office.serve()
    answer = asked.answer()
    assert answer is not None
    with pytest.raises(Blocked, match="it has changed since"):
        answer.checked()
    assert office.record.setting("noted") is None
    asked.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UsageError("no such thing"), UsageError),
        (Blocked("a guard"), Blocked),
        (ReconcileError("it went wrong"), ReconcileError),
    ],
)
def test_a_refusal_ends_the_command_as_if_it_had_been_made_there(
    office: Office, error: ReconcileError, expected: type[ReconcileError]
) -> None:
    office.refusal = error
    asked = Asked(office.state, NOTE)
    office.serve()
    answer = asked.answer()
    assert answer is not None
    with pytest.raises(expected) as raised:
        answer.checked()
    assert (type(raised.value), raised.value.exit_code) == (expected, error.exit_code)
    asked.close()


def test_a_record_that_cannot_be_written_is_no_refusal(office: Office) -> None:
    office.refusal = RecordUnusable("the disk is full")
    asked = Asked(office.state, NOTE)
    with pytest.raises(RecordUnusable):
        office.serve()
    assert asked.answer() is None
    asked.close()


def test_a_deed_is_told_what_the_request_lacks(office: Office) -> None:
    for arguments in ({}, {"what": ""}, {"what": 7}):
        asked = Asked(office.state, replace(NOTE, arguments=arguments))
        office.serve()
        answer = asked.answer()
        assert answer == Answer(message="the request 'note' does not say its 'what'", code=2)
        asked.close()


def test_a_request_that_nobody_knows_is_refused_by_name(office: Office) -> None:
    asked = Asked(office.state, Request(do="fly"))
    office.serve()
    assert asked.answer() == Answer(message="this reconcile knows no request 'fly'", code=2)
    asked.close()


# --- those who are gone ---------------------------------------------------------------------------------------------


def test_a_request_whose_asker_is_gone_is_discarded_and_not_done(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    os.close(asked._fd)  # as the end of a process closes it
    assert office.serve() == 0
    assert office.done == []
    assert office.names() == []


def test_what_a_dying_controller_had_taken_is_done_by_the_next(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    (path,) = office.folder.glob("*.json")
    path.rename(path.with_suffix(".taken"))
    assert office.serve() == 1
    assert office.done == [("this", ME)]
    asked.close()
    assert office.names() == []


def test_an_answer_that_nobody_fetches_goes_after_an_hour(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    office.serve()
    os.close(asked._fd)
    (answer,) = office.folder.glob("*.answer.json")
    second, now = Asked(office.state, NOTE), Clock().now()
    office.serve(now)
    assert answer.exists()
    third = Asked(office.state, NOTE)
    office.serve(Now(wall_ms=now.wall_ms + ANSWER_KEPT_MS + 60_000, alive_ms=now.alive_ms))
    assert not answer.exists()
    second.close()
    third.close()


def test_a_request_that_was_taken_back_is_never_done(office: Office) -> None:
    asked = Asked(office.state, NOTE)
    assert asked.take_back()
    assert office.serve() == 0
    assert office.done == []
    asked.close()


# --- hostile files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[]", b"\xff\xfe", b'{"do": 1, "arguments": {}}', b'{"do": "note"}', b'{"do": "note", "arguments": []}',
        b"[" * 60_000, b" " * (MAX_BYTES + 1),
    ],
    ids=["empty", "cut off", "a list", "no text", "no name", "nothing to know", "arguments are a list", "deep", "too long"],
)  # fmt: skip
def test_a_request_that_cannot_be_read_is_refused(office: Office, text: bytes) -> None:
    asked = Asked(office.state, NOTE)
    (path,) = office.folder.glob("*.json")
    with path.open("r+b") as file:
        file.write(text)
        file.truncate(len(text))
    assert office.serve() == 1
    assert asked.answer() == Answer(message="the request cannot be read", code=2)
    assert office.done == []
    asked.close()


def test_what_is_no_file_is_not_obeyed_and_ends_nothing(office: Office, tmp_path: Path) -> None:
    asked = Asked(office.state, NOTE)
    (path,) = office.folder.glob("*.json")
    (office.folder / "link.json").symlink_to(path)
    os.mkfifo(office.folder / "pipe.json")
    (office.folder / "folder.json").mkdir()
    assert office.serve() == 1
    assert office.names() == sorted([path.name.replace(".json", ".answer.json"), "folder.json"])
    asked.close()


# --- with and without a controller ----------------------------------------------------------------------------------


def test_without_a_controller_the_asker_does_it_itself(tmp_path: Path) -> None:
    with Record.writing(tmp_path):
        pass
    assert ask(tmp_path, NOTE, lambda: Answer(message="done here")).checked().message == "done here"
    assert not (tmp_path / "requests").exists()


def test_when_a_controller_begins_just_then_it_is_asked(office: Office) -> None:
    """The lock may be taken between the look and the deed: the asker then asks."""
    served = threading.Event()
    refused: list[int] = []

    def alone() -> Answer:
        refused.append(1)
        raise Locked("another one")

    lock = office.state / "lock"
    pid = lock.read_text()
    lock.write_text("")  # taken, and not yet signed

    def patient() -> None:
        answers.append(ask(office.state, NOTE, alone, patience_s=20).checked().message)
        served.set()

    answers: list[str] = []
    thread = threading.Thread(target=patient)
    thread.start()
    while not refused:
        pause(0.001)
    lock.write_text(pid)
    with Inbox(office.state, office.deeds) as inbox:
        while not served.is_set():
            select.select(inbox.fds, [], [], 0.01)
            inbox.serve(office.desk, Clock().now())
    thread.join()
    assert answers == ["noted"]
    assert office.done == [("this", ME)]


def test_a_controller_that_does_not_answer_is_named_and_nothing_was_done(office: Office) -> None:
    with pytest.raises(Blocked) as blocked:
        ask(office.state, NOTE, lambda: Answer(message="never"), patience_s=0.1)
    assert str(blocked.value) == (
        f"the reconcile that is at work on {office.state} (pid {os.getpid()}) has not answered within 0.1 s; nothing was done"
    )
    assert office.names() == []
    assert office.serve() == 0


def test_a_controller_that_took_a_request_and_does_not_answer_may_have_done_it(office: Office) -> None:
    taken = threading.Event()

    def take() -> None:
        while not taken.is_set():
            for found in office.folder.glob("*.json"):
                with contextlib.suppress(FileNotFoundError):  # it was taken back meanwhile
                    found.rename(found.with_suffix(".taken"))
                    taken.set()
            pause(0.001)

    office.folder.mkdir()
    thread = threading.Thread(target=take)
    thread.start()
    patience_s, said = 0.5, "it was not taken in time"
    while not taken.is_set():  # a machine may be so busy that nobody takes it in time: then it is asked again
        with pytest.raises(Blocked) as blocked:
            ask(office.state, NOTE, lambda: Answer(message="never"), patience_s=patience_s)
        said, patience_s = str(blocked.value), 4 * patience_s
    thread.join()
    assert said.endswith("look whether it was done before you ask again")


class Step(NamedTuple):
    """What happens next, and to which request."""

    what: str
    which: int


steps = st.lists(
    st.builds(Step, st.sampled_from(["put", "serve", "die", "vanish", "take back"]), st.integers(0, 3)), max_size=14
)


@given(steps)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_happens_what_is_answered_was_done_and_what_was_taken_back_was_not(
    office: Office, story: list[Step]
) -> None:
    """Each asker puts its request once. A controller may die when it has taken one, an asker may vanish, or give up."""
    office.done.clear()
    asked: dict[int, Asked] = {}
    gone: set[int] = set()
    for what, which in story:
        match what:
            case "put" if which not in asked:
                asked[which] = Asked(office.state, replace(NOTE, arguments={"what": str(which)}))
            case "serve":
                office.serve()
            case "die":
                for path in [path for path in office.folder.glob("*.json") if "answer" not in path.name][:1]:
                    path.rename(path.with_suffix(".taken"))
            case "vanish" if which in asked and which not in gone:
                gone.add(which)
                os.close(asked[which]._fd)
            case "take back" if which in asked and which not in gone and asked[which].take_back():
                gone.add(which)
                assert str(which) not in [what for what, _ in office.done]
                asked[which].close()
                office.serve()
                assert str(which) not in [what for what, _ in office.done]
            case _:
                pass
    done_before = [what for what, _ in office.done]
    office.serve()
    done = [what for what, _ in office.done]
    assert len(done) == len(set(done))  # nothing that was answered is done again
    assert not {str(which) for which in gone} & set(done[len(done_before) :])
    for which in asked.keys() - gone:
        answer = asked[which].answer()
        assert answer is not None
        assert answer.checked().message == "noted"
        assert str(which) in done
        asked[which].close()
    for path in office.folder.glob("*.answer.json"):  # of those who vanished after they were served
        path.unlink()
    assert office.names() == []


# --- a real daemon --------------------------------------------------------------------------------------------------

SPECS = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-orders}
spec:
  provider: files
  jobType: import-csv
  schedule: {cron: "0 3 1 1 *"}
  config: {path: "in/*.csv", stream: orders}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose job waits for an approval of `d1`."""
    root = tmp_path / "jobs"
    root.mkdir()
    (root / "orders.yaml").write_text(SPECS)
    assert reconcile("--root", str(root)).returncode == 0
    with Record.writing(root / ".reconciler") as record:
        job = record.jobs.job("import-orders")
        assert job is not None
        record.approvals.ask(job.id, "d1", "removes 960 of 1,000 members", 1)
        held = replace(job.state, reason=Reason.AWAITING_APPROVAL, awaiting="removes 960 of 1,000 members")
        record.jobs.save_state(job.id, held, wake_at_ms=job.wake_at_ms)
    return root


def approvals(root: Path) -> tuple[str, ...]:
    with Record.reading(root / ".reconciler") as record:
        job = record.jobs.job("import-orders")
        assert job is not None
        return record.approvals.approved(job.id)


def state_of(root: Path) -> JobState:
    with Record.reading(root / ".reconciler") as record:
        job = record.jobs.job("import-orders")
        assert job is not None
        return job.state


def test_a_daemon_does_what_is_asked_and_logs_who_did(root: Path) -> None:
    with Daemon(root) as daemon:
        daemon.wait_for("Watching")
        assert (
            perform(root / ".reconciler", "approve", job="import-orders", digest="d1").message
            == "The difference d1 of 'import-orders' is approved."
        )
        daemon.wait_for("import-orders", "Approved", "difference d1", f"({ME})")
        assert daemon.terminate() == 0
    assert approvals(root) == ("d1",)
    assert state_of(root).awaiting is None
    assert f'event=Approved msg="difference d1" author={ME}' in (root / "import-orders.log").read_text()


def test_an_asker_goes_on_alone_when_the_daemon_dies_before_it_has_answered(root: Path) -> None:
    state = root / ".reconciler"
    with Daemon(root) as daemon:
        daemon.wait_for("Watching")
        os.kill(daemon.process.pid, signal.SIGSTOP)
        said: list[str] = []
        thread = threading.Thread(
            target=lambda: said.append(perform(state, "approve", job="import-orders", digest="d1").message)
        )
        thread.start()
        while not list((state / "requests").glob("*.json")):
            pause(0.001)
        assert approvals(root) == ()
        daemon.kill()
        thread.join(60)
    assert said == ["The difference d1 of 'import-orders' is approved."]
    assert approvals(root) == ("d1",)


def test_a_pass_answers_while_its_runs_are_at_work(root: Path) -> None:
    with serving([Play(body=b"[]", hold=True)]) as server:
        (root / "slow.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: slow}\nspec:\n  provider: http\n  jobType: import-json\n"
            f"  config: {{url: '{server.url}/', stream: orders, allowPrivateAddresses: true}}\n"
        )
        with subprocess.Popen(command("--root", str(root)), stdout=subprocess.DEVNULL, env=environment()) as a_pass:
            while not server.requests:
                pause(0.005)
            said = perform(root / ".reconciler", "approve", job="import-orders", digest="d1")
            assert said.message == "The difference d1 of 'import-orders' is approved."
            assert a_pass.poll() is None
            server.release()
            assert a_pass.wait(60) == 0
    assert approvals(root) == ("d1",)


def test_what_waited_of_a_job_that_was_deleted_can_be_approved_no_more_and_wakes_nobody(shop: Shop) -> None:
    shop.stay()
    spec = shop.job("orders", schedule="{every: 1h}")
    shop.go()
    job = shop.row("orders")
    spec.unlink()
    shop.go()
    with Record.writing(shop.world.state) as record:
        with record.transaction():
            record.deletions.undelete(job.id, "ann", 1)
            record.approvals.ask(job.id, "d1", "much", 1)
        desk = Desk(record=record, lives=Lives(record, lambda: 0.5), catalogue=catalogue)
        before = record.jobs.next_wake_ms()
        asked: dict[str, dict[str, str]] = {"approve": {"digest": "d1"}, "retry": {"what": "all"}}
        for name, arguments in asked.items():
            request = Request(do=name, arguments={"job": "orders", **arguments}, by="ann")
            with pytest.raises(UsageError, match="there is no job 'orders'"):
                DEEDS[name](desk, request, Clock(0).now())
        assert record.jobs.next_wake_ms() == before
