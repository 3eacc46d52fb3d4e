"""A soak tells drift from what is meant to grow; its short form runs a real daemon."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.soak.__main__ import soak
from tests.soak.verdict import MIB, Sample, judge, table

CALM = Sample(
    at_s=0, runs=0, rss=60 * MIB, forks_rss=110 * MIB, descriptors=30, record=MIB, wal=4 * MIB,
    rows={"run": 4_000, "setting": 10}, decision_s=0.1, yardstick_s=0.02,
)  # fmt: skip


def over(minutes: int, **changes: object) -> list[Sample]:
    """Samples of so many minutes; what `changes` names is what it says from the third quarter on."""
    late = replace(CALM, **changes)  # type: ignore[arg-type]
    return [
        replace(late if minute > minutes * 0.7 else CALM, at_s=minute * 60, runs=minute * 1_000)
        for minute in range(minutes + 1)
    ]


def drifts(samples: list[Sample]) -> list[str]:
    return [one.name for one in judge(samples) if not one.holds]


def test_a_daemon_that_stays_as_it_is_does_not_drift() -> None:
    assert drifts(over(60)) == []
    assert all(line.endswith("holds") for line in list(table(over(60)))[-7:])


def test_memory_descriptors_and_rows_that_grow_are_drift() -> None:
    assert drifts(over(60, rss=90 * MIB)) == ["memory of the daemon"]
    assert drifts(over(60, descriptors=60)) == ["open descriptors"]
    assert drifts(over(60, rows={"run": 4_000, "setting": 500})) == ["record, rows besides history"]
    assert list(table(over(60, rss=90 * MIB)))[-7].endswith("DRIFTS")


def test_history_that_grows_with_its_bytes_is_no_drift_and_bytes_alone_are() -> None:
    assert drifts(over(60, rows={"run": 40_000, "setting": 10}, record=10 * MIB)) == []
    assert drifts(over(60, record=10 * MIB)) == ["record, bytes a row"]


def test_a_slower_decision_is_drift_unless_the_machine_grew_slower_by_as_much() -> None:
    assert drifts(over(60, decision_s=0.5)) == ["edit to decision"]
    assert drifts(over(60, decision_s=0.5, yardstick_s=0.1)) == []


def test_a_short_soak_of_a_real_daemon_measures_it(tmp_path: Path) -> None:
    samples = soak(tmp_path, minutes=0.02, jobs_a_minute=120, jobs=4, every_s=0.5)
    assert samples[-1].runs >= 4
    assert samples[-1].rows["job"] == 5
    assert min(one.rss for one in samples) > 20 * MIB
    assert min(one.decision_s for one in samples) > 0
