"""A real daemon that mirrors an audience, killed with SIGKILL at random moments, to a destination that refuses, times out,
answers late and loses answers.

`RECONCILE_SCHEDULES=200 pytest -s tests/end_to_end/test_mirror_killed.py` is the long form; the seed is printed, and
taken from `RECONCILE_SEED` where given.
"""

from __future__ import annotations

import json
import os
import random
import threading
from pathlib import Path

import pytest

from tests.end_to_end.daemon import PATIENCE_S, Daemon, jobs, reconcile
from tests.end_to_end.membership import Destination, Message, People, address, audience
from tests.end_to_end.world import is_sound, positions_are_dense, rows_of
from tests.servers import Server, serving

SCHEDULES = int(os.environ.get("RECONCILE_SCHEDULES", "6"))
SEED = int(os.environ.get("RECONCILE_SEED", str(random.SystemRandom().randrange(1_000_000))))

JOB = "people-to-receiver"
LIMIT = 50
PEOPLE = 600
#: These addresses are never taken.
REFUSED = frozenset(range(0, PEOPLE, 29))

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: people}
spec:
  columns: {score: integer, at: timestamp}
  timestamp: {field: at}
  identity:
    - {key: email, from: email, normalize: [trim, lower]}
    - {key: user, from: user}
  attributes:
    score: {from: score}
    visits: {merge: count}
---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: keen}
spec: {where: "score >= 50"}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-people}
spec:
  provider: files
  jobType: import-ndjson
  schedule: {continuous: true}
  retry: {initial: 200ms, max: 1s}
  config: {path: "in/people-*.ndjson", stream: people}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: people-to-receiver}
spec:
  provider: http
  jobType: export-audience
  schedule: {continuous: true}
  retry: {initial: RETRY, max: 1s, factor: 1}
  config:
    audience: keen
    url: "URL/members"
    batchSize: 5
    timeoutSeconds: 1
    allowPrivateAddresses: true
    errors: {path: errors}
    guard: GUARD
    fields:
      email: {from: email}
      score: {from: score}
      visits: {from: visits}
"""
ID = "(SELECT id FROM resource WHERE kind = 'Job' AND name = ?)"
WIDE_OPEN = "{maxRemovePercent: 100, maxAddPercent: 1000000, emptyAudience: allow}"


class Site:
    """A root with the specs and what has come in."""

    def __init__(self, root: Path, receiver: Server, *, guard: str, retry: str) -> None:
        (root / "in").mkdir(parents=True)
        specs = SPECS.replace("URL", receiver.url).replace("GUARD", guard).replace("RETRY", retry)
        (root / "jobs.yaml").write_text(specs)
        self.root = root
        self.state = root / ".reconciler"
        self._files = 0

    def come_in(self, messages: list[Message]) -> None:
        self._files += 1
        name = f"people-{self._files:05d}.ndjson"
        beside = self.root / "in" / f".{name}"
        beside.write_text("".join(f"{json.dumps(one)}\n" for one in messages))
        beside.rename(beside.with_name(name))

    def has_record(self) -> bool:
        return (self.state / "record.db").exists()

    def has_open(self) -> bool:
        return bool(rows_of(self.state, "SELECT 1 FROM intent"))

    def is_at_work(self) -> bool:
        return bool(rows_of(self.state, f"SELECT 1 FROM run WHERE live = 1 AND job = {ID}", JOB))

    def facts(self) -> dict[str, int]:
        ((cursor,),) = rows_of(self.state, f"SELECT cursor FROM job WHERE id = {ID}", JOB)
        facts: dict[str, int] = json.loads(cursor)["ledger"]["facts"]
        return facts


def is_quiet(daemon: Daemon) -> bool:
    """Waits for the daemon's next line; whether there is none for a while."""
    try:
        daemon.wait_until(lambda _: True, patience_s=1)
    except AssertionError:
        assert daemon.process.poll() is None, "\n".join(daemon.lines[-30:])
        return True
    return False


def kill_after_lines(daemon: Daemon, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 40)):
        if is_quiet(daemon):
            break
    threading.Event().wait(rng.random() * 0.1)
    daemon.kill()


def kill_after_request(daemon: Daemon, destination: Destination, rng: random.Random) -> None:
    """While one of the next requests is carried out, or shortly after."""
    left, arrived = rng.randint(1, 8), threading.Event()

    def alarm() -> None:
        nonlocal left
        left -= 1
        if not left:
            arrived.set()

    destination.alarm = alarm
    arrived.wait(15)
    threading.Event().wait(rng.choice([0, 0, rng.random() * 0.02]))
    daemon.kill()


