"""What is over a limit is refused with a time to come again, and nothing is forgotten before its time."""

from __future__ import annotations

import http.client
import re
import resource
import socket
from pathlib import Path

import httpx
import pytest

from reconciler.clock import Clock
from reconciler.data.journal import Listing, listing
from reconciler.web.answers import Refused
from reconciler.web.keys import Keys, key_of
from reconciler.web.limits import Limits
from tests.web.served import CSV, TOKEN, Served

PATH = "/collect/json/orders"
BULK = "/collect/bulk/csv/orders"


def said(response: httpx.Response) -> tuple[int, str, str]:
    return response.status_code, response.json()["error"], response.headers["Retry-After"]


def test_over_the_backlog_a_sender_is_told_when_to_come_again(tmp_path: Path) -> None:
    with Served(tmp_path / "state", backlog_bytes=1000, bulk_backlog_bytes=3) as served:
        while (answer := served.post(PATH, b'{"a": "%s"}' % (b"x" * 300))).status_code == 202:
            pass
        status, message, retry = said(answer)
        assert (status, retry) == (429, "5")
        assert message.endswith(" bytes of messages wait to be put on their streams; come again later.")
        assert len(served.messages()) == 3
        assert served.post(BULK, b"a\n1\n", CSV).status_code == 202  # bulk bodies have a backlog of their own
        while (bulk := served.post(BULK, b"a\n1\n", CSV)).status_code == 202:
            pass
        assert said(bulk)[0::2] == (429, "60")
        for journal in served.folder.glob("live-*"):  # the controller has folded them
            journal.unlink()
        while (answer := served.post(PATH, b"{}")).status_code == 429:
            pass
        assert answer.status_code == 202


def test_bodies_that_are_being_read_are_bounded(tmp_path: Path) -> None:
    with Served(tmp_path / "state", in_flight_bytes=1000) as served:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 900\r\n\r\n"
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(head.encode() + b"{")
            while (answer := served.post(PATH, b'{"a": "%s"}' % (b"x" * 200))).status_code == 202:
                pass
            assert said(answer) == (429, "Too many bodies are being read; come again in a moment.", "1")
            slow.sendall(b" " * 898 + b"}")
            assert b"202" in slow.recv(4096)
        assert served.post(PATH, b'{"a": "%s"}' % (b"x" * 200)).status_code == 202


def test_uploads_at_one_time_are_bounded_and_one_that_stalls_is_ended(tmp_path: Path) -> None:
    with Served(tmp_path / "state", uploads=1, body_s=4.0) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.putrequest("POST", BULK)
        for name, value in {**CSV, "Content-Length": "100"}.items():
            connection.putheader(name, value)
        connection.endheaders(b"a\n")
        while (answer := served.post(BULK, b"a\n1\n", CSV)).status_code == 202:
            pass
        assert said(answer) == (429, "1 bulk bodies are being taken in; come again later.", "10")
        stalled = connection.getresponse()
        assert (stalled.status, stalled.read()) == (408, b'{"error":"Nothing came for 4 seconds."}')
        assert served.post(BULK, b"a\n1\n", CSV).status_code == 202


