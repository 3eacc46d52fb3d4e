"""A run of a backfill gives way to live ones: its process has a low priority, of the processor and of the disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from reconciler.core.backfill import digest_beyond
from reconciler.core.messages import Began, Produced
from reconciler.runner.processes import BACKFILL_NICE
from tests.runner.conftest import Bench, last, only

#: ioprio_get(2) by machine: it has no function in the C library.
IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31}
LOWEST_BEST_EFFORT = 2 << 13 | 7


def priorities(bench: Bench, **fields: str) -> tuple[int, int | None, str]:
    """Of a run at work: its nice value, the priority of its disk accesses, and what its session is worth."""
    bench.runner.start(bench.order("count", config={"units": 1}, **fields))
    heard = bench.until(lambda one: isinstance(one, Produced))
    pid = only(Began, heard)[0].pid
    get = IOPRIO_GET.get(os.uname().machine)
    disk = None if get is None else ctypes.CDLL(None).syscall(get, 1, pid)
    group = Path(f"/proc/{pid}/autogroup")
    session = group.read_text().rpartition("nice ")[2].strip() if group.exists() else ""
    found = os.getpriority(os.PRIO_PROCESS, pid), disk, session
    bench.runner.answer(1, True)
    bench.finish()
    return found


def test_a_backfill_s_process_has_the_lowest_priority_that_is_still_served(bench: Bench) -> None:
    nice, disk, session = priorities(bench, lane="backfill")
    assert nice == BACKFILL_NICE
    assert disk in (None, LOWEST_BEST_EFFORT)
    assert session in ("", str(BACKFILL_NICE))


def test_a_live_run_s_process_has_that_of_its_controller(bench: Bench) -> None:
    nice, disk, session = priorities(bench)
    assert nice == os.getpriority(os.PRIO_PROCESS, 0)
    assert disk != LOWEST_BEST_EFFORT
    assert session in ("", "0")


def test_a_backfill_that_nobody_can_judge_beforehand_stops_before_the_unit_that_is_too_much(bench: Bench) -> None:
    limited = {"lane": "backfill", "max_messages": 25, "config": {"units": 4}}
    heard = bench.run("count", **limited)
    ended, _ = last(heard)
    assert (len(only(Produced, heard)), ended.how) == (2, "held")
    assert ended.approval == digest_beyond("job-1", 1, 25)
    assert ended.message.startswith("the next 10 messages would take it past backfill.maxMessages (25)")
    assert len(only(Produced, bench.run("count", landed=10, **limited))) == 1
    assert len(only(Produced, bench.run("count", landed=25, **limited))) == 0
    assert len(only(Produced, bench.run("count", landed=25, approved=(ended.approval,), **limited))) == 4