def kill_before_answer(daemon: Daemon, destination: Destination) -> None:
    """At the next request, which is carried out only after that."""
    arrived, killed = threading.Event(), threading.Event()

    def alarm() -> None:
        arrived.set()
        killed.wait(PATIENCE_S)

    destination.alarm = alarm
    assert arrived.wait(PATIENCE_S), "\n".join(daemon.lines[-30:])
    daemon.kill()
    destination.alarm = lambda: None
    killed.set()


@pytest.mark.kill
@pytest.mark.timeout(3_600)
def test_the_membership_is_the_audience_whatever_is_killed_refused_lost_or_late(tmp_path: Path) -> None:
    print(f"seed {SEED}, {SCHEDULES} schedules")
    rng = random.Random(SEED)
    people = People(rng, PEOPLE, REFUSED)
    destination = Destination(random.Random(SEED + 1), people.refused)
    open_runs = open_batches = 0
    with serving(destination) as receiver:
        site = Site(tmp_path / "jobs", receiver, guard=WIDE_OPEN, retry="50ms")
        for number in range(SCHEDULES):
            for _ in range(rng.randint(1, 3)):
                site.come_in(people.speak(rng.randint(20, 120)))
            site.come_in([people.arrive()])
            with Daemon(site.root) as daemon:
                if number % 2:
                    kill_after_lines(daemon, rng)
                elif number % 4:
                    kill_after_request(daemon, destination, rng)
                else:
                    kill_before_answer(daemon, destination)
                    assert site.has_open()
            if site.has_record():
                open_runs += site.is_at_work()
                open_batches += site.has_open()
                assert is_sound(site.state)
            assert destination.errors == []
        destination.is_calm = True
        receiver.release()
        wanted = list(audience(people.said, LIMIT))
        expected = {one["email"]: one for one in wanted if one["email"] not in {"", *people.refused}}
        with Daemon(site.root) as daemon:
            daemon.wait_for("Watching")
            while destination.members != expected or site.has_open():
                daemon.wait_for(JOB)
            assert daemon.terminate() == 0
        before = len(receiver.requests)
        ended = reconcile("--root", str(site.root))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert len(receiver.requests) == before

    print(f"{len(people.said)} messages, {len(expected)} members, {len(wanted)} with those who are omitted")
    print(f"killed with a run at work {open_runs} times, with batches open {open_batches} times")
    print(f"{len(receiver.requests)} requests, {len(destination.verdicts)} keys, {destination.repeated} came again")
    print(f"carried out: {dict(destination.carried_out)}; moods: {dict(destination.moods)}")
    assert destination.errors == []
    assert destination.members == expected
    assert positions_are_dense(site.state, "people")
    assert (site.facts()["sent"], site.facts()["out"]) == (len(expected), len(wanted) - len(expected))


def test_an_audience_that_shrinks_by_96_percent_sends_nothing_before_a_person_approves(tmp_path: Path) -> None:
    destination = Destination(random.Random(0), is_calm=True)
    with serving(destination) as receiver:
        site = Site(tmp_path / "jobs", receiver, guard="{}", retry="1s")
        site.come_in([{"email": address(number), "score": 80, "at": "2026-01-01T00:00:00Z"} for number in range(100)])
        with Daemon(site.root) as daemon:
            while len(destination.members) < 100 or site.has_open():
                daemon.wait_for(JOB)
            before = len(receiver.requests)
            site.come_in(
                [{"email": address(number), "score": 10, "at": "2026-01-02T00:00:00Z"} for number in range(96)]
            )
            held = daemon.wait_for(JOB, "the guard holds this run")
            assert "it would remove 96 members, 96 % of the 100 that were sent (guard.maxRemovePercent: 20)" in held
            assert "It would add 0, change 0 and remove 96. Nothing was sent" in held
            while jobs(site.root)[JOB]["reason"] != "AwaitingApproval":  # it looks again now and then
                assert daemon.process.poll() is None
            daemon.wait_for(JOB, "the guard holds this run")
            assert len(receiver.requests) == before
            approved = reconcile("approve", JOB, "--yes", "--root", str(site.root))
            assert approved.returncode == 0, approved.stderr
            while len(destination.members) > 4 or site.has_open():
                daemon.wait_for(JOB)
            assert daemon.terminate() == 0
    calls = [request.json for request in receiver.requests[before:]]
    assert {call["action"] for call in calls} == {"remove"}
    gone = [one["email"] for call in calls for one in call["members"]]
    assert sorted(gone) == sorted(address(number) for number in range(96))
    assert sorted(destination.members) == [address(number) for number in range(96, 100)]
    assert destination.errors == []
