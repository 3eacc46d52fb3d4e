"""Who uses a stream, and whether anything still comes in."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.streams import DAY_MS, Liveness, liveness, streams_of, users_of
from reconciler.providers import catalogue

HOUR_MS = DAY_MS // 24


@pytest.mark.parametrize(
    ("silent_ms", "gap_ms", "found"),
    [
        (0, None, Liveness.ACTIVE),
        (24 * HOUR_MS, HOUR_MS, Liveness.ACTIVE),
        (24 * HOUR_MS + 1, HOUR_MS, Liveness.STALE),
        (7 * DAY_MS, HOUR_MS, Liveness.STALE),
        (7 * DAY_MS + 1, HOUR_MS, Liveness.DEAD),
        (20 * DAY_MS, 7 * DAY_MS, Liveness.ACTIVE),  # a weekly one
        (21 * DAY_MS + 1, 7 * DAY_MS, Liveness.STALE),
        (71 * DAY_MS, 7 * DAY_MS, Liveness.DEAD),
        (-HOUR_MS, HOUR_MS, Liveness.ACTIVE),  # the clock was set back
    ],
)
def test_a_stream_is_judged_by_its_usual_gap_and_a_day_at_least(
    silent_ms: int, gap_ms: int | None, found: Liveness
) -> None:
    assert liveness(1_000 * DAY_MS, gap_ms, 1_000 * DAY_MS + silent_ms) is found


def test_a_stream_on_which_nothing_ever_arrived_is_empty() -> None:
    assert liveness(None, None, 0) is Liveness.EMPTY


IMPORT: dict[str, Any] = {"provider": "files", "jobType": "import-csv", "config": {"path": "a.csv", "stream": "orders"}}
EXPORT: dict[str, Any] = {"provider": "files", "jobType": "export-csv", "config": {"path": "b.csv", "stream": "orders"}}


def test_a_job_reads_or_writes_the_streams_that_its_type_says() -> None:
    provider = catalogue()["files"]
    for spec, access, other in ((IMPORT, "writes", "reads"), (EXPORT, "reads", "writes")):
        job_type = provider.job_type(spec["jobType"])
        assert job_type is not None
        assert streams_of(job_type, spec["config"], access) == ("orders",)  # type: ignore[arg-type]
        assert streams_of(job_type, spec["config"], other) == ()  # type: ignore[arg-type]


def test_the_users_of_a_stream_are_found_by_how_they_use_it() -> None:
    jobs = [("b-in", IMPORT), ("a-out", EXPORT), ("c-else", {**IMPORT, "config": {"path": "a.csv", "stream": "x"}})]
    assert users_of(catalogue(), jobs, "orders") == ["a-out", "b-in"]
    assert users_of(catalogue(), jobs, "orders", ("writes",)) == ["b-in"]


def test_a_job_of_a_provider_that_is_not_installed_counts_where_it_names_the_stream() -> None:
    gone = {"provider": "gone", "jobType": "import-x", "config": {"target": "orders", "n": 1}}
    assert users_of(catalogue(), [("a", gone), ("b", {**gone, "config": {}})], "orders") == ["a"]
