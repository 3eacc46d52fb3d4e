"""The `Context` that a provider is given: all that a run may know and do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from reconciler.clock import Clock
from reconciler.core.enrichment import Enrichment
from reconciler.core.members import Members
from reconciler.core.messages import Intended, Wanted
from reconciler.core.profile import ProfileFile, ProfileSet, profile_rules
from reconciler.core.provider import Data, Intent, Json, Secret, StreamReader, Unit
from reconciler.core.redact import Redactor
from reconciler.data.hands import open_data
from reconciler.data.stream import open_stream
from reconciler.errors import Fatal
from reconciler.runner.channel import Channel
from reconciler.runner.discretion import discreet, refuse_secrets
from reconciler.runner.forgetting import landing_of
from reconciler.runner.paths import Paths


class RunContext:
    """Reads of the order what a provider may see. `advance` is for the loop that runs the provider."""

    def __init__(
        self,
        channel: Channel,
        config: Any,
        credentials: Mapping[str, Secret],
        redactor: Redactor,
        paths: Paths,
        clock: Clock,
    ) -> None:
        order = channel.order
        self._redactor = redactor
        self._channel = channel
        self._order = order
        self._paths = paths
        self._clock = clock
        self.job = order.job
        self.run = order.run
        self.attempt = order.attempt
        self.unit = order.unit
        self.config = config
        self.cursor: Json = order.cursor
        self.omitted = order.omitted
        self.method = order.method
        self.credentials = credentials
        self.open_intents: tuple[Intent, ...] = order.open_intents
        self.approved = frozenset(order.approved)
        landing = self._landing = landing_of(order)
        data = open_data(
            Path(order.data_dir),
            job=order.job,
            run=order.run,
            attempt=order.attempt,
            unit=lambda: self.unit,
            received_ms=self.now_ms,
            landing=landing,
        )
        self.data: Data = discreet(data, redactor) if credentials else data

    def path(self, text: str) -> Path:
        return self._paths.path(text)

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        return self._paths.expand(pattern)

    def stream(self, name: str) -> StreamReader:
        segments = self._order.streams.get(name)
        if segments is None:
            raise Fatal(f"The job does not read a stream named {name!r}.")
        return open_stream(Path(self._order.data_dir), name, segments, self._order.columns.get(name, {}))

    def time_format(self, stream: str, column: str) -> str:
        declared = self._order.times.get(stream, {})
        return declared.get("format", "iso8601") if declared.get("field") == column else "iso8601"

    def profile_set(self) -> ProfileSet:
        """The profiles, once every unit is built that was committed before this was asked. Raises Retriable."""
        fields = self._channel.ask(Wanted(self.run, self.attempt), "The wish for profiles")
        files = tuple(ProfileFile(**one) for one in fields.pop("files"))
        return ProfileSet(**fields, files=files)

    def enrichment(self) -> Enrichment:
        from reconciler.data.enrich import open_enrichment

        order = self._order
        return open_enrichment(
            Path(order.data_dir), job=order.job, run=order.run, attempt=order.attempt, unit=lambda: self.unit,
            rules=profile_rules((name, spec) for name, spec in order.profiles), ask=self.profile_set,
            key=order.secret_key, memory_mb=order.memory_mb,
        )  # fmt: skip

    @cached_property
    def members(self) -> Members:
        from reconciler.data.members import open_members

        order = self._order
        if order.audience is None:
            raise Fatal("The job reads no audience.")
        return open_members(
            Path(order.data_dir), job=order.job, run=order.run, attempt=order.attempt, unit=lambda: self.unit,
            audience=order.audience, rules=profile_rules((name, spec) for name, spec in order.profiles),
            ask=self.profile_set, memory_mb=order.memory_mb, forgotten=order.forgotten_members,
        )  # fmt: skip

    def take_dropped(self) -> int:
        """How many messages of people who are forgotten were left out since this was last asked."""
        return 0 if self._landing is None else self._landing.take_dropped()

    def intend(self, intents: Sequence[Intent]) -> None:
        if not intents:
            return
        refuse_secrets(self._redactor, "An intent of the provider", said_by(intents))
        self._channel.ask(Intended(self.run, self.attempt, tuple(intents)), "The intent of the provider")

    def now_ms(self) -> int:
        return self._clock.now().wall_ms

    def alive_ms(self) -> int:
        return self._clock.now().alive_ms

    def log(self, text: str) -> None:
        self._channel.capture.line(str(text))

    def stopping(self) -> bool:
        return self._channel.stopping()

    def advance(self, unit: Unit) -> None:
        """After a unit was committed: the next one begins where it ended."""
        self.unit += 1
        self.cursor = unit.cursor
        self.omitted += unit.omitted
        closed = set(unit.closes)
        self.open_intents = tuple(one for one in self.open_intents if one.key not in closed)


def said_by(intents: Sequence[Intent]) -> Json:
    """What intents put into the record. Raises Fatal where one is none."""
    if not isinstance(intents, Sequence) or not all(isinstance(one, Intent) for one in intents):
        raise Fatal("The provider intends something that is not an Intent.")
    return [[one.key, one.digest, one.detail] for one in intents]
