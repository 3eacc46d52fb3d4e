"""The jobs of a world, drawn from its seed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.simulation import feeds
from tests.simulation.parts import HISTORY, JOIN
from tests.simulation.people import FACTS, LIVE, Wanted
from tests.simulation.schedules import draw_schedule

if TYPE_CHECKING:
    from tests.simulation.world import World


def draw_jobs(world: World) -> list[Wanted]:
    dice, jobs = world.dice, []
    for number in range(dice.randint(1, 3)):
        stream = f"orders-{number}"
        world.streams.sources.append(stream)
        jobs.append(_draw_job(world, stream, imports=True, reads=""))
        names = [f"out-{number}-{export}" for export in range(dice.choice([0, 1, 1, 2]))]
        jobs += [_draw_job(world, name, imports=False, reads=stream) for name in names]
        if stream == world.mirrors.stream:
            jobs.append(_draw_job(world, f"mirror-{number}", imports=False, reads=stream, mirrors="keen"))
    world.all_streams = [*world.streams.sources]
    if world.lookups.there:
        job = _draw_job(world, "enrich-0", imports=False, reads=world.mirrors.stream)
        jobs.append(replace(job, looks_up=world.lookups.config()))
        world.all_streams.append(FACTS)
    if world.feeds.there:
        jobs += _draw_feed(world)
    if world.intake.there:
        world.all_streams.append(LIVE)
        jobs.append(_draw_job(world, "out-live", imports=False, reads=LIVE))
    for part in world.parts:
        jobs += part.jobs()
    if world.is_wide:
        jobs = [_chained(world, job, jobs) for job in jobs]
    world.all_jobs = {job.name: job for job in jobs}
    return jobs


def _chained(world: World, job: Wanted, jobs: list[Wanted]) -> Wanted:
    """A mirror may wait for all that says something of people, and what is joined for what is looked up."""
    if not job.mirrors:
        return job
    also = [one.name for one in jobs if one.looks_up or one.name in (JOIN, HISTORY)]
    after = tuple(one for one in also if world.dice.random() < 0.7 or one == HISTORY)
    return replace(job, after=after, is_steady=True, schedule=draw_schedule(world, is_import=False, is_steady=True))


def draw_job(world: World, name: str, *, reads: str, is_steady: bool = False) -> Wanted:
    """One for a part: an import, or one that reads what a job brings."""
    job = _draw_job(world, name, imports=not reads, reads=reads)
    if not is_steady:
        return job
    return replace(job, is_steady=True, schedule=draw_schedule(world, is_import=False, is_steady=True))


def _draw_feed(world: World) -> list[Wanted]:
    """An import from the API; what lands once can be followed by an export."""
    world.all_streams.append(feeds.STREAM)
    world.feeds.add()
    found = [replace(_draw_job(world, feeds.STREAM, imports=True, reads=""), feed=world.feeds.config())]
    if world.feeds.is_incremental:
        found.append(_draw_job(world, "out-feed", imports=False, reads=feeds.STREAM))
    return found


def _draw_job(world: World, name: str, *, imports: bool, reads: str, mirrors: str = "") -> Wanted:
    dice = world.dice
    retry = dice.choice(
        ("{initial: 30s, max: 10m}", "{initial: 1m, max: 2h, failAfter: 3h}", "{initial: 10s, jitter: 1}")
    )
    more = "" if dice.random() < 0.7 else ', quiet: {from: "22:00", to: "04:00", timezone: Europe/Paris}'
    more += "" if dice.random() < 0.7 else ", timeout: 30m"
    file = f"team-{dice.randrange(2)}/file-{dice.randrange(4)}.yaml"
    return Wanted(
        name=name, file=file, imports=imports, reads=reads, mirrors=mirrors, retry=retry, more=more,
        batch=dice.randint(1, 6), schedule=draw_schedule(world, is_import=imports, is_alone=reads == LIVE),
        suspend=dice.random() < 0.1 and world.mirrors.stream not in (name, reads),
        is_orphaned=dice.random() < 0.5,
    )  # fmt: skip
