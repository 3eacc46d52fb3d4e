"""`reconcile forget`: says what would go, asks, has it done here or by the daemon, and shows the receipts."""

from __future__ import annotations

import json
import re

import pytest

from reconciler.cli.forget import foretold
from reconciler.controller.forgets import Foreseen
from tests.cli.conftest import World, job_text
from tests.end_to_end.daemon import Daemon

STREAM = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec:
  identity: [{key: email, from: email, normalize: [trim, lower]}, {key: phone, from: phone}]
  attributes: {orders: {merge: count}}
"""
EXPORT = """\
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: orders-csv}
spec:
  provider: files
  jobType: export-csv
  suspend: true
  config: {stream: orders, path: out.csv}
"""


@pytest.fixture
def shop(world: World) -> World:
    """Three messages of two people, landed and built once."""
    world.write("stream.yaml", STREAM)
    world.write("job.yaml", job_text("import-orders", schedule="{once: true}") + EXPORT)
    world.write("data/1.csv", "email,phone\nann@example.com,1\nbob@example.com,2\n ANN@example.com,\n")
    assert world.run().code == 0
    return world


def untimed(text: str) -> str:
    return re.sub(r"of \S+, ", "of ME, ", re.sub(r"\d{4}-\d\d-\d\dT\S+Z", "TIME", text))


def test_without_a_yes_nothing_is_forgotten_and_what_would_go_is_said(shop: World) -> None:
    ended = shop.run("forget", "email=Ann@example.com")
    assert ended.code == 5
    assert ended.out == (
        "One profile with 3 identifiers would be forgotten:\n"
        "  2 messages of the stream 'orders' would go\n"
        "  what 'orders-csv' sent before cannot be called back\n"
    )
    assert "nothing was forgotten; --yes forgets them without asking" in ended.err
    assert shop.run("forget", "--list").out == "Nobody was to be forgotten yet.\n"


def test_without_a_controller_the_command_forgets_by_itself_and_shows_the_receipts(shop: World) -> None:
    ended = shop.run("forget", "phone=1", "--yes")
    assert ended.code == 0
    assert untimed(ended.out).splitlines()[3:] == [
        "Request 1 of ME, TIME: done TIME",
        "  messages: 2 gone from 'orders'",
        "  profiles: built anew without them",
        "  sent: what 'orders-csv' sent before cannot be called back",
    ]
    assert "request 1 to forget is carried out" in ended.err
    assert "ann@example.com" not in ended.out + ended.err
    listed = json.loads(shop.run("forget", "--list", "-o", "json").out)
    assert [(one["request"], one["step"], one["known"], one["outstanding"]) for one in listed] == [
        (1, "done", True, [])
    ]
    assert [(one["what"], one["name"], one["count"]) for one in listed[0]["receipts"]] == [
        ("messages", "orders", 2),
        ("profiles", "", 1),
        ("sent", "orders-csv", 0),
    ]
    assert all(one["doneAt"] for one in listed[0]["receipts"])


def test_somebody_who_is_not_known_is_forgotten_all_the_same(shop: World) -> None:
    ended = shop.run("forget", "email=zoe@example.com", "--yes")
    assert ended.code == 0
    assert untimed(ended.out) == (
        "Nobody is known by this identifier; it would be forgotten by itself:\n"
        "  no messages would go\n"
        "Request 1 of ME, TIME: done TIME\n"
        "  nobody was known; what arrives from before the request is dropped\n"
    )


def test_an_identifier_that_belongs_to_nobody_takes_every_message_that_carries_it_and_that_is_said_first(
    shop: World,
) -> None:
    shop.write("stream.yaml", STREAM.replace("from: phone", "from: phone, maxPerKey: 1"))
    shop.write("data/2.csv", "email,phone\nann@example.com,n/a\nbob@example.com,n/a\n")
    shop.run("rerun", "import-orders")
    assert shop.run().code == 0
    shop.run("rebuild")
    ended = shop.run("forget", "phone=n/a")
    assert ended.code == 5
    assert ended.out == (
        "Nobody is known by this identifier: it belongs to nobody (maxPerKey), or its messages are not built yet. "
        "It would be forgotten by itself, with every message that carries it, whoever else that speaks of:\n"
        "  2 messages of the stream 'orders' would go\n"
        "  what 'orders-csv' sent before cannot be called back\n"
    )


def test_a_daemon_carries_a_request_out_while_it_goes_on(shop: World) -> None:
    with Daemon(shop.root) as daemon:
        daemon.wait_for("Watching")
        ended = shop.run("forget", "email=ann@example.com", "--yes", "-o", "json")
        assert ended.code == 0
        assert json.loads(ended.out)["step"] == "done"
        daemon.wait_for("request 1 to forget is carried out")
        assert daemon.terminate() == 0


WRONG = {
    (): "expected KEY=VALUE, or --list",
    ("--list", "email=a"): "expected KEY=VALUE, or --list",
    ("ann",): "expected KEY=VALUE such as email=ada@example.org, found 'ann'",
    ("mail=ann@x.com",): "no stream identifies people by 'mail'; known are email, phone, id; did you mean 'email'?",
    ("id=0a",): "whom to forget is said by an identifier, KEY=VALUE; `reconcile profile id=...` shows them",
}


def test_a_wrong_call_is_refused(shop: World) -> None:
    for arguments, said in WRONG.items():
        ended = shop.run("forget", *arguments, "--yes")
        assert ended.code == 2
        assert said in ended.err


def test_a_person_may_be_named_by_an_identity_key_that_is_called_id(world: World) -> None:
    world.write("stream.yaml", STREAM.replace("key: phone, from: phone", "key: id, from: phone"))
    world.run()
    for who in ("id=1", "email=ann@example.com"):
        ended = world.run("profile", who)
        assert (ended.code, ended.err) == (2, f"Error: nobody is known by {who}; no profiles were built yet\n")
    world.write("job.yaml", job_text("import-orders", schedule="{once: true}"))
    world.write("data/1.csv", "email,phone\nann@example.com,1\nbob@example.com,2\n")
    world.run()
    found = json.loads(world.run("profile", "id=1", "-o", "json").out)
    assert [one["value"] for one in found["identifiers"]] == ["ann@example.com", "1"]
    assert json.loads(world.run("profile", f"id={found['id']}", "-o", "json").out) == found
    assert world.run("forget", "id=1", "--yes").code == 0
    assert "nobody is known by id=1" in world.run("profile", "id=1").err


def test_what_would_go_is_said_line_by_line() -> None:
    foreseen = Foreseen(
        known=True,
        identifiers=(("email", "a"),),
        messages={"visits": 1, "orders": 2000},
        destinations=("crm",),
        noted=("ads",),
        sent=(),
        unsearched=("raw", "signals"),
    )
    assert list(foretold(foreseen)) == [
        "One profile with 1 identifier would be forgotten:",
        "  2,000 messages of the stream 'orders' would go",
        "  1 message of the stream 'visits' would go",
        "  the destination of 'crm' would be told to remove them",
        "  the ledger of 'ads' names them; nothing that it sent of them is at its destination",
        "  not searched, for want of an identity: raw, signals",
    ]
