"""Messages that were accepted land once, whatever is killed: real daemons, real intake processes, real senders."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from reconciler.data.journal import (
    INTAKE,
    Bulk,
    Entry,
    LiveJournal,
    body_path,
    bulk_path,
    listing,
    next_number,
    publish,
)
from reconciler.record.intake import JournalRow
from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.end_to_end.daemon import Daemon, reconcile
from tests.ports import free_port
from tests.web.served import is_gone
from tests.web.test_live import until

TOKEN = "a-token-of-the-shop"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
SPECS = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec: {}
---
apiVersion: reconciler/v1
kind: Authorization
metadata: {name: shop}
spec: {provider: collect, method: bearer, credentials: {token: {env: SHOP_TOKEN}}}
"""
ENVIRONMENT = {"SHOP_TOKEN": TOKEN}


class Site:
    """A root with a stream and a token, and an address."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "jobs"
        self.root.mkdir(parents=True)
        (self.root / "specs.yaml").write_text(SPECS)
        self.state = self.root / ".reconciler"
        self.folder = self.state / INTAKE
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/collect/json/orders"

    def daemon(self, **environment: str) -> Daemon:
        daemon = Daemon(self.root, "--listen", f"127.0.0.1:{self.port}", env={**ENVIRONMENT, **environment})
        daemon.wait_for(f"Listening on 127.0.0.1:{self.port} for messages.")
        daemon.wait_for("Watching")
        return daemon

    @property
    def process(self) -> int:
        """The pid of the process that listens, once it has said so."""
        while "pid" not in (told := json.loads((self.folder / "lock").read_text() or "{}")):
            pass
        return int(told["pid"])

    def post(self, message: Any, **headers: str) -> httpx.Response:
        return httpx.post(self.url, json=message, headers={**HEADERS, **headers}, timeout=30)

    def post_when_declared(self, message: Any) -> None:
        """The first look may not have been over."""
        with httpx.Client() as client:
            while client.post(self.url, json=message, headers=HEADERS).status_code != 202:
                pass

    def landed(self) -> list[dict[str, Any]]:
        with Record.reading(self.state) as record:
            segments = record.streams.segments("orders")
        return [row for one in segments for row in pq.read_table(self.state / "data" / one.file).to_pylist()]

    def settle(self) -> None:
        """One pass, which folds all that was accepted."""
        ended = reconcile("--root", str(self.root), env=ENVIRONMENT)
        assert ended.returncode == 0, ended.stderr

    def end(self) -> None:
        """Whatever listens still."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, ProcessLookupError):
            os.kill(json.loads((self.folder / "lock").read_text())["pid"], signal.SIGKILL)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


# --- a push -----------------------------------------------------------------------------------------------------------


def test_a_push_hook_makes_the_daemon_look_at_once(site: Site) -> None:
    (site.root.parent / "secret").write_text("the-secret-of-the-forge")
    (site.root.parent / "reconciler.yaml").write_text("hooks: {push: {secret: {file: secret}}}\n")
    with site.daemon(), httpx.Client(base_url=f"http://127.0.0.1:{site.port}") as client:
        site.post_when_declared({"a": 1})
        looked = (site.folder / "heartbeat").stat().st_mtime_ns
        assert client.post("/hooks/push", headers={"X-Gitlab-Token": "another"}).status_code == 403
        assert client.post("/hooks/push", headers={"X-Gitlab-Token": "the-secret-of-the-forge"}).status_code == 202
        until(lambda: (site.folder / "heartbeat").stat().st_mtime_ns > looked)


# --- folding ----------------------------------------------------------------------------------------------------------


def journal(shop: Shop, *lines: str, stream: str = "orders") -> int:
    """A journal as an intake process would leave it; its number."""
    folder = shop.world.state / INTAKE
    folder.mkdir(parents=True, exist_ok=True)
    made = LiveJournal(folder, next_number(folder))
    for line in lines:
        made.append([Entry(stream, 1_000, 1).payload(line.encode() + b"\n")])
    made.close()
    return made.number


def bulk_body(folder: Path, body: bytes, **options: Any) -> int:
    """A bulk body as an intake process would leave it; its number."""
    folder.mkdir(parents=True, exist_ok=True)
    number = next_number(folder)
    body_path(folder, number).write_bytes(body)
    publish(folder, number, Bulk(stream="orders", received_ms=5, **{"format": "json", **options}))
    return number


def rows(shop: Shop) -> list[dict[str, Any]]:
    segments = shop.read(lambda record: record.streams.segments("orders"))
    return [row for one in segments for row in pq.read_table(shop.world.state / "data" / one.file).to_pylist()]


