"""`export-audience`: the members at the destination are those of the audience, and only what changed is sent."""

from __future__ import annotations

from pathlib import Path

from tests.providers.audience_bench import bench, people, person


def test_a_first_run_sends_everyone_and_a_second_one_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 5), batchSize=2) as job:
        job.completes()
        assert job.sent == [("add", ["p0@x.org", "p1@x.org"]), ("add", ["p2@x.org", "p3@x.org"]), ("add", ["p4@x.org"])]
        assert job.last_message == ("of 5 concerned 5 were added, 0 changed and 0 removed, 0 are omitted, 0 unchanged")
        assert job.completes().units == 0
        assert len(job.server.requests) == 3


def test_a_request_is_what_the_receiver_was_promised(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2)) as job:
        job.completes()
    (request,) = job.server.requests
    assert request.body == (
        b'{"job":"conformance","audience":"people","action":"add","members":['
        b'{"email":"p0@x.org","plan":"gold"},{"email":"p1@x.org","plan":"gold"}]}'
    )
    assert request.key.startswith("1-0-1-")


def test_only_what_changed_is_sent_additions_first_and_removals_last(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 10)) as job:
        job.completes()
        job.enroll([person(0, "silver"), *people(1, 9), person(20)])
        job.completes()
        assert job.sent[1:] == [("add", ["p20@x.org"]), ("update", ["p0@x.org"]), ("remove", ["p9@x.org"])]
        assert job.last_message == ("of 11 concerned 1 were added, 1 changed and 1 removed, 0 are omitted, 8 unchanged")
        assert set(job.receiver.members) == {f"p{number}@x.org" for number in [*range(9), 20]}
