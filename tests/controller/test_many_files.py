"""Logs and statuses of many jobs are written by more than one process, and are what one would have written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.controller import report
from reconciler.record.store import Record
from reconciler.repo.write import Writer
from tests.controller.conftest import Shop

JOBS = report.MANY + 20


def declare(shop: Shop) -> None:
    """Most are alike, and some are not."""
    for number in range(JOBS):
        shop.job(
            f"job-{number:03}",
            file=f"team-{number % 7}/job-{number:03}.yaml",
            metadata=f", title: 'Job {number}: \u00fc'" if number % 5 else "",
            suspend="true",
            schedule=f"{{every: {number}h}}" if number % 11 == 1 else "{every: 1h}",
            quiet="{from: '22:00', to: '06:00'}" if number % 3 else None,
        )


def written(shop: Shop) -> dict[Path, list[str]]:
    """What each log and status says, without the times."""
    files = sorted(path for path in shop.root.rglob("job-*") if path.name.endswith((".log", ".status.yaml")))
    return {
        path.relative_to(shop.root): [
            line.partition(" ")[2] if path.suffix == ".log" else line
            for line in path.read_text("utf-8").splitlines()
            if not line.strip().startswith(("createdAt", "updatedAt", "lastTransitionTime"))
        ]
        for path in files
    }


def as_one_would_write(shop: Shop, found: dict[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for path in found:
        (shop.root / path).unlink()
    monkeypatch.setattr(report, "MANY", 10 * JOBS)
    with Record.writing(shop.world.state) as record, record.transaction():
        record._connection.execute("UPDATE resource SET dirty = 1, status_digest = '' WHERE kind = 'Job'")
        record._connection.execute("UPDATE event SET logged = 0 WHERE kind = 'Job'")
    shop.go()
    assert written(shop) == found


def test_many_are_written_as_one_process_writes_them(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(shop)
    assert shop.go()["create"] == JOBS + 1
    found = written(shop)
    assert len(found) == 2 * JOBS
    assert all(len(lines) == 2 for path, lines in found.items() if path.suffix == ".log")
    assert shop.read(lambda record: record.jobs.dirty()) == []
    assert shop.read(lambda record: record.events.unlogged()) == []
    as_one_would_write(shop, found, monkeypatch)


def test_what_a_process_that_dies_has_not_written_is_written_and_nothing_twice(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(shop)
    me, append, write = os.getpid(), Writer.append_log, Writer.write_status

    def dies(call: object, after: str) -> object:
        def made(self: Writer, path: str, name: str, *rest: object, **more: object) -> object:
            done = call(self, path, name, *rest, **more)  # type: ignore[operator]
            if os.getpid() != me and name == after:
                os._exit(9)
            return done

        return made

    monkeypatch.setattr(Writer, "append_log", dies(append, f"job-{JOBS - 6:03}"))
    monkeypatch.setattr(Writer, "write_status", dies(write, f"job-{JOBS - 6:03}"))
    shop.go()
    monkeypatch.undo()
    found = written(shop)
    assert len(found) == 2 * JOBS
    as_one_would_write(shop, found, monkeypatch)