def test_a_pass_puts_what_was_accepted_on_its_stream_once(shop: Shop) -> None:
    journal(shop, '{"n": 1}', '{"n": 2}')
    shop.go()
    shop.go()
    assert [row["n"] for row in rows(shop)] == [1, 2]


def test_a_journal_goes_once_all_of_it_is_on_its_stream_and_nothing_more_will_come(shop: Shop) -> None:
    first, second = journal(shop, '{"n": 1}'), journal(shop, '{"n": 2}')
    shop.go()
    shop.go()
    folder = shop.world.state / INTAKE
    assert [one.number for one in listing(folder).live] == [second]
    assert set(shop.read(lambda record: record.intake.journals())) == {second}
    third = journal(shop, '{"n": 3}')
    assert third == second + 1 > first
    shop.go()
    assert [row["n"] for row in rows(shop)] == [1, 2, 3]


def test_a_journal_is_known_until_its_folder_is_on_the_disk_without_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = journal(shop, '{"n": 1}'), journal(shop, '{"n": 2}')
    real = os.fsync

    def refuse(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(f"/{INTAKE}"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", refuse)
        for _ in range(2):  # also where the file went before
            with pytest.raises(OSError, match="Input/output error"):
                shop.go()
            assert [one.number for one in listing(shop.world.state / INTAKE).live] == [second]
            assert set(shop.read(lambda record: record.intake.journals())) == {first, second}
    shop.go()
    assert set(shop.read(lambda record: record.intake.journals())) == {second}
    assert [row["n"] for row in rows(shop)] == [1, 2]


def test_what_the_record_knows_of_a_journal_keeps_it_from_landing_twice(shop: Shop) -> None:
    shop.go()
    landed, waiting = journal(shop, '{"n": 1}'), journal(shop, '{"n": 2}')
    size = listing(shop.world.state / INTAKE).live[0].size
    with Record.writing(shop.world.state) as record, record.transaction():
        for number in (landed, 99):  # its file is there still; and one whose file is gone
            before = JournalRow(journal=number)
            assert record.intake.commit(before, {"at": size}, [], [], rows=1, omitted=0, whole=False, now_ms=0)
            assert not record.intake.commit(before, {"at": size}, [], [], rows=1, omitted=0, whole=False, now_ms=0)
    shop.go()
    assert [row["n"] for row in rows(shop)] == [2]
    assert set(shop.read(lambda record: record.intake.journals())) == {waiting}
    assert [one.number for one in listing(shop.world.state / INTAKE).live] == [waiting]


def test_a_stream_that_nobody_declares_any_more_keeps_what_was_accepted_for_it(shop: Shop) -> None:
    journal(shop, '{"n": 1}', stream="gone")
    shop.go()
    assert shop.read(lambda record: record.streams.counts("gone"))[0] == 1


def test_bulk_bodies_land_in_their_order_and_their_bad_rows_are_kept(shop: Shop) -> None:
    folder = shop.world.state / INTAKE
    for body in (b"n\n1\n2\n", b"n\n3\n4,5\n"):
        bulk_body(folder, body, format="csv", droperrors=True)
    shop.go()
    assert [row["n"] for row in rows(shop)] == ["1", "2", "3"]
    [file] = shop.read(lambda record: record.intake.reject_files())
    shop.go()  # and the sweep leaves it
    [reject] = [json.loads(line) for line in (shop.world.state / "data" / file).read_text().splitlines()]
    assert reject == {"source": "journal 2", "line": 3, "reason": "expected 1 column, found 2", "text": "4,5"}


def test_a_pass_that_removes_what_is_folded_goes_on_with_what_is_not(shop: Shop) -> None:
    folder = shop.world.state / INTAKE
    journal(shop, '{"n": 1}')
    old = bulk_body(folder, b'{"n": 2}')
    journal(shop)
    shop.go()
    os.utime(bulk_path(folder, old), (0, 0))  # long enough ago for it to go
    bulk_body(folder, b'{"n": 3}')
    journal(shop, '{"n": 4}')
    shop.go()
    assert sorted(row["n"] for row in rows(shop)) == [1, 2, 3, 4]


def test_many_small_bodies_land_in_one_pass_and_by_one_process_and_a_damaged_one_holds_up_no_other(shop: Shop) -> None:
    folder = shop.world.state / INTAKE
    for n in range(30):
        bulk_body(folder, b'{"n": %d}\n' % n)
    bulk_path(folder, 7).write_text("{}")
    shop.go()
    assert [row["n"] for row in rows(shop)] == [n for n in range(30) if n != 6]
    assert shop.read(lambda record: record.setting("foldings")) == 1
    shop.go()  # the damaged one is tried again by itself
    assert body_path(folder, 7).exists()


def test_a_damaged_journal_is_told_of_and_kept(shop: Shop) -> None:
    number = journal(shop, '{"n": 1}')
    journal(shop, '{"n": 2}')
    path = shop.world.state / INTAKE / f"live-{number}.journal"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    shop.go()
    assert [row["n"] for row in rows(shop)] == [2]
    assert path.exists()


# --- the process that listens -----------------------------------------------------------------------------------------


def test_listening_is_for_a_daemon_and_at_an_address(site: Site) -> None:
    for arguments, message in (
        (("--listen", "127.0.0.1:1"), "--listen goes with --watch"),
        (("--watch", "--listen", "8080"), "--listen takes HOST:PORT, for example 127.0.0.1:8080, not '8080'"),
        (("--watch", "--listen", "127.0.0.1:70000"), "--listen takes HOST:PORT, for example 127.0.0.1:8080"),
        (("--watch", "--listen", "host.invalid:80"), "cannot listen on host.invalid:80: "),
    ):
        ended = reconcile("--root", str(site.root), *arguments, env=ENVIRONMENT)
        assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr


def test_an_address_that_is_taken_is_said_to_be(site: Site) -> None:
    with socket.create_server(("127.0.0.1", site.port)):
        ended = reconcile("--root", str(site.root), "--watch", "--listen", f"127.0.0.1:{site.port}", env=ENVIRONMENT)
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{site.port}: Address already in use" in ended.stderr


def test_a_port_that_the_system_chose_is_told(site: Site) -> None:
    with Daemon(site.root, "--listen", "localhost:0", env=ENVIRONMENT) as daemon:
        said = daemon.wait_for("Listening on localhost:")
        port = int(said.partition("Listening on localhost:")[2].split()[0])
        assert httpx.get(f"http://localhost:{port}/healthz", timeout=30).status_code == 200
        assert daemon.terminate() == 0


def halt(pid: int) -> None:
    """It stands still when this returns, with all its threads."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(is_still, Path(f"/proc/{pid}/task").iterdir())))


def is_still(thread: Path) -> bool:
    try:
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return True


def test_nobody_else_may_read_what_is_kept_of_messages_whatever_is_going_on(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        halt(daemon.process.pid)  # wherever it was: files that it writes stay as they are
        bulk = site.url.replace("/json/", "/bulk/json/")
        assert httpx.post(bulk, content=b'{"n": 2}', headers=HEADERS, timeout=30).status_code == 202
        assert site.post({"n": 3}).status_code == 202
        halt(site.process)
        waiting = listing(site.folder)
        assert waiting.live
        assert waiting.bulk
        assert [str(one) for one in site.state.rglob("*") if one.lstat().st_mode & 0o077] == []


def test_sigterm_ends_the_process_that_listens_too(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        handle = os.pidfd_open(site.process)
        bulk = site.url.replace("/json/", "/bulk/json/")
        assert httpx.post(bulk, content=b'{"n": 2}', headers=HEADERS, timeout=30).status_code == 202
        assert daemon.terminate() == 0
    assert is_gone(handle, 0)
    site.settle()
    assert sorted(row["n"] for row in site.landed()) == [1, 2]


def test_the_journal_goes_with_whoever_is_forgotten_and_the_key_stays_known(site: Site) -> None:
    specs = site.root / "specs.yaml"
    specs.write_text(specs.read_text().replace("spec: {}", "spec: {identity: [{key: email, from: email}]}"))
    zoe = {"email": "zoe@secret.example"}
    with site.daemon() as daemon:
        site.post_when_declared({"email": "bob@x"})
        assert site.post(zoe, **{"Idempotency-Key": "k"}).status_code == 202
        until(lambda: len(site.landed()) == 2)
        ended = reconcile("forget", "email=zoe@secret.example", "--yes", "--root", str(site.root), env=ENVIRONMENT)
        assert ended.returncode == 0, ended.stderr
        assert ": done " in ended.stdout
        kept = [one for one in site.state.rglob("*") if one.is_file() and b"zoe@secret.example" in one.read_bytes()]
        assert kept == []
        assert site.post(zoe, **{"Idempotency-Key": "k"}).status_code == 202
        assert daemon.terminate() == 0
    site.settle()
    assert [row["email"] for row in site.landed() if row["email"]] == ["bob@x"]


def test_messages_are_accepted_while_no_controller_lives_and_the_next_one_takes_the_process_over(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        process = site.process
        daemon.kill()
    assert site.post({"n": 2}).status_code == 202
    with site.daemon() as daemon:
        assert site.process == process
        assert site.post({"n": 3}).status_code == 202
        assert daemon.terminate() == 0
    site.settle()
    assert sorted(row["n"] for row in site.landed()) == [1, 2, 3]


def test_a_daemon_of_another_environment_replaces_the_process(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        handle = os.pidfd_open(site.process)
        daemon.kill()
    with site.daemon(SHOP_TOKEN="another-token-of-the-shop"):
        assert is_gone(handle, 0)
        assert site.post({"n": 2}).status_code == 401
        assert site.post({"n": 2}, Authorization="Bearer another-token-of-the-shop").status_code == 202


def test_an_upload_is_read_in_the_format_that_its_stream_declares(site: Site) -> None:
    (site.root / "specs.yaml").write_text(SPECS.replace("spec: {}", "spec: {timestamp: {field: at, format: epoch_ms}}"))
    with site.daemon():
        site.post_when_declared({"id": 1})
        url, kind = site.url.replace("/json/", "/bulk/csv/"), {**HEADERS, "Content-Type": "text/csv"}
        answer = httpx.post(f"{url}?timestamp_field=at", content=b"at\n1700000000000\n", headers=kind)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "omitted": 0})


def test_a_daemon_says_which_token_cannot_be_had(site: Site) -> None:
    (site.root / "gone.yaml").write_text(SPECS.split("---\n")[1].replace("shop", "gone").replace("SHOP", "GONE"))
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        (site.root / "more.yaml").write_text("")
        daemon.wait_for("authorization gone: credentials.token: the environment variable GONE_TOKEN is not set")


def test_a_daemon_that_does_not_listen_ends_what_an_earlier_one_left(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        handle = os.pidfd_open(site.process)
        daemon.kill()
    with Daemon(site.root, env=ENVIRONMENT) as daemon:
        daemon.wait_for("Watching")
        assert is_gone(handle, 0)


def test_a_process_that_dies_is_started_again_and_keys_are_remembered(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        assert site.post({"n": 2}, **{"Idempotency-Key": "two"}).status_code == 202
        os.kill(site.process, signal.SIGKILL)
        daemon.wait_for("the process that listens has died (exit code -9); it is started again")
        again = site.post({"n": 2}, **{"Idempotency-Key": "two"})  # its connection waits for the new process
        assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true")
        assert daemon.terminate() == 0
    site.settle()
    assert sorted(row["n"] for row in site.landed()) == [1, 2]


def test_a_process_whose_state_directory_is_gone_ends_by_itself(site: Site) -> None:
    with site.daemon() as daemon:
        site.post_when_declared({"n": 1})
        handle = os.pidfd_open(site.process)
        daemon.kill()
    shutil.rmtree(site.root)
    assert is_gone(handle)


# --- whatever is killed -----------------------------------------------------------------------------------------------


class Sender(threading.Thread):
    """Sends one message after the other, some with a key; one without an answer is sent again under its key, or given up."""

    def __init__(self, site: Site, name: str) -> None:
        super().__init__(name=name)
        self._site = site
        self.accepted: list[str] = []
        self.unsure: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        number = 0
        with httpx.Client(timeout=30) as client:
            while not self.done.is_set():
                number += 1
                self._send(client, f"{self.name}-{number}", keyed=number % 2 == 0)

    def _send(self, client: httpx.Client, message: str, *, keyed: bool) -> None:
        headers = {**HEADERS, **({"Idempotency-Key": message} if keyed else {})}
        while True:
            try:
                answer = client.post(self._site.url, json={"id": message}, headers=headers)
            except httpx.HTTPError:
                if keyed:
                    continue
                self.unsure.append(message)
                return
            if answer.status_code == 202:
                self.accepted.append(message)
                return
            assert answer.status_code in (401, 404), answer.text  # the first look is not over


@pytest.mark.kill
def test_every_acknowledged_message_lands_exactly_once_whatever_is_killed(site: Site) -> None:
    chance = random.Random(7)
    senders = [Sender(site, f"sender-{number}") for number in range(4)]
    daemon = site.daemon()
    site.post_when_declared({"id": "first"})
    for sender in senders:
        sender.start()
    try:
        for number in range(5):
            until(lambda number=number: sum(len(sender.accepted) for sender in senders) > 25 * (number + 1))  # type: ignore[misc]
            threading.Event().wait(chance.uniform(0.0, 0.3))
            if chance.random() < 0.5:
                daemon.kill()
                daemon = site.daemon()
            else:
                os.kill(site.process, signal.SIGKILL)
    finally:
        for sender in senders:
            sender.done.set()
        for sender in senders:
            sender.join(60)
        daemon.terminate()
    site.settle()
    landed = Counter(row["id"] for row in site.landed())
    accepted = {message for sender in senders for message in sender.accepted} | {"first"}
    unsure = {message for sender in senders for message in sender.unsure}
    assert len(accepted) > 100
    assert {message for message in accepted if landed[message] != 1} == set()
    assert set(landed) - accepted <= unsure
    assert set(landed.values()) == {1}
