"""Profiles are built beside the loop: in a process of their own, one build at a time, while the old ones serve.

A build is wanted by a run that reads profiles (it waits for those in which everything is built that was committed
before it asked), by a person (`reconcile rebuild`), or in the background, when messages have come and nothing presses.
It writes new files; the record then swaps the list in one transaction. A build that dies leaves only files that no row
names. Where the rules of the streams have changed since the last build, the next one begins from nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field, replace
from typing import Any, Final

from reconciler.clock import Now
from reconciler.controller.hands import Hands
from reconciler.controller.rebuilds import observed_rules
from reconciler.core.backfill import BACKFILL, LIVE
from reconciler.core.issue import clip
from reconciler.core.messages import MAINTENANCE, Ended, Exited, FromRun, Order, Output, Produced, Reply, Wanted
from reconciler.core.profile import ProfileFile, ProfileRules, ProfileSet, rules_digest, rules_spec
from reconciler.core.value import dataclass
from reconciler.data.segments import PROFILES

#: Builds have run ids of their own, above those of compactions.
FIRST_BUILD: Final = 1 << 49
#: In the background a daemon builds so often at most, in milliseconds of uptime.
BUILD_EVERY_MS: Final = 30_000
#: After a build has failed, the background waits so long before it tries again.
RETRY_AFTER_MS: Final = 5 * 60_000


@dataclass(frozen=True, slots=True)
class _Waiter:
    """A run that waits for profiles with everything up to `stops`."""

    run: int
    attempt: int
    rules: str
    stops: Mapping[str, int]


@dataclass(slots=True)
class _Build:
    """The build at work. `error` is why it has failed, once it has."""

    run: int
    rules: ProfileRules
    stops: Mapping[str, int]
    began_ms: int
    asked: bool  # by a person, who wants to see how far it is
    lane: str
    error: str = ""
    is_cut_short: bool = False
    done: bool = False


@dataclass(slots=True)
class Builder:
    """Starts builds, commits what they made, and answers those who wait."""

    hands: Hands
    failure: str = ""  # of the last build; empty where it succeeded
    _at_work: _Build | None = None
    _waiting: list[_Waiter] = field(default_factory=list)
    _asked_anew: bool = False
    _has_grown: bool = True
    _next_ms: int = 0  # of uptime: when the background may build again
    _changes_ms: int | None = -1  # of wall time: when an audience next changes by itself; -1 is not known yet
    _moved: set[str] = field(default_factory=set)

    @property
    def began_ms(self) -> int | None:
        """When the build at work was given what it reads."""
        return None if self._at_work is None else self._at_work.began_ms

    @property
    def busy(self) -> bool:
        return self._at_work is not None

    def owns(self, run: int) -> bool:
        """Whether a run is a build."""
        return run >= FIRST_BUILD

    def grown(self) -> None:
        """Messages were committed, or a stream's rules may have changed: the background looks again."""
        self._has_grown = True

    def want(self, message: Wanted, now: Now) -> list[Reply]:
        """A run asks for profiles: at once, where they are there, else once they are built."""
        rules = self._rules()
        waiter = _Waiter(message.run, message.attempt, rules_digest(rules), self._stops(rules))
        current = self.hands.record.profiles.current()
        if _serves(current, waiter):
            return [Reply(message.run, value=asdict(current))]
        self._waiting.append(waiter)
        self._hurry()
        self._start(now)
        return []

    def forget(self, run: int) -> None:
        """A run is gone: nobody waits for it."""
        self._waiting = [one for one in self._waiting if one.run != run]

    def rebuild(self, now: Now) -> None:
        """Everything is to be built anew from the raw messages."""
        self._asked_anew = True
        self.failure = ""
        self._start(now)

    def keep(self, now: Now, *, pressing: bool = False, backfilling: bool = False) -> None:
        """The background's turn: builds what has come, no more often than is fair; `pressing` is at once, and so is what
        makes half of the backlog at which a backfill must pause."""
        if self._at_work is not None or not (self._has_grown or self._asked_anew or self._is_time(now)):
            return
        presses = pressing and not self.failure  # what has failed would fail again at once, and the pass never end
        if now.alive_ms < self._next_ms and not (presses or (backfilling and self._is_backlog_over(2))):
            return
        self._has_grown = False
        self._next_ms = now.alive_ms + BUILD_EVERY_MS
        if self._is_behind() or self._asked_anew or self._is_time(now):
            self._start(now, pressing=pressing)

    def _is_time(self, now: Now) -> bool:
        """Whether the moment has come at which a member enters or leaves an audience though nothing has arrived."""
        if self._changes_ms == -1:
            self._changes_ms = min(self.hands.record.profiles.next_changes().values(), default=None)
        return self._changes_ms is not None and self._changes_ms <= now.wall_ms

    def take_moved(self) -> set[str]:
        """The audiences that have changed by themselves, since this was last asked."""
        moved, self._moved = self._moved, set()
        return moved

    def is_crowded(self) -> bool:
        """Whether a backfill is to pause: so much waits to be built that a run which asks for profiles now would wait long
        for what is old. Not where profiles cannot be built at all."""
        return self._is_backlog_over(1)

    def _is_backlog_over(self, share: int) -> bool:
        return not self.failure and self._backlog() > self.hands.settings.max_backlog // share

    def take(self, message: FromRun, now: Now) -> list[Reply]:
        """What a build says; the answers that it and the runs which waited are owed."""
        build = self._at_work
        if build is None or message.run != build.run:
            return [Reply(message.run, accepted=False)] if isinstance(message, Produced) else []
        match message:
            case Produced(unit=unit):
                return self._commit(build, unit.cursor, now)
            case Ended(how=how) if how != "succeeded":
                build.error = message.message or f"the build was {how}"
            case Output(text=text):
                if build.asked:
                    self.hands.listener.notice(f"profiles: {text}")
            case Exited():
                return self._bury(build, now)
            case _:
                pass
        return []

    # --- a build's life ---------------------------------------------------------------------------------------------

    def _start(self, now: Now, *, pressing: bool = False) -> None:
        """Starts a build, unless one is at work: the next one then follows. One that nobody waits for, of what is new,
        gives way to runs; a pass waits for its own."""
        if self._at_work is not None:
            return
        record, rules = self.hands.record, self._rules()
        with record.transaction():
            number = int(record.setting("builds", 0)) + 1
            record.set_setting("builds", number)
        current = record.profiles.current()
        digest, stops = rules_digest(rules), self._next_stops(rules, current)
        base = ProfileSet() if self._asked_anew or current.rules != digest else current
        lane = BACKFILL if base.build and not self._waiting and not pressing else LIVE
        self._at_work = _Build(FIRST_BUILD + number, rules, stops, now.wall_ms, asked=self._asked_anew, lane=lane)
        self._asked_anew = False
        self.hands.runner.start(replace(self._order(number, rules, base, stops), lane=lane))

    def _hurry(self) -> None:
        """A build that gives way to runs is ended once one of them waits for it: on a busy machine it might have no turn
        for long. The next one has, and goes as far as they need."""
        build = self._at_work
        if build is not None and build.lane == BACKFILL and not (build.done or build.is_cut_short):
            build.is_cut_short = True
            self._has_grown = True
            self.hands.runner.kill(build.run)

    def _next_stops(self, rules: ProfileRules, current: ProfileSet) -> dict[str, int]:
        """How far the next build goes: as far as those need who wait, whatever a backfill has added since they asked; to
        the end where nobody waits. Never back behind what serves now."""
        ends, digest = self._stops(rules), rules_digest(rules)
        needed = [one.stops for one in self._waiting if one.rules == digest]
        if self._asked_anew or not needed:
            return ends
        return {name: max(one.get(name, 0) for one in (current.built, *needed)) for name in ends}

    def _order(self, number: int, rules: ProfileRules, base: ProfileSet, stops: Mapping[str, int]) -> Order:
        settings = self.hands.settings
        return Order(
            job="profiles",
            run=FIRST_BUILD + number,
            attempt=1,
            generation=1,
            root=str(settings.root),
            path="",
            provider=MAINTENANCE,
            job_type="build",
            config={"base": asdict(base), "stops": dict(stops), "build": number, "audiences": self._audiences()},
            profiles=tuple(rules_spec(rules)),
            streams={one.name: self.hands.record.streams.segments(one.name) for one in rules.streams},
            data_dir=str(settings.state / "data"),
            writes=(),
            memory_mb=settings.memory_mb,
        )

    def _commit(self, build: _Build, made: Any, now: Now) -> list[Reply]:
        sizes = made.pop("audiences")
        new = _profile_set(made)
        if (
            FIRST_BUILD + new.build != build.run
            or new.rules != rules_digest(build.rules)
            or dict(new.built) != dict(build.stops)
        ):
            build.error = "the build made other profiles than it was asked for"
            return [Reply(build.run, accepted=False)]
        self.hands.record.profiles.swap(new, build.rules, now.wall_ms)
        self._moved |= {
            name for name, at_ms in self.hands.record.profiles.next_changes().items() if at_ms <= now.wall_ms
        }
        self._changes_ms = -1
        known = {name: (size, next_ms) for name, (size, next_ms) in sizes.items() if size is not None}
        self.hands.record.profiles.note_sizes(known, now.wall_ms)
        build.done = True
        self._tell_void(new)
        served = [one for one in self._waiting if _serves(new, one)]
        self._waiting = [one for one in self._waiting if one not in served]
        value = asdict(new)
        return [Reply(build.run), *(Reply(one.run, value=value) for one in served)]

    def _tell_void(self, new: ProfileSet) -> None:
        """Whose identifiers turned out to be too many people's."""
        for one in new.facts.get("voided", ()):
            self.hands.listener.notice(
                f"profiles: {one['key']}={clip(one['value'])} belongs to nobody from now on: "
                f"it came with {one['values']} values of {one['key2']} (maxPerKey)"
            )

    def _bury(self, build: _Build, now: Now) -> list[Reply]:
        """The build's process is gone. Those who still wait get the next one, or are told that there is none."""
        self._at_work = None
        if not build.done:
            self._discard(build)
        self.failure = "" if build.done or build.is_cut_short else build.error or "the build's process ended by itself"
        if self.failure:
            self._next_ms = now.alive_ms + RETRY_AFTER_MS
            self._has_grown = True
            self.hands.listener.notice(f"profiles could not be built: {self.failure}")
            return self._refuse(self._waiting, f"profiles could not be built: {self.failure}")
        digest = rules_digest(self._rules())
        outdated = [one for one in self._waiting if one.rules != digest]
        replies = self._refuse(outdated, "the rules of the streams have changed while profiles were built")
        if self._waiting or self._asked_anew:
            self._start(now)
        return replies

    def _refuse(self, refused: list[_Waiter], why: str) -> list[Reply]:
        self._waiting = [one for one in self._waiting if one not in refused]
        return [Reply(one.run, refusal=why) for one in refused]

    def _discard(self, build: _Build) -> None:
        """Removes what a build wrote that did not come to its end."""
        folder = self.hands.settings.state / "data" / PROFILES
        for path in folder.glob(f"{build.run - FIRST_BUILD}-*"):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    # --- what there is to build -------------------------------------------------------------------------------------

    def _is_behind(self) -> bool:
        rules = self._rules()
        current = self.hands.record.profiles.current()
        if not rules.streams and not current.build:
            return False
        stops = self._stops(rules)
        if not current.build and not any(stops.values()):
            return False
        return current.rules != rules_digest(rules) or dict(current.built) != stops

    def _backlog(self) -> int:
        """How many messages are on the streams and not yet in the profiles."""
        rules, current = self._rules(), self.hands.record.profiles.current()
        built = current.built if current.rules == rules_digest(rules) else {}
        return sum(end - built.get(name, 0) for name, end in self._stops(rules).items())

    def _rules(self) -> ProfileRules:
        return observed_rules(self.hands.record)

    def _audiences(self) -> dict[str, str]:
        """The conditions of all audiences: each is counted after the build."""
        audiences = self.hands.record.resources.resources("Audience")
        return {one.name: one.spec["where"] for one in audiences if one.life == "live"}

    def _stops(self, rules: ProfileRules) -> dict[str, int]:
        ends = self.hands.record.streams.ends()
        return {one.name: ends.get(one.name, 0) for one in rules.streams}


def _serves(current: ProfileSet, waiter: _Waiter) -> bool:
    """Whether everything is in that a run waits for."""
    if current.rules != waiter.rules:
        return not waiter.stops and not current.build
    return all(current.built.get(name, 0) >= stop for name, stop in waiter.stops.items())


def _profile_set(fields: Any) -> ProfileSet:
    """What a build says that it made. It is our own code in a process of its own: a wrong shape is our bug."""
    return ProfileSet(**{**fields, "files": tuple(ProfileFile(**one) for one in fields["files"])})