def head_answered(served: Served, *pieces: bytes) -> bytes:
    """What comes back on a connection on which only this is sent."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as sock:
        said = b""
        try:
            for piece in pieces:
                sock.sendall(piece)
            while got := sock.recv(65536):
                said += got
        except ConnectionError:
            pass  # the answer stands before what nobody read
        return said


def test_the_head_of_a_request_has_a_limit_however_it_comes(served: Served) -> None:
    begin, end = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: ".encode(),
        b"\r\nContent-Length: 0\r\n\r\n",
    )
    assert b" 401 " in head_answered(served, begin + b"y" * 60_000 + end)
    assert b" 401 " in head_answered(served, begin, b"y" * 60_000 + end[:-1], end[-1:])
    refused = head_answered(served, begin + b"y" * 66_000)
    assert b" 431 " in refused
    assert b'{"error":"The head of a request may have 65,536 bytes."}' in refused
    peak = served.peak_kib()
    assert b" 202 " not in head_answered(served, begin, *[b"y" * 1_000_000] * 40, end)
    assert served.peak_kib() - peak < 8 * 1024
    assert served.client.get("/healthz").status_code == 200


def test_a_long_body_behind_the_end_of_a_head_is_no_part_of_it(served: Served) -> None:
    body = b'{"a": "%s"}' % (b"x" * 200_000)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    for cut in (10, len(head) - 3, len(head) - 1, len(head)):
        assert b" 202 " in head_answered(served, head.encode()[:cut], head.encode()[cut:] + body)


def test_a_head_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    with Served(tmp_path / "state", body_s=1.0) as served:
        assert head_answered(served) == b""
        late = head_answered(served, b"POST /collect/json/orders HTTP/1.1\r\nHost:")
        assert b" 408 " in late
        assert b'{"error":"The head of the request did not come within 1 seconds."}' in late


def test_empty_lines_behind_an_answer_keep_no_connection(tmp_path: Path) -> None:
    with (
        Served(tmp_path / "state", body_s=1.0) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=30) as sock,
    ):
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"\r\n")
        assert sock.recv(65536) == b""


def test_answers_that_nobody_has_read_yet_are_not_cut_off_by_a_head_that_does_not_come(tmp_path: Path) -> None:
    one, count = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 600
    with Served(tmp_path / "state", body_s=1.0) as served, socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what is not read stays with the server
        sock.settimeout(30)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(one * count + b"GET /hea")
        assert head_answered(served) == b""  # as long a time passes
        said = b""
        while piece := sock.recv(1 << 20):
            said += piece
    assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200"] * count + [b"408"]


def test_a_bulk_body_has_a_limit_announced_or_not(tmp_path: Path) -> None:
    with Served(tmp_path / "state", bulk_bytes=10) as served:
        message = "A bulk body may have 10 bytes."
        assert served.post(BULK, b"a\n1\n2\n3\n4\n5\n", CSV).json() == {"error": message}
        pieces = served.client.post(BULK, content=iter([b"a\n1\n", b"2\n3\n4\n5\n"]), headers=CSV)
        assert (pieces.status_code, pieces.json()) == (413, {"error": message})
        assert not list(served.folder.glob("bulk-*"))


def test_a_disk_that_is_nearly_full_takes_nothing(tmp_path: Path) -> None:
    with Served(tmp_path / "state", free_bytes=1 << 60) as served:
        expected = (503, "The disk is nearly full; nothing is accepted.", "60")
        assert said(served.post(PATH, b"{}")) == expected
        assert said(served.post(BULK, b"a\n1\n", CSV)) == expected


def test_a_journal_that_cannot_be_written_is_said_and_nothing_is_accepted(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        assert served.post(PATH, b'{"n": 1}').status_code == 202
        unlimited = resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, (200, unlimited[1]))
        refused = served.post(PATH, b'{"n": "%s"}' % (b"2" * 200))
        assert said(refused) == (503, "The journal cannot be written: File too large.", "5")
        health = served.client.get("/healthz")
        assert (health.status_code, health.json()["error"]) == (503, "the journal cannot be written: File too large")
        assert served.client.get("/readyz").json()["error"] == "the journal cannot be written: File too large"
        resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, unlimited)
        assert served.post(PATH, b'{"n": 3}').status_code == 202
        assert served.client.get("/healthz").status_code == 200
        assert served.messages() == [{"n": 1}, {"n": 3}]


def test_every_accepted_message_survives_a_killed_process(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        for number in range(20):
            assert served.post(PATH, b'{"n": %d}' % number, **{"Idempotency-Key": f"k{number}"}).status_code == 202
        served.kill()
        for log in served.folder.glob("keys-*"):
            log.write_bytes(log.read_bytes()[:-7])  # the machine died before the log was on the disk
        served.start()
        for number in range(20):
            again = served.post(PATH, b'{"n": %d}' % number, **{"Idempotency-Key": f"k{number}"})
            assert (again.status_code, again.headers.get("Idempotency-Replayed")) == (202, "true")
        assert served.messages() == [{"n": number} for number in range(20)]


def test_a_journal_is_closed_in_time_however_little_comes(tmp_path: Path) -> None:
    with Served(tmp_path / "state", journal_s=0.3) as served:
        assert served.post(PATH, b'{"n": 1}').status_code == 202
        while len(found := listing(served.folder).live) < 2:
            pass
        assert [one.size > 0 for one in found] == [True, False]
        assert served.post(PATH, b'{"n": 2}').status_code == 202
        assert served.messages() == [{"n": 1}, {"n": 2}]


# --- keys -------------------------------------------------------------------------------------------------------------

HOUR_MS = 3_600_000


def keys(folder: Path, now_ms: int, **limits: int) -> Keys:
    made = Keys(folder, Limits(**limits))
    made.load(Listing(), now_ms)
    return made


def test_a_key_is_remembered_for_a_day_and_over_restarts(tmp_path: Path) -> None:
    now_ms = Clock().now().wall_ms
    known = keys(tmp_path, now_ms)
    key, digest = key_of("shop", "orders", "k"), b"d" * 16
    known.note([(key, digest, {"accepted": 3})], now_ms)
    for hours in (0, 12, 23):
        assert known.answer(key, digest, now_ms + hours * HOUR_MS) == {"accepted": 3}
        assert keys(tmp_path, now_ms + hours * HOUR_MS).answer(key, digest, now_ms) == {"accepted": 3}
    assert known.answer(key, digest, now_ms + 25 * HOUR_MS) is None
    assert keys(tmp_path, now_ms + 26 * HOUR_MS).answer(key, digest, now_ms + 26 * HOUR_MS) is None
    assert not list(tmp_path.glob("keys-*"))


def test_a_key_that_the_disk_refuses_counts_and_is_owed_to_the_log(tmp_path: Path) -> None:
    known, key, digest = keys(tmp_path, 0), key_of("k"), b"d" * 16
    known.note([(key_of("before"), digest, {"accepted": 1})], 0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80, limits[1]))
    try:
        known.note([(key, digest, {"accepted": 2})], 0)
        assert known.answer(key, digest, 0) == {"accepted": 2}
        with pytest.raises(OSError, match="too large"):
            known.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert keys(tmp_path, 0).answer(key, digest, 0) is None
    known.sync()
    assert keys(tmp_path, 0).answer(key, digest, 0) == {"accepted": 2}


def test_a_key_that_cannot_be_remembered_is_refused_until_the_oldest_is_forgotten(tmp_path: Path) -> None:
    known = keys(tmp_path, 0, keys=2)
    for number in range(2):
        known.note([(key_of(str(number)), b"d" * 16, {"accepted": 1})], number * 1000)
    with pytest.raises(Refused, match=r"^2 idempotency keys are remembered already\.$") as caught:
        known.answer(key_of("new"), b"d" * 16, HOUR_MS)
    assert (caught.value.status, caught.value.headers) == (429, {"Retry-After": str(23 * 3600)})
    assert known.answer(key_of("0"), b"d" * 16, HOUR_MS) == {"accepted": 1}
    assert known.answer(key_of("new"), b"d" * 16, 24 * HOUR_MS + 500) is None
