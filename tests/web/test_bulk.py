"""Bulk bodies over HTTP: accepted whole, gone through before, of any size."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.backfill import digest_of_upload
from reconciler.data.journal import Bulk, listing
from tests.web.served import CSV, NDJSON, Served

PATH = "/collect/bulk/csv/orders"
JSON = "/collect/bulk/json/orders"
CUSTOMERS = "/collect/bulk/csv/customers"


def said(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


def test_a_body_is_kept_as_it_came_with_all_that_was_said_of_it(served: Served) -> None:
    body = gzip.compress(b"1;2;2024-01-01\n3;4;2024-01-02\n")
    query = {
        "headers": "a,b,when", "delimiter": ";", "timestamp_field": "when", "timestamp_format": "%Y-%m-%d",
        "append": '{"source": "archive", "n": 1.10}', "filename": "old orders.csv",
    }  # fmt: skip
    answer = served.client.post(PATH, params=query, content=body, headers={**CSV, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "omitted": 0})
    bulk, kept = served.bulks()[-1]
    assert kept == body
    assert bulk == Bulk(
        stream="orders", format="csv", received_ms=bulk.received_ms, gzip=True, timestamp_field="when",
        timestamp_format="%Y-%m-%d", headers=["a", "b", "when"], delimiter=";",
        append={"source": '"archive"', "n": "1.10"}, filename="old orders.csv", size=len(body), messages=2,
        answer={"accepted": 2, "omitted": 0},
    )  # fmt: skip


def test_the_field_that_a_stream_declares_is_read_in_the_format_that_it_declares(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        times = {
            "orders": {"field": "at", "format": "epoch_s"},
            "customers": {"field": "at", "format": "%d.%m.%Y"},
        }
        served.declare(times=times)
        for path, body in ((PATH, b"at,on\n1,2024-01-01\n"), (CUSTOMERS, b"at,on\n31.12.2024,2024-01-01\n")):
            answer = served.post(f"{path}?timestamp_field=at", body, CSV)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "omitted": 0})
            assert served.post(f"{path}?timestamp_field=on", body, CSV).status_code == 202
            refused = served.post(f"{path}?timestamp_field=at&timestamp_format=iso8601", body, CSV)
            assert "is not iso8601" in said(refused)[1]  # what a request says itself counts
        assert [bulk.timestamp_format for bulk, _ in served.bulks()] == ["epoch_s", "iso8601", "%d.%m.%Y", "iso8601"]


def test_a_malformed_row_is_named_by_its_line_and_can_be_left_out(served: Served) -> None:
    body = b"a,b\n1,2\n3\n4,5,6\n"
    before = len(served.bulks())
    refused = served.post(PATH, body, CSV)
    assert said(refused) == (
        422,
        "Nothing was accepted: 2 rows are malformed (line 3: expected 2 columns, found 1); "
        "mend them, or leave bad rows out with droperrors=true.",
    )
    errors = [
        {"line": 3, "reason": "expected 2 columns, found 1"},
        {"line": 4, "reason": "expected 2 columns, found 3"},
    ]
    assert (refused.json()["bad"], refused.json()["errors"]) == (2, errors)
    assert len(served.bulks()) == before
    dropped = served.post(f"{PATH}?droperrors=true", body, CSV)
    assert (dropped.status_code, dropped.json()) == (202, {"accepted": 1, "omitted": 2, "errors": errors})
    assert len(served.bulks()) == before + 1


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_is_taken_as_its_elements_are_one_a_line(served: Served, packed: bool) -> None:
    body = json.dumps([{"n": number, "text": "a, [b]\n"} for number in range(20_000)], indent=1).encode()
    kind = {"Authorization": NDJSON["Authorization"], "Content-Type": "application/json"}
    more = {"Content-Encoding": "gzip"} if packed else {}
    answer = served.post(JSON, gzip.compress(body) if packed else body, kind, **more)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 20_000, "omitted": 0})
    broken = body[:-1].replace(b'"n": 19999', b'"n": 0123')
    dry = served.post(f"{JSON}?dryrun=true&droperrors=true", broken + b', "x"]', kind).json()
    assert (dry["messages"], dry["omitted"], [one["element"] for one in dry["errors"]]) == (19_999, 2, [20_000, 20_001])
    assert dry["errors"][1] == {"element": 20_001, "reason": "not a JSON object"}


def test_a_dry_run_says_what_would_be_accepted_and_keeps_nothing(served: Served) -> None:
    before = sorted(served.folder.glob("bulk-*"))
    dry = served.post(f"{JSON}?dryrun=true&droperrors=1", b'{"a": 1}\n[]\n', NDJSON)
    assert dry.status_code == 200
    assert dry.json() == {
        "dryrun": True, "messages": 1, "omitted": 1,
        "errors": [{"line": 2, "reason": "an array; a bulk body is one object a line, or one array of objects"}],
    }  # fmt: skip
    assert served.post(f"{JSON}?dryrun=true", b"[]\n", NDJSON).status_code == 422
    assert sorted(served.folder.glob("bulk-*")) == before


def test_a_body_of_more_than_its_stream_takes_unasked_is_told_that_it_waits(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        served.declare("orders", "customers", limits={"orders": 2})
        dry = served.post(f"{PATH}?dryrun=true", b"n\n1\n2\n3\n", CSV).json()
        over = "3 messages are more than backfill.maxMessages (2) of stream orders"
        assert dry["approval"] == {"maxMessages": 2, "message": f"{over}: the upload would wait for approval."}
        key = {"Idempotency-Key": "over"}
        answers = [served.post(PATH, b"n\n1\n2\n3\n", CSV, **key) for _ in range(2)]
        assert {answer.status_code for answer in answers} == {202}
        assert answers[0].json() == answers[1].json()
        [(bulk, _)] = served.bulks()
        (journal,) = listing(served.folder).bulk
        digest = digest_of_upload(journal.number, "orders", bulk.received_ms, bulk.size, 3)
        said_so = f"{over}: the upload is kept, and waits for approval; `reconcile approve orders {digest}` puts it on the stream."
        assert answers[0].json() == {
            "accepted": 3, "omitted": 0, "approval": {"digest": digest, "maxMessages": 2, "message": said_so},
        }  # fmt: skip
        for path in (PATH, CUSTOMERS):
            assert served.post(path, b"n\n1\n2\n", CSV).json() == {"accepted": 2, "omitted": 0}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (PATH, b"", "The body holds no message."),
        (PATH, b"a,b\n", "The body holds no message."),
        (f"{PATH}?timestamp_field=t", b"a\n1\n", "Nothing was accepted: timestamp_field: there is no column 't'."),
        (f"{JSON}?timestamp_field=t", b'{"t": 5}', "Nothing was accepted: timestamp_field: column 't' holds numbers; "
         "say `timestamp_format=epoch_s` or `epoch_ms`."),
        (f'{PATH}?append={{"a":1}}', b"a\n1\n", "Nothing was accepted: append: the body has a column 'a' itself."),
        (PATH, b"a,b,a\n1,2,3\n", "Nothing was accepted: line 1: the header names the column 'a' twice."),
        (f"{PATH}?headers=a,b", b"1\n", "Nothing was accepted: a row is malformed (line 1: expected 2 columns, found 1); "
         "mend it, or leave bad rows out with droperrors=true."),
        (f"{PATH}?timestamp_field=a", b"a\nx\n", "Nothing was accepted: a row is malformed (line 2: "
         "timestamp_field 'a': 'x' is not iso8601); mend it, or leave bad rows out with droperrors=true."),
        (JSON, b'[{"a": 1},\n 2]', "Nothing was accepted: a row is malformed (element 2: not a JSON object); "
         "mend it, or leave bad rows out with droperrors=true."),
        (JSON, b'[{"a": 1},]', "Nothing was accepted: a row is malformed (element 2: not JSON: Expecting value at column 1); "
         "mend it, or leave bad rows out with droperrors=true."),
        (f"{JSON}?droperrors=true", b'[{"a": 1}, {"a": 2', "Nothing was accepted: element 2: not JSON: the array does not end, "
         "a quote or a brace may be left open."),
        (JSON, b'[{"a": 1}] {"a": 2}', "Nothing was accepted: something follows the array."),
        (JSON, b" [ ] ", "The body holds no message."),
    ],
)  # fmt: skip
def test_what_cannot_land_is_refused_before_it_is_accepted(
    served: Served, path: str, body: bytes, message: str
) -> None:
    assert said(served.post(path, body, CSV if "csv" in path else NDJSON)) == (422, message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("fielname=x", "There is no parameter 'fielname' here; did you mean 'filename'?"),
        ("filename=x&filename=y", "filename: stands there twice."),
        ("filename=", "filename: expected 1 to 255 printable characters."),
        ("filename=%00", "filename: expected 1 to 255 printable characters."),
        ("filename=%ff", "The query is not text in UTF-8, or has more than 100 parameters."),
        ("timestamp_field=", "timestamp_field: expected 1 to 256 printable characters."),
        (
            "timestamp_format=x",
            "timestamp_format: expected iso8601, epoch_s, epoch_ms or a strptime pattern with a year.",
        ),
        ("droperrors=yes", "droperrors: expected true or false."),
        ("delimiter=ab", "delimiter: expected one printable ASCII character that is no quote, or tab."),
        ("delimiter=%22", "delimiter: expected one printable ASCII character that is no quote, or tab."),
        (
            "headers=a,,b",
            "headers: expected the columns' names, separated by commas or as a JSON array; at most 2,000.",
        ),
        ("headers=a,b,a", "headers: 'a' stands there twice."),
        ('headers=["a","a"]', "headers: 'a' stands there twice."),
        ("headers=[1]", "headers: expected the columns' names, separated by commas or as a JSON array; at most 2,000."),
        ("append=x", "append: expected a JSON object of 1 to 100 constants, each once."),
        ("append={}", "append: expected a JSON object of 1 to 100 constants, each once."),
        ('append={"a":1,"a":2}', "append: expected a JSON object of 1 to 100 constants, each once."),
        ('append={"a":NaN}', "append: expected a JSON object of 1 to 100 constants, each once."),
        ('append={"a":[1]}', "append: 'a' is neither text, a number, true nor false."),
        ('append={"a":null}', "append: 'a' is neither text, a number, true nor false."),
    ],
)
def test_a_parameter_that_cannot_be_followed_is_named(served: Served, query: str, message: str) -> None:
    assert said(served.post(f"{PATH}?{query}", b"a\n1\n", CSV)) == (400, message)


def test_columns_without_a_name_are_no_name_that_stands_twice(served: Served) -> None:
    answer = served.post(f"{PATH}?dryrun=true", b"a,,\n1,2,3\n", CSV)
    assert (answer.status_code, answer.json()["messages"]) == (200, 1), answer.text


def test_names_and_delimiters_are_for_csv(served: Served) -> None:
    assert said(served.post(f"{JSON}?delimiter=;", b"{}", NDJSON)) == (400, "There is no parameter 'delimiter' here.")


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"Authorization": "Bearer no"}, 401, "No declared authorization of the provider 'collect' has this token."),
        ({"Content-Type": "application/json"}, 415, "A body of type 'application/json' is not taken here; send text/csv."),
        ({"Content-Encoding": "zstd"}, 415, "A body encoded as 'zstd' is not taken; send gzip, or none."),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_followed_is_named(
    served: Served, headers: dict[str, str], status: int, message: str
) -> None:
    assert said(served.post(PATH, b"a\n1\n", CSV, **headers)) == (status, message)


def test_a_body_that_is_not_gzip_or_lacks_its_end_is_refused(served: Served) -> None:
    packed = gzip.compress(b"a\n" * 1000)
    for body in (b"a\n1\n", packed[:-9], packed[:20] + b"\xff" + packed[21:]):
        answer = served.post(PATH, body, CSV, **{"Content-Encoding": "gzip"})
        assert said(answer) == (400, "The body is no gzip that is whole, although its Content-Encoding says so.")


def test_memory_does_not_grow_with_the_body(served: Served) -> None:
    def body(mebibytes: int) -> Iterator[bytes]:
        yield b"n,text\n"
        piece = b"1,xxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n" * 32768
        for _ in range(mebibytes):
            yield piece

    def send(mebibytes: int) -> int:
        answer = served.client.post(f"{PATH}?dryrun=true", content=body(mebibytes), headers=CSV)
        assert answer.json()["messages"] == mebibytes * 32768
        return served.peak_kib()

    small = send(8)
    assert send(64) - small < 24 << 10


# --- keys -------------------------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_and_lands_once(served: Served) -> None:
    before = len(served.bulks())
    key = {"Idempotency-Key": "bulk-once"}
    answers = [served.post(f"{PATH}?droperrors=true", b"a\n1\n2,3\n", CSV, **key) for _ in range(2)]
    assert answers[0].json() == answers[1].json() == {
        "accepted": 1, "omitted": 1, "errors": [{"line": 3, "reason": "expected 1 column, found 2"}],
    }  # fmt: skip
    assert [answer.headers.get("Idempotency-Replayed") for answer in answers] == [None, "true"]
    assert len(served.bulks()) == before + 1
    expected = "This idempotency key was used for another request; use a new one for a new body."
    assert said(served.post(PATH, b"a\n1\n2,3\n", CSV, **key)) == (422, expected)


def test_a_key_that_is_being_answered_is_told_to_wait(served: Served) -> None:
    body = b"a\n" + b"1\n" * 4_000_000
    key = {"Idempotency-Key": "bulk-slow"}
    answers: list[httpx.Response] = []

    def send() -> None:
        answers.append(httpx.post(f"{served.url}{PATH}", content=body, headers={**CSV, **key}, timeout=120))

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses in ([202, 202], [202, 409])
    if 409 in statuses:
        [waits] = [answer for answer in answers if answer.status_code == 409]
        assert said(waits) == (409, "A request with this idempotency key is being answered; ask again later.")
        assert waits.headers["Retry-After"] == "5"
    assert len([bulk for bulk, kept in served.bulks() if kept == body]) == 1


# --- what is left -----------------------------------------------------------------------------------------------------


def test_a_sender_that_goes_away_leaves_no_file(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:

        def body() -> Iterator[bytes]:
            yield b"a\n"
            raise ConnectionError

        with pytest.raises(ConnectionError):
            served.client.post(PATH, content=body(), headers=CSV)
        assert served.post(PATH, b"a\n1\n", CSV).status_code == 202  # and it goes on
        served.terminate()
        assert len(list(served.folder.glob("bulk-*.body"))) == 1


def test_a_killed_process_keeps_what_it_accepted_and_nothing_else(tmp_path: Path) -> None:
    with Served(tmp_path / "state") as served:
        assert served.post(PATH, b"a\n1\n", CSV, **{"Idempotency-Key": "k"}).status_code == 202
        begun = threading.Event()

        def endless() -> Iterator[bytes]:
            yield b"a\n"
            while True:
                begun.set()
                yield b"1\n" * 10_000

        def send() -> None:
            with pytest.raises(httpx.HTTPError):
                httpx.post(f"{served.url}{PATH}", content=endless(), headers=CSV, timeout=30)

        thread = threading.Thread(target=send)
        thread.start()
        begun.wait(30)
        served.kill()
        thread.join()
        served.start()
        again: Any = served.post(PATH, b"a\n1\n", CSV, **{"Idempotency-Key": "k"})
        assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
        assert [kept for _, kept in served.bulks()] == [b"a\n1\n"]
        assert len(list(served.folder.glob("bulk-*"))) == 2
