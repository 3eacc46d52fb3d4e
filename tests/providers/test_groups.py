"""Batches that are committed together: whatever happens in the middle of a group, what was acknowledged is never sent under
another key, and what was not is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import RateLimited, Retriable
from reconciler.providers import groups
from reconciler.providers.groups import FIRST_AHEAD
from reconciler.providers.http.client import Client
from tests.providers import audience_bench, http_bench
from tests.providers.audience_bench import people, person
from tests.servers import Play, Request, serving

COUNT = FIRST_AHEAD + 4


class _Killed(KeyboardInterrupt):
    """The run's process dies here."""


#: The first and the last of both groups, and one between.
MOMENTS = (1, 5, FIRST_AHEAD, FIRST_AHEAD + 1, COUNT)


def die_at(number: int, patch: pytest.MonkeyPatch, *, after: bool) -> None:
    """The run dies with its request of this number, before it leaves or after it was answered."""
    real, count = Client.request, 0

    def request(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == number and not after:
            raise _Killed
        answer = real(*arguments, **more)
        if count == number:
            raise _Killed
        return answer

    patch.setattr(Client, "request", request)


@pytest.mark.parametrize("after", [False, True])
def test_a_webhook_that_dies_with_any_request_of_a_group_sends_each_message_under_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    messages = [{"id": number} for number in range(COUNT)]
    for number in MOMENTS:
        with (
            serving() as server,
            http_bench.bench(tmp_path / str(number), "export-webhook", url=server.url, batchSize=1, messages=messages)
            as job,
        ):  # fmt: skip
            with monkeypatch.context() as patch:
                die_at(number, patch, after=after)
                with pytest.raises(_Killed):
                    job.run()
            assert len(job.ledger.open) == (FIRST_AHEAD if number <= FIRST_AHEAD else COUNT - FIRST_AHEAD)
            assert job.again().how == "completed"
            assert not job.ledger.open
        keys = {one.key: one.json["messages"][0]["id"] for one in server.requests}
        assert sorted(keys.values()) == list(range(COUNT)), f"killed with request {number}"
        assert len({one.body for one in server.requests}) == COUNT


@pytest.mark.parametrize("after", [False, True])
def test_a_mirror_that_dies_with_any_request_of_a_group_makes_each_change_under_one_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    for number in MOMENTS:
        with audience_bench.bench(tmp_path / str(number), people(0, COUNT), batchSize=1) as job:
            with monkeypatch.context() as patch:
                die_at(number, patch, after=after)
                with pytest.raises(_Killed):
                    job.run()
            assert job.ledger.open
            job.completes(new_run=False)
            assert len(job.receiver.batches) == COUNT, f"killed with request {number}"
            assert len(job.receiver.members) == COUNT
            assert not job.ledger.open
            assert job.completes().units == 0


def answering(number: int, play: Play) -> Callable[[Request], Play]:
    """Answers the request of this number otherwise."""
    count = 0

    def answer(_: Request) -> Play:
        nonlocal count
        count += 1
        return play if count == number else Play()

    return answer


@pytest.mark.parametrize(
    ("play", "kind"),
    [
        (Play(503), Retriable),
        (Play(503, headers={"Retry-After": "1"}), RateLimited),
        (Play(429, headers={"Retry-After": "1"}), RateLimited),
        (Play(drop=True), Retriable),
    ],
)
def test_what_was_accepted_before_an_error_in_the_middle_of_a_group_is_not_sent_again(
    tmp_path: Path, play: Play, kind: type[Exception]
) -> None:
    with audience_bench.bench(tmp_path, people(0, COUNT), answering(6, play), batchSize=1) as job:
        job.fails(kind)  # type: ignore[arg-type]
        assert [unit.rows for unit in job.ledger.units] == [0, 5]
        assert len(job.ledger.open) == FIRST_AHEAD - 5
        job.completes(new_run=False)
        assert len(job.receiver.members) == COUNT
        assert (len(job.server.requests), job.receiver.repeated) == (COUNT + 1, [])


def test_a_webhook_too_commits_what_was_accepted_before_an_error(tmp_path: Path) -> None:
    messages = [{"id": number} for number in range(COUNT)]
    with (
        serving(answering(6, Play(503))) as server,
        http_bench.bench(tmp_path, "export-webhook", url=server.url, batchSize=1, messages=messages) as job,
    ):
        job.fails(Retriable)
        assert [(unit.rows, unit.cursor) for unit in job.ledger.units] == [(5, {"next": 5})]
        assert job.again().how == "completed"
    assert len(server.requests) == COUNT + 1


def test_what_was_accepted_is_committed_before_a_refused_batch_is_searched(tmp_path: Path) -> None:
    def answer(request: Request) -> Play:
        return Play(422) if any(one["email"] == "p7@x.org" for one in request.json["members"]) else Play()

    with audience_bench.bench(tmp_path, people(0, 12), answer, batchSize=2) as job:
        job.completes()
        assert [unit.rows for unit in job.ledger.units] == [0, 6, 1, 2, 2, 0]
        assert (len(job.receiver.members), job.facts["out"]) == (11, 1)
        assert "6 members were added in 3 batches, 1-0-1-" in job.ledger.units[1].message
        assert " to 1-4-5-" in job.ledger.units[1].message


@pytest.mark.parametrize("replay", ["ordered", "unsafe"])
def test_where_a_repeat_does_harm_later_each_outcome_is_committed_before_the_next_batch_leaves(
    tmp_path: Path, replay: str
) -> None:
    seen: list[int] = []

    def answer(_: Request) -> Play:
        seen.append(len(job.ledger.units))
        return Play()

    with audience_bench.bench(tmp_path, people(0, 4), answer, batchSize=1, replay={"add": replay}) as job:
        job.completes()
        assert seen == [1, 2, 3, 4]


def test_a_run_that_stops_leaves_nothing_open_that_must_not_be_repeated(tmp_path: Path) -> None:
    with audience_bench.bench(tmp_path, people(0, 4), batchSize=1, replay={"add": "unsafe"}) as job:
        assert job.run(stop_after=1).how == "stopped"
        assert not job.ledger.open
        job.completes(new_run=False)
        assert (len(job.server.requests), job.facts["sent"]) == (4, 4)


def test_additions_are_committed_before_removals_that_must_not_be_repeated_are_intended(tmp_path: Path) -> None:
    with audience_bench.bench(
        tmp_path, people(0, 2), batchSize=1, replay={"remove": "unsafe"}, guard={"maxRemovePercent": 100}
    ) as job:
        job.completes()
        job.enroll([person(1), person(2)])
        assert job.run(stop_after=2).how == "stopped"
        assert not job.ledger.open
        job.completes(new_run=False)
        assert sorted(job.receiver.members) == ["p1@x.org", "p2@x.org"]


def test_groups_grow_where_a_destination_is_fast_and_one_commit_ends_one_and_begins_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "WAITS_MS", 60_000)
    monkeypatch.setattr(groups, "MAX_AHEAD", 20)
    with audience_bench.bench(tmp_path, people(0, 50), batchSize=1) as job:
        job.completes()
        assert [(len(unit.closes), len(unit.intends)) for unit in job.ledger.units] == [
            (0, 0), (8, 16), (16, 20), (20, 6), (6, 0), (0, 0),
        ]  # fmt: skip


def test_at_a_slow_destination_each_outcome_is_committed_and_groups_stay_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "WAITS_MS", -1)  # every request takes longer
    with audience_bench.bench(tmp_path, people(0, 20), batchSize=1) as job:
        job.completes()
        assert [unit.rows for unit in job.ledger.units] == [0, *[1] * 20, 0]
        assert max(len(unit.intends) for unit in job.ledger.units) == FIRST_AHEAD


def test_a_group_ends_before_its_bodies_are_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MAX_AHEAD_BYTES", 1_000)
    messages = [{"id": number, "text": "x" * 400} for number in range(5)]
    with (
        serving() as server,
        http_bench.bench(tmp_path, "export-webhook", url=server.url, batchSize=1, messages=messages) as job,
    ):
        job.run()
    assert [(len(unit.closes), len(unit.intends)) for unit in job.ledger.units] == [(3, 2), (2, 0)]
