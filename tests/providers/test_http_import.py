"""`import-json`: every record lands once, page by page, and only what is new."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.profile import ProfileRules, StreamRules
from reconciler.core.provider import Unit
from reconciler.errors import Fatal, RateLimited, Retriable
from reconciler.providers.http import import_json
from tests.providers.http_bench import STREAM, bench
from tests.servers import Play, Request, as_json, serving


def ids(records: list[Any]) -> list[int]:
    return [record["id"] for record in records]


def rows(first: int, stop: int) -> list[dict[str, Any]]:
    return [{"id": number} for number in range(first, stop)]


def numbered(pages: list[list[dict[str, Any]]], start: int = 1) -> Callable[[Request], Play]:
    def answer(request: Request) -> Play:
        number = int(request.query.get("page", start)) - start
        return as_json(pages[number] if number < len(pages) else [])

    return answer


def test_the_records_of_an_array_land(tmp_path: Path) -> None:
    with serving([as_json(rows(0, 3))]) as server, bench(
        tmp_path, "import-json", url=f"{server.url}/v1?x=1", params={"limit": 5, "all": True}, headers={"X-Team": "a"},
        method="api-key", credentials={"key": "k"}, apiKeyHeader="X-Token",
    ) as job:  # fmt: skip
        made = job.run()
    assert (made.how, made.units) == ("completed", 1)
    assert ids(job.landed()) == [0, 1, 2]
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/v1")
    assert request.query == {"x": "1", "limit": "5", "all": "true"}
    assert (request.headers["x-token"], request.headers["x-team"]) == ("k", "a")
    assert job.ledger.units[0].message == f"1 page of {server.url}/v1"


def test_the_records_may_stand_deeper(tmp_path: Path) -> None:
    with (
        serving([as_json({"data": {"items": rows(0, 2)}})]) as server,
        bench(tmp_path, "import-json", url=server.url, records="data.items") as job,
    ):
        job.run()
    assert ids(job.landed()) == [0, 1]


@pytest.mark.parametrize("start", [None, 0, 5])
def test_pages_by_number_end_with_an_empty_one(tmp_path: Path, start: int | None) -> None:
    first = 1 if start is None else start
    pagination = {"type": "page", "size": 2, "sizeParam": "per_page"} | ({} if start is None else {"start": start})
    with (
        serving(numbered([rows(0, 2), rows(2, 3), rows(3, 5)], first)) as server,
        bench(tmp_path, "import-json", url=server.url, pagination=pagination) as job,
    ):
        job.run()
    assert ids(job.landed()) == [0, 1, 2, 3, 4]
    assert [one.query for one in server.requests] == [{"page": str(first + n), "per_page": "2"} for n in range(4)]


def test_pages_by_offset_go_on_by_what_came(tmp_path: Path) -> None:
    everything = rows(0, 7)

    def answer(request: Request) -> Play:
        at = int(request.query["skip"])
        return as_json(everything[at : at + 3])

    with (
        serving(answer) as server,
        bench(tmp_path, "import-json", url=server.url, pagination={"type": "offset", "param": "skip"}) as job,
    ):
        job.run()
    assert ids(job.landed()) == list(range(7))
    assert [one.query["skip"] for one in server.requests] == ["0", "3", "6", "7"]


def test_pages_by_cursor_end_where_there_is_none(tmp_path: Path) -> None:
    def answer(request: Request) -> Play:
        at = int(request.query.get("cursor", "0"))
        return as_json({"items": rows(at, at + 2), "meta": {"next": at + 2 if at < 4 else None}})

    with serving(answer) as server, bench(
        tmp_path, "import-json", url=server.url, records="items",
        pagination={"type": "cursor", "cursorPath": "meta.next"},
    ) as job:  # fmt: skip
        job.run()
    assert ids(job.landed()) == list(range(6))


@pytest.mark.parametrize("where", ["header", "relative header", "body"])
def test_pages_by_link_follow_the_next_one(tmp_path: Path, where: str) -> None:
    def answer(request: Request) -> Play:
        at = int(request.query.get("at", "0"))
        path = f"/list?at={at + 2}"
        url = f"http://{request.headers['host']}{path}"
        if at == 4:
            return as_json({"items": rows(at, at + 2)}, Link='<http://127.0.0.1/>; rel="prev"')
        if where == "body":
            return as_json({"items": rows(at, at + 2), "links": {"next": url}})
        link = path if where == "relative header" else url
        return as_json(
            {"items": rows(at, at + 2)}, Link=f'<{url}>; rel="first", <{link}>; title="a, b"; rel="next last"'
        )

    pagination = {"type": "link"} | ({"nextPath": "links.next"} if where == "body" else {})
    with (
        serving(answer) as server,
        bench(tmp_path, "import-json", url=f"{server.url}/list", records="items", pagination=pagination) as job,
    ):
        job.run()
    assert ids(job.landed()) == list(range(6))


@pytest.mark.parametrize(
    ("pagination", "answer", "message"),
    [
        (
            {"type": "link"},
            lambda request: as_json(
                [{"p": request.query.get("p")}], Link=f"</list?p={1 - int(request.query.get('p', '1'))}>; rel=next"
            ),
            "the pages go round in a circle: one leads back to an earlier one",
        ),
        (
            {"type": "cursor", "cursorPath": "next"},
            lambda request: as_json({"id": 1, "next": "same"}),
            "the pages go round in a circle: the next cursor is the one that was sent",
        ),
        (
            {"type": "page"},
            lambda request: as_json(rows(0, 2)),
            "the pages go round in a circle: two in a row are the same",
        ),
        (
            {"type": "offset"},
            lambda request: as_json(rows(0, 2)),
            "the pages go round in a circle: two in a row are the same",
        ),
        (
            {"type": "page", "maxPages": 3},
            lambda request: as_json([{"id": int(request.query["page"])}]),
            "the listing has not ended after maxPages (3) pages",
        ),
    ],
    ids=["links", "cursor", "page", "offset", "no end"],
)
def test_pages_without_an_end_are_an_error(
    tmp_path: Path, pagination: dict[str, Any], answer: Callable[[Request], Play], message: str
) -> None:
    with (
        serving(answer) as server,
        bench(tmp_path, "import-json", url=f"{server.url}/list", pagination=pagination) as job,
    ):
        error = job.fails(Fatal)
        assert len(server.requests) <= 4
    assert str(error) == f"{server.url}/list: {message}"


def test_a_link_to_another_origin_is_not_followed(tmp_path: Path) -> None:
    with (
        serving() as other,
        serving([as_json(rows(0, 1), Link=f"<{other.url}/x>; rel=next")]) as server,
        bench(
            tmp_path,
            "import-json",
            url=server.url,
            pagination={"type": "link"},
            method="bearer",
            credentials={"token": "t"},
        ) as job,
    ):
        error = job.fails(Fatal)
    assert str(error) == f"{server.url}: the next link leads to {other.url}/x, another origin, and is not followed"
    assert other.requests == []


def test_an_import_that_was_cut_off_goes_on_at_its_next_page(tmp_path: Path) -> None:
    answers = [
        as_json(rows(0, 2)),
        as_json(rows(2, 4)),
        Play(429, headers={"Retry-After": "3"}),
        as_json(rows(4, 6)),
        as_json([]),
    ]
    with serving(answers) as server, bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}) as job:
        error = job.fails(RateLimited)
        assert isinstance(error, RateLimited)
        assert error.retry_after_s == 3
        assert ids(job.landed()) == [0, 1, 2, 3]
        job.again()
    assert ids(job.landed()) == list(range(6))
    assert [one.query["page"] for one in server.requests] == ["1", "2", "3", "3", "4"]


@pytest.mark.parametrize("size", [{"size": 3, "sizeParam": "limit"}, {}], ids=["size said", "size not said"])
def test_records_that_fill_up_a_page_which_was_read_before_a_cut_land_too(tmp_path: Path, size: dict[str, Any]) -> None:
    there = rows(0, 5)

    def answer(request: Request) -> Play:
        at = (int(request.query["page"]) - 1) * 3
        if at == 6 and len(there) == 5:
            there.extend(rows(5, 8))
            return Play(status=500)
        return as_json(there[at : at + 3])

    pagination = {"type": "page", **size}
    with serving(answer) as server, bench(
        tmp_path, "import-json", url=server.url, pagination=pagination, incremental={"field": "id", "param": "since"},
    ) as job:  # fmt: skip
        assert isinstance(job.run().error, Retriable)
        job.run()
    assert ids(job.landed()) == list(range(8))
    assert [one.query["page"] for one in server.requests] == ["1", "2", "3", "3", "2", "4"]


def test_a_server_that_gives_less_than_asked_for_is_asked_once_whether_a_page_has_grown(tmp_path: Path) -> None:
    pagination = {"type": "page", "size": 5, "sizeParam": "limit"}
    with (
        serving(numbered([rows(0, 2), rows(2, 4), rows(4, 6)])) as server,
        bench(
            tmp_path, "import-json", url=server.url, pagination=pagination,
            incremental={"field": "id", "param": "since"},
        ) as job,
    ):  # fmt: skip
        job.run()
    assert ids(job.landed()) == list(range(6))
    assert [one.query["page"] for one in server.requests] == ["1", "2", "1", "3", "4"]


def test_several_pages_share_a_unit_until_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_json, "UNIT_ROWS", 4)
    pages = [rows(number, number + 2) for number in range(0, 10, 2)]
    with (
        serving(numbered(pages)) as server,
        bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}) as job,
    ):
        job.run()
    assert [unit.rows for unit in job.ledger.units] == [4, 4, 2]
    assert ids(job.landed()) == list(range(10))


def test_the_next_pages_are_asked_for_while_a_unit_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_json, "UNIT_ROWS", 2)
    monkeypatch.setattr(import_json, "PAGES_AHEAD", 3)
    pages = numbered([rows(number, number + 2) for number in range(0, 20, 2)])
    is_ahead = threading.Event()

    def answer(request: Request) -> Play:
        if request.query["page"] == "4":
            is_ahead.set()
        return pages(request)

    with serving(answer) as server, bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}) as job:
        commit = job.ledger.commit
        asked: list[int] = []

        def wait_and_commit(unit: Unit, run: int) -> None:
            if not job.ledger.units:
                assert is_ahead.wait(60), "nothing was asked for meanwhile"
                asked.append(len(server.requests))
            commit(unit, run)

        monkeypatch.setattr(job.ledger, "commit", wait_and_commit)
        job.run()
    assert asked == [4], "the page of the unit, and three that may wait"
    assert ids(job.landed()) == list(range(20))
    assert [one.query["page"] for one in server.requests] == [str(number + 1) for number in range(11)]


def test_a_listing_begins_anew_where_its_request_has_changed(tmp_path: Path) -> None:
    answers = [as_json(rows(0, 2)), Play(500), as_json(rows(0, 1)), as_json([])]
    with serving(answers) as server, bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}) as job:
        job.fails(Retriable)
        job.job.settings["params"] = {"color": "red"}
        job.run()
    assert [one.query["page"] for one in server.requests] == ["1", "2", "1", "2"]


def test_the_same_answer_is_nothing_new_and_a_changed_one_lands_whole(tmp_path: Path) -> None:
    with (
        serving([as_json(rows(0, 2)), as_json(rows(0, 2)), as_json(rows(0, 3))]) as server,
        bench(tmp_path, "import-json", url=server.url) as job,
    ):
        assert [job.run().units for _ in range(3)] == [1, 0, 1]
    assert ids(job.landed()) == [0, 1, 0, 1, 2]


def test_of_a_listing_only_the_pages_that_changed_land_again(tmp_path: Path) -> None:
    pages = [rows(0, 2), rows(2, 4), rows(4, 5)]
    with (
        serving(numbered(pages)) as server,
        bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}) as job,
    ):
        job.run()
        assert job.run().units == 0
        pages[2] = rows(4, 6)
        job.run()
        assert job.run().units == 0
    assert ids(job.landed()) == [0, 1, 2, 3, 4, 4, 5]


@pytest.mark.parametrize(
    ("sent", "asked"),
    [("ETag", "if-none-match"), ("Last-Modified", "if-modified-since")],
)
def test_an_answer_that_has_not_changed_is_a_run_that_found_nothing(tmp_path: Path, sent: str, asked: str) -> None:
    def answer(request: Request) -> Play:
        return Play(304) if request.headers.get(asked) == '"v1"' else as_json(rows(0, 2), **{sent: '"v1"'})

    with serving(answer) as server, bench(tmp_path, "import-json", url=server.url) as job:
        assert [job.run().units for _ in range(3)] == [1, 0, 0]
        job.job.settings["params"] = {"other": "1"}
        job.run()
    assert [asked in one.headers for one in server.requests] == [False, True, True, False]
    assert ids(job.landed()) == [0, 1]


def test_not_modified_without_having_asked_is_an_error(tmp_path: Path) -> None:
    with serving([Play(304)]) as server, bench(tmp_path, "import-json", url=server.url) as job:
        job.fails(Fatal)


def test_a_validator_that_is_no_header_is_not_sent_back(tmp_path: Path) -> None:
    with (
        serving([as_json(rows(0, 1), ETag="\x80\x81"), as_json(rows(0, 1))]) as server,
        bench(tmp_path, "import-json", url=server.url) as job,
    ):
        job.run()
        job.run()
    assert "if-none-match" not in server.requests[1].headers


def test_no_content_is_nothing_found(tmp_path: Path) -> None:
    with serving([Play(204), as_json([])]) as server, bench(tmp_path, "import-json", url=server.url) as job:
        assert [job.run().units, job.run().units] == [0, 0]


@pytest.mark.parametrize("inclusive", [True, False])
def test_only_what_is_new_is_asked_for(tmp_path: Path, inclusive: bool) -> None:
    def at(number: int) -> str:
        return f"2026-01-0{number}T00:00:00Z"

    everything = [{"id": 1, "at": at(1)}, {"id": 2, "at": at(2)}]

    def answer(request: Request) -> Play:
        since = request.query.get("since", "")
        return as_json([one for one in everything if str(one["at"]) > since or (inclusive and one["at"] == since)])

    with (
        serving(answer) as server,
        bench(tmp_path, "import-json", url=server.url, incremental={"field": "at", "param": "since"}) as job,
    ):
        job.run()
        assert job.run().units == 0
        everything += [{"id": 3, "at": at(2)}] if inclusive else []
        everything += [{"id": 4, "at": at(3)}]
        job.run()
        assert job.run().units == 0
    assert ids(job.landed()) == ([1, 2, 3, 4] if inclusive else [1, 2, 4])
    assert [one.query.get("since") for one in server.requests] == [None, at(2), at(2), at(3)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), max_size=5), max_size=6), st.integers(1, 3), st.booleans())
def test_nothing_at_the_boundary_is_lost_or_lands_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[list[int]], size: int, filters: bool
) -> None:
    """Every step adds records that lie at or above the highest value so far."""
    everything: list[dict[str, Any]] = []

    def answer(request: Request) -> Play:
        since = int(request.query.get("since", "0")) if filters else 0
        found = [one for one in everything if one["n"]["value"] >= since]
        at = int(request.query["offset"])
        return as_json(found[at : at + size])

    with serving(answer) as server, bench(
        tmp_path_factory.mktemp("edge"), "import-json", url=server.url, pagination={"type": "offset"},
        incremental={"field": "n.value", "param": "since"},
    ) as job:  # fmt: skip
        for step in steps:
            top = max((one["n"]["value"] for one in everything), default=0)
            everything += [{"id": len(everything) + n, "n": {"value": top + more}} for n, more in enumerate(step)]
            job.run()
    assert sorted(ids(job.landed())) == list(range(len(everything)))


@pytest.mark.parametrize(
    ("values", "highest"),
    [
        (["9", "10"], "10"),
        (["2026-01-01T00:00:00+02:00", "2025-12-31T23:00:00Z"], "2025-12-31T23:00:00Z"),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z"], "2026-01-01T00:00:00.5Z"),
        ([9, 10.5, 3], 10.5),
        (["b", "a"], "b"),
    ],
)
def test_values_are_compared_by_what_they_mean(tmp_path: Path, values: list[Any], highest: Any) -> None:
    records = [{"id": number, "at": value} for number, value in enumerate(values)]
    with (
        serving([as_json(records)]) as server,
        bench(tmp_path, "import-json", url=server.url, incremental={"field": "at", "param": "since"}) as job,
    ):
        job.run()
    assert job.ledger.cursor["since"] == highest


def test_values_of_two_kinds_cannot_be_compared(tmp_path: Path) -> None:
    with (
        serving([as_json([{"at": 1}, {"at": "x"}])]) as server,
        bench(tmp_path, "import-json", url=server.url, incremental={"field": "at", "param": "since"}) as job,
    ):
        error = job.fails(Fatal)
    assert str(error) == "the values of at cannot be compared: numbers and texts stand side by side"


def test_a_record_without_the_value_to_go_on_by_is_omitted(tmp_path: Path) -> None:
    with (
        serving([as_json([{"id": 1, "at": 1}, {"id": 2}, 7, {"id": 3, "at": None}])]) as server,
        bench(
            tmp_path, "import-json", url=server.url, incremental={"field": "at", "param": "since"}, maxRejects=3
        ) as job,
    ):
        job.run()
    assert ids(job.landed()) == [1]
    assert [(one["line"], one["text"]) for one in sorted(job.rejects(), key=lambda one: one["line"])] == [
        (2, '{"id": 2}'),
        (3, "7"),
        (4, '{"id": 3, "at": null}'),
    ]
    assert "the record has no usable at, by which this import goes on" in {one["reason"] for one in job.rejects()}


def test_more_bad_records_than_max_rejects_fail_the_run_over_all_attempts(tmp_path: Path) -> None:
    pages = [[{"id": 1}, 5], [{"id": 2}, 6]]
    with (
        serving(numbered(pages)) as server,
        bench(tmp_path, "import-json", url=server.url, pagination={"type": "page"}, maxRejects=1) as job,
    ):
        error = job.fails(Fatal)
        assert str(error).startswith("more than maxRejects (1) records are bad; record 2 of the answer: ")
        assert ids(job.landed()) == [1]
        assert isinstance(job.again().error, Fatal)
        job.job.settings["maxRejects"] = 2
        job.again()
    assert ids(job.landed()) == [1, 2]
    assert [one["reason"].endswith(f"(page {number})") for number, one in enumerate(job.rejects(), 1)] == [True, True]


def test_a_record_with_a_time_that_cannot_be_read_is_omitted(tmp_path: Path) -> None:
    records = [{"id": 1, "at": "2026-01-01T00:00:00Z"}, {"id": 2, "at": "soon"}]
    with (
        serving([as_json(records)]) as server,
        bench(tmp_path, "import-json", url=server.url, timestampField="at", maxRejects=1) as job,
    ):
        job.run()
    assert ids(job.landed()) == [1]
    assert [one["line"] for one in job.rejects()] == [2]


def test_a_record_says_its_time_as_the_stream_says_of_that_field(tmp_path: Path) -> None:
    with (
        serving([as_json([{"id": 1, "at": 1}])] * 2) as server,
        bench(tmp_path, "import-json", url=server.url, timestampField="at") as job,
    ):
        stream = StreamRules(name=STREAM, timestamp_field="at", timestamp_format="epoch_s")
        job.place.rules = ProfileRules(streams=(stream,))
        job.run()
        ((_, table),) = job.place.stream(stream.name).tables(0, 1, meta=True)
    assert table.column("_timestamp").to_pylist() == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]


def test_records_that_do_not_say_when_have_no_time(tmp_path: Path) -> None:
    with (
        serving([as_json([{"id": 1}])]) as server,
        bench(tmp_path, "import-json", url=server.url, timestampField="at") as job,
    ):
        job.run()
    assert ids(job.landed()) == [1]
    assert [one.untimed for unit in job.ledger.units for one in unit.segments] == [1]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Play(200, b"<html>maintenance</html>"), Retriable),
        (as_json({"items": "none"}), Fatal),
        (Play(401), Fatal),
        (Play(404), Fatal),
        (Play(429), RateLimited),
        (Play(403, headers={"Retry-After": "5"}), RateLimited),
        (Play(403), Fatal),
        (Play(503, headers={"Retry-After": "5"}), RateLimited),
        (Play(500), Retriable),
        (Play(drop=True), Retriable),
        (Play(300), Fatal),
    ],
)
def test_an_answer_that_is_no_records_is_an_error_of_its_kind(
    tmp_path: Path, answer: Play, kind: type[Fatal | Retriable | RateLimited]
) -> None:
    with serving([answer]) as server, bench(tmp_path, "import-json", url=server.url, records="items") as job:
        job.fails(kind)
        assert job.ledger.units == []


def test_records_keep_their_types(tmp_path: Path) -> None:
    record = {"id": 1, "zip": "00123", "price": 1.5, "ok": True, "nested": {"a": [1, 2]}, "none": None}
    with (
        serving([Play(200, json.dumps([record]).encode())]) as server,
        bench(tmp_path, "import-json", url=server.url) as job,
    ):
        job.run()
    assert job.landed() == [record]


def test_a_cursor_of_another_job_type_is_not_guessed_at(tmp_path: Path) -> None:
    with serving() as server, bench(tmp_path, "import-json", url=server.url) as job:
        job.ledger.cursor = {"files": {}}
        error = job.fails(Fatal)
    assert str(error) == "the cursor is not one of import-json; change `restart` to begin anew"
