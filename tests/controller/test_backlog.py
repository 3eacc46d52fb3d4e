"""Profiles while a backfill adds to their streams: no run that wants them waits for much of what is old."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Now
from reconciler.controller.building import FIRST_BUILD, Builder
from reconciler.controller.loop import Controller
from reconciler.controller.settings import Silent
from reconciler.core.document import Document
from reconciler.core.messages import Exited, FromRun, Order, Produced, Reply, Wanted
from reconciler.core.profile import ProfileSet, profile_rules, rules_digest
from reconciler.core.provider import Staged, Unit
from reconciler.core.state import Status
from reconciler.data.engine import workspace
from reconciler.data.profiles.read import ProfileReader
from reconciler.record.events import Event
from reconciler.record.resources import By
from reconciler.record.store import Record
from tests.controller.conftest import STREAM, Shop

PEOPLE = STREAM.replace("spec: {}", "spec:\n  identity: [{key: email, from: email}]")
SPEC = {"identity": [{"key": "email", "from": "email"}]}


class Watcher(Silent):
    """Notes with the events of a job how many messages wait to be built, and ends the daemon when it has seen enough."""

    def __init__(self, state: Path, *, until: str) -> None:
        self.state = state
        self.until = until
        self.backlogs: dict[str, int] = {}

    def event(self, event: Event) -> None:
        if event.event in ("Synced", "Completed"):
            with Record.reading(self.state) as record:
                built = record.profiles.current().built.get("orders", 0)
                self.backlogs[event.event] = record.streams.ends()["orders"] - built
        if event.event == self.until:
            os.kill(os.getpid(), signal.SIGTERM)


def watch(shop: Shop, until: str) -> Watcher:
    """A daemon, until a job's log says so."""
    watcher = Watcher(shop.world.state, until=until)
    with Record.writing(shop.world.state) as record:
        hands = replace(shop.world._hands(record), listener=watcher)
        assert Controller(hands).watch() == 0
        while shop.world.runner.active():
            shop.world.runner.messages(1.0)
    return watcher


@pytest.fixture
def people(shop: Shop) -> Shop:
    """Two messages that say something of people, and a limit of one."""
    (shop.root / "stream.yaml").write_text(PEOPLE)
    (shop.root / "in" / "1.csv").write_text("email,amount\na@x.org,1\nb@x.org,2\n")
    shop.world.settings = {"max_backlog": 1}
    return shop


def test_a_backfill_goes_on_only_once_its_messages_have_become_profiles(people: Shop) -> None:
    people.job(lane="backfill")
    assert watch(people, "Completed").backlogs == {"Synced": 2, "Completed": 0}


def test_a_backfill_that_pauses_ends_with_its_daemon_and_is_not_killed(people: Shop) -> None:
    people.job(lane="backfill")
    assert watch(people, "Synced").backlogs["Synced"] == 2
    people.go()
    assert people.row().state.status is Status.COMPLETED
    assert people.row().totals.rows == 2
    assert "Error" not in people.events()


def test_in_a_pass_which_builds_at_its_end_nothing_pauses(people: Shop) -> None:
    people.job(lane="backfill")
    people.go()
    assert people.row().state.status is Status.COMPLETED
    assert people.read(lambda record: record.profiles.current().built) == {"orders": 2}


# --- how far a build goes -------------------------------------------------------------------------------------------


