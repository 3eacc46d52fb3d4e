"""An upload that would add more than its stream takes unasked, as a person meets it: it waits, `plan` and `streams` say so,
`approve` lets exactly it in."""

from __future__ import annotations

import json
import re

import pytest

from reconciler.data.journal import INTAKE, Bulk, body_path, next_number, publish
from reconciler.record.store import Record
from tests.cli.conftest import STREAM, World, job_text

LIMITED = STREAM.replace("spec: {}", "spec: {backfill: {maxMessages: 2}}")


def upload(world: World, *rows: str, **more: str) -> None:
    """What the process that listens has accepted."""
    folder = world.state / INTAKE
    folder.mkdir(parents=True, exist_ok=True)
    number, body = next_number(folder), "\n".join(("n", *rows, "")).encode()
    body_path(folder, number).write_bytes(body)
    told = Bulk(stream="orders", format="csv", received_ms=5, size=len(body), messages=len(rows), **more)
    publish(folder, number, told)


def landed(world: World) -> int:
    with Record.reading(world.state) as record:
        return record.streams.counts("orders")[0]


def digests(world: World) -> list[str]:
    (found,) = json.loads(world.run("streams", "-o", "json").out)
    return [one["digest"] for one in found["waiting"]]


@pytest.fixture
def held(world: World) -> World:
    """An upload of three messages to a stream that takes two unasked, and one of two behind it."""
    world.write("orders.yaml", LIMITED)
    upload(world, "1", "2", "3")
    upload(world, "2020-01-01", "2020-01-02", timestamp_field="n")
    assert world.run().code == 0
    return world


def test_an_upload_over_the_limit_waits_and_holds_up_no_other(held: World) -> None:
    assert landed(held) == 2
    held.run()
    assert landed(held) == 2
    (digest,) = digests(held)
    assert held.run("streams").out.splitlines()[-1] == (
        "Waiting: an upload of 3 messages (0.0 MB) to stream orders waits for approval, because that is more than "
        f"backfill.maxMessages (2); `reconcile approve orders {digest}` puts it on the stream."
    )
    assert json.loads(held.run("streams", "-o", "json").out)[0]["waiting"] == [
        {"messages": 3, "bytes": 8, "digest": digest}
    ]


def test_the_plan_says_what_it_would_add(held: World) -> None:
    (digest,) = digests(held)
    assert held.run("plan").out == (
        "Backfills:\n"
        f"    upload {digest} adds 3 messages from 1 file (0.0 MB)\n"
        "    to stream orders, which grows by about 0.0 MB. Its messages have no time of\n"
        "    their own (neither timestamp_field nor the stream's timestamp is given), so\n"
        "    they count as newer than all that is there. It waits for approval, because\n"
        "    that is more than backfill.maxMessages (2); `reconcile approve orders\n"
        f"    {digest}` puts it on the stream.\n"
        "\n"
        "No changes. The record is what the specs declare.\n"
    )


def test_the_plan_as_json_holds_the_command(held: World) -> None:
    (digest,) = digests(held)
    (found,) = json.loads(held.run("plan", "-o", "json").out)["backfills"]
    assert (found["waitsForApproval"], found["approve"]) == (True, f"reconcile approve orders {digest}")


def test_why_says_that_an_upload_waits_and_how_it_is_approved(held: World) -> None:
    (digest,) = digests(held)
    words = "an upload of 3 messages (0.0 MB) to stream orders waits for approval, because that is more than backfill.maxMessages (2)"
    said = " ".join(held.run("why", "orders").out.split())
    assert re.fullmatch(
        rf"orders: stream Why: It is a stream, and {re.escape(words)}, since \S+Z \([^)]* ago\)\. "
        rf"Next: `reconcile approve orders {digest}` puts it on the stream\.",
        said,
    )
    answer = json.loads(held.run("why", "orders", "-o", "json").out)
    assert (answer["code"], answer["step"]) == ("AwaitingApproval", f"reconcile approve orders {digest}")


def test_why_of_a_job_at_the_stream_notes_what_waits(held: World) -> None:
    (digest,) = digests(held)
    held.write("jobs.yaml", job_text("import-orders") + job_text("other").replace("stream: orders", "stream: others"))
    held.write("others.yaml", STREAM.replace("name: orders", "name: others"))
    held.run()
    assert f"`reconcile approve orders {digest}` puts it on the stream." in " ".join(
        held.run("why", "import-orders").out.split()
    )
    assert "upload" not in held.run("why", "other").out


def test_what_is_approved_lands_once(held: World) -> None:
    (digest,) = digests(held)
    done = held.run("approve", "orders", digest)
    assert (done.code, done.out) == (0, f"The upload {digest} to stream 'orders' is approved.\n")
    again = held.run("approve", "orders", digest)
    assert (again.code, again.out.partition(" by ")[0]) == (0, f"The upload {digest} to stream 'orders' was approved")
    held.run()
    assert landed(held) == 5
    held.run()
    assert landed(held) == 5
    assert digests(held) == []
    nothing = held.run("approve", "orders")
    assert (nothing.code, nothing.out) == (0, "Nothing of orders waits for an approval.\n")
    assert held.run("audit", "verify").code == 0
    assert held.run("drift").code == 0


def test_without_a_digest_it_is_shown_and_nobody_is_there_to_ask(held: World) -> None:
    (digest,) = digests(held)
    asked = held.run("approve", "orders")
    assert asked.code == 5
    assert re.fullmatch(
        r"an upload of 3 messages \(0\.0 MB\) to stream orders waits for approval, because that is more than "
        rf"backfill\.maxMessages \(2\); since \S+Z, digest {digest}\n",
        asked.out,
    )
    assert asked.err == (
        "Error: nothing was approved; `reconcile approve orders DIGEST` approves one of them, --yes all\n"
    )
    other = held.run("approve", "orders", "0" * 32)
    assert (other.code, other.err) == (
        5,
        f"Error: no upload {'0' * 32} to stream 'orders' waits for an approval; nothing was approved\n",
    )
    assert held.run("approve", "orders", "--yes").code == 0
    held.run()
    assert landed(held) == 5


def test_a_higher_limit_lets_it_in(held: World) -> None:
    held.write("orders.yaml", LIMITED.replace("maxMessages: 2", "maxMessages: 3"))
    held.run()
    held.run()
    assert landed(held) == 5
    assert digests(held) == []


def test_an_approval_that_nobody_gave_is_drift(held: World) -> None:
    with Record.writing(held.state) as record, record.transaction():
        (one,) = record.uploads.waiting()
        record.uploads.approve(one.journal, "mallory", 2_000_000_000_000)
    found = held.run("drift")
    assert found.code == 4
    assert f"no approval of upload {one.digest}, by the audit log" in " ".join(found.out.split())
