"""`reconcile rebuild`: all profiles anew, here or by the daemon, which goes on meanwhile."""

from __future__ import annotations

import threading

import pytest

from reconciler.record.store import Record
from tests.cli.conftest import World, job_text
from tests.end_to_end.daemon import Daemon

STREAM = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec:
  identity: [{key: email, from: email, normalize: [trim, lower]}]
  attributes: {orders: {merge: count}}
"""


@pytest.fixture
def shop(world: World) -> World:
    """Three messages of two people, landed and built once."""
    world.write("stream.yaml", STREAM)
    world.write("job.yaml", job_text("import-orders", schedule="{once: true}"))
    world.write("data/1.csv", "email,amount\nann@example.com,1\nbob@example.com,2\n ANN@example.com,3\n")
    assert world.run().code == 0
    return world


def build_of(world: World) -> tuple[int, int]:
    """The number of the build that serves, and its profiles."""
    with Record.reading(world.state) as record:
        built = record.profiles.current()
    return built.build, built.facts.get("profiles", 0)


def test_without_a_controller_the_command_builds_and_says_how_far_it_is(shop: World) -> None:
    before, _ = build_of(shop)
    ended = shop.run("rebuild")
    assert (ended.code, ended.out) == (0, "Built anew: 2 profiles.\n")
    assert "profiles: messages: 3 of 3" in ended.err
    assert "profiles: parts joined: 1 of 1\nprofiles: parts written: 0 of 2" in ended.err
    after, profiles = build_of(shop)
    assert after > before
    assert profiles == 2


def test_a_daemon_builds_when_asked_and_the_command_waits_for_it(shop: World) -> None:
    with Daemon(shop.root) as daemon:
        daemon.wait_for("Watching")
        before, _ = build_of(shop)
        ended = shop.run("rebuild", "orders")
        assert (ended.code, ended.out) == (0, "Built anew: 2 profiles.\n")
        assert ended.err == "All profiles are being built anew; the old ones serve meanwhile.\n"
        assert build_of(shop)[0] > before
        daemon.wait_for("profiles: messages: 3 of 3")
        assert daemon.terminate() == 0


def test_two_who_ask_at_once_are_both_served(shop: World) -> None:
    from reconciler.controller.deeds import perform

    with Daemon(shop.root) as daemon:
        daemon.wait_for("Watching")
        said: list[int] = []
        askers = [
            threading.Thread(target=lambda: said.append(perform(shop.state, "rebuild").facts["build"]))
            for _ in range(2)
        ]
        for one in askers:
            one.start()
        for one in askers:
            one.join(120)
        assert len(said) == 2
        assert shop.run("rebuild").code == 0
        assert build_of(shop)[0] >= max(said)
        assert daemon.terminate() == 0


def test_a_build_that_fails_is_an_error_with_its_reason_and_the_old_profiles_serve(shop: World) -> None:
    shop.run("rebuild")
    before = build_of(shop)
    (segment,) = (shop.state / "data" / "streams" / "orders").glob("*.parquet")
    segment.write_bytes(b"damaged")
    for daemon_at_work in (False, True):
        with Daemon(shop.root) if daemon_at_work else Record.reading(shop.state) as daemon:
            if isinstance(daemon, Daemon):
                daemon.wait_for("Watching")
            ended = shop.run("rebuild")
        assert ended.code == 1
        assert "profiles were not rebuilt: " in ended.err
        assert "damaged" in ended.err
        assert build_of(shop) == before


def test_a_stream_that_is_not_there_is_named_with_what_is_near(shop: World) -> None:
    ended = shop.run("rebuild", "order")
    assert (ended.code, ended.err) == (2, "Error: there is no stream 'order'; did you mean 'orders'?\n")