class Orders:
    """A runner that is given orders, and does nothing."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.killed: list[int] = []

    def start(self, order: Order) -> None:
        self.orders.append(order)

    def prepare(self) -> None:
        """There is nothing to make ready."""

    def make_ahead(self) -> None:
        """Nor here."""

    def answer(self, run: int, accepted: bool, value: Any = None, refusal: str = "") -> None:
        raise AssertionError("the builder gives its answers to the controller")

    def stop(self, run: int) -> None:
        raise AssertionError("a build is not stopped")

    def kill(self, run: int) -> None:
        self.killed.append(run)

    def active(self) -> tuple[int, ...]:
        return ()

    def fileno(self) -> int:
        raise AssertionError("nobody listens")

    def messages(self, timeout_s: float) -> Sequence[FromRun]:
        return ()

    def close(self) -> None:
        pass


class Site:
    """A builder over a real record with one stream of people."""

    def __init__(self, shop: Shop, record: Record) -> None:
        self.record = record
        self.runner = Orders()
        hands = replace(shop.world._hands(record), runner=self.runner)
        self.builder = Builder(hands)
        self.digest = rules_digest(profile_rules([("orders", SPEC)]))
        self.now = Now(1_000, 1_000)
        record.resources.create(Document(kind="Stream", name="orders", path="a.yaml", spec=SPEC), By(author=""), 1)

    def add(self, rows: int) -> None:
        """So many messages land on the stream."""
        file = f"streams/orders/a-1-1-1-{self.record.streams.ends().get('orders', 0)}.parquet"
        with self.record.transaction():
            self.record.streams.append([Staged(stream="orders", file=file, rows=rows, size=1, schema="s")], 1)
        self.builder.grown()

    def finish(self) -> list[Reply]:
        """The build at work has made what it was asked for, and its process is gone."""
        order = self.runner.orders[-1]
        made = ProfileSet(build=order.config["build"], rules=self.digest, built=order.config["stops"], facts={})
        unit = Unit(cursor={**asdict(made), "files": [], "audiences": {}}, moved=False)
        with self.record.transaction():
            replies = self.builder.take(Produced(order.run, 1, unit), self.now)
            exited = Exited(run=order.run, attempt=1, pid=1, exit_code=0, signal=None, peak_kib=1, cpu_s=0.0)
            return [*replies, *self.builder.take(exited, self.now)]

    def die(self) -> list[Reply]:
        """The process of the build at work is gone before it made anything."""
        run = self.runner.orders[-1].run
        exited = Exited(run=run, attempt=1, pid=1, exit_code=None, signal=9, peak_kib=1, cpu_s=0.0)
        return self.builder.take(exited, self.now)

    @property
    def asked(self) -> list[tuple[int, str]]:
        """How far each build was to go, and its lane."""
        return [(order.config["stops"]["orders"], order.lane) for order in self.runner.orders]


@pytest.fixture
def site(shop: Shop) -> Any:
    with Record.writing(shop.world.state) as record:
        yield Site(shop, record)


def test_a_build_goes_as_far_as_those_need_who_wait_whatever_a_backfill_adds_meanwhile(site: Site) -> None:
    site.add(5)
    assert site.builder.want(Wanted(1, 1), site.now) == []
    site.add(3)
    assert site.builder.want(Wanted(2, 1), site.now) == []
    site.add(100)
    assert [reply.run for reply in site.finish()] == [FIRST_BUILD + 1, 1]
    assert [reply.run for reply in site.finish()] == [FIRST_BUILD + 2, 2]
    assert site.asked == [(5, "live"), (8, "live")]


def test_what_is_left_is_built_when_nobody_waits_and_gives_way_to_runs(site: Site) -> None:
    site.add(5)
    site.builder.want(Wanted(1, 1), site.now)
    site.add(100)
    site.finish()
    site.builder.keep(site.now)
    assert site.asked == [(5, "live"), (105, "backfill")]


def test_a_build_that_gives_way_to_runs_makes_room_for_another_once_one_of_them_waits_for_it(site: Site) -> None:
    site.add(5)
    site.builder.keep(site.now)
    site.finish()
    site.add(3)
    site.builder.keep(Now(100_000, 100_000))
    for run in (1, 2):
        assert site.builder.want(Wanted(run, 1), site.now) == []
    assert site.runner.killed == [FIRST_BUILD + 2]
    assert site.die() == []
    assert site.builder.failure == ""
    assert site.asked == [(5, "live"), (8, "backfill"), (8, "live")]
    assert [reply.run for reply in site.finish()] == [FIRST_BUILD + 3, 1, 2]


def test_a_build_that_has_made_its_profiles_before_it_was_killed_counts(site: Site) -> None:
    site.add(5)
    site.builder.keep(site.now)
    site.finish()
    site.add(3)
    site.builder.keep(Now(100_000, 100_000))
    site.builder.want(Wanted(1, 1), site.now)
    assert [reply.run for reply in site.finish()] == [FIRST_BUILD + 2, 1]
    assert site.asked == [(5, "live"), (8, "backfill")]


def test_the_first_build_and_one_that_a_person_asks_for_give_way_to_nobody(site: Site) -> None:
    site.add(5)
    site.builder.keep(site.now)
    site.finish()
    site.builder.rebuild(site.now)
    assert site.asked == [(5, "live"), (5, "live")]
    assert site.runner.orders[-1].config["base"]["build"] == 0


def test_the_background_builds_at_once_when_a_backfill_has_added_half_of_what_may_wait(site: Site) -> None:
    site.add(5)
    site.builder.keep(site.now)
    site.finish()
    half = site.builder.hands.settings.max_backlog // 2
    site.add(half)
    site.builder.keep(site.now, backfilling=True)
    assert len(site.asked) == 1
    site.add(1)
    site.builder.keep(site.now)
    assert len(site.asked) == 1
    site.builder.keep(site.now, backfilling=True)
    assert site.asked[1:] == [(5 + half + 1, "backfill")]


def test_a_backlog_over_the_limit_crowds_and_one_that_cannot_be_built_does_not(site: Site) -> None:
    limit = site.builder.hands.settings.max_backlog
    site.add(limit)
    assert not site.builder.is_crowded()
    site.add(1)
    assert site.builder.is_crowded()
    site.builder.keep(site.now)
    order = site.runner.orders[-1]
    exited = Exited(run=order.run, attempt=1, pid=1, exit_code=1, signal=None, peak_kib=1, cpu_s=0.0)
    site.builder.take(exited, site.now)
    assert site.builder.failure == "the build's process ended by itself"
    assert not site.builder.is_crowded()


# --- what counts ----------------------------------------------------------------------------------------------------


def test_of_two_values_the_newer_one_counts_whatever_arrives_last(shop: Shop) -> None:
    (shop.root / "stream.yaml").write_text(PEOPLE + "  attributes: {city: {from: city}}\n")
    (shop.root / "in" / "1.csv").write_text("email,city,at\na@x.org,Rome,2026-01-01\n")
    (shop.root / "in" / "2.csv").write_text("email,city,at\na@x.org,Oslo,2019-01-01\n")
    for name, file, lane in (("new", 1, "live"), ("old", 2, "backfill")):
        config = f"{{path: in/{file}.csv, stream: orders, timestampField: at}}"
        shop.job(name, lane=lane, config=config, dependsOn="[new]" if name == "old" else None)
    shop.go()
    rules = profile_rules([("orders", {**SPEC, "attributes": {"city": {"from": "city"}}})])
    current = shop.read(lambda record: record.profiles.current())
    data = shop.world.state / "data"
    with workspace(data, memory_mb=256) as connection:
        found = ProfileReader(data, current, rules).lookup(connection, "email", "a@x.org")
    assert found is not None
    assert (found.messages, found.attributes) == (2, {"city": "Rome"})
