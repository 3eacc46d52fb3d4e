"""A small real `Context` for the files provider: real folders, real data hands, units committed to a list as the
controller would commit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Data, Intent, StreamReader, Unit
from reconciler.data.hands import open_data
from reconciler.data.stream import open_stream
from reconciler.errors import Fatal
from reconciler.providers.files import PROVIDER

NOW_MS = 4_000_000_000_000  # far behind every file's time, so that looks are trusted


class Crash(BaseException):
    """The process dies here."""


@dataclass
class World:
    """What the controller keeps: committed units, cursors, segments, intents; and the spec's folder."""

    folder: Path
    data_dir: Path
    block_bytes: int = 16 << 20
    now_ms: int = NOW_MS
    run: int = 0
    units: list[Unit] = field(default_factory=list)
    cursors: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, list[SegmentRef]] = field(default_factory=dict)
    intents: dict[str, list[Intent]] = field(default_factory=dict)
    times: dict[tuple[str, str], str] = field(default_factory=dict)  # as Streams declare, by their name and the field's

    def start(self, job_type: str, config: Mapping[str, Any], *, job: str = "job") -> list[Unit]:
        """A whole new run of a job, every unit committed; the units of this run."""
        self.run += 1
        return self.attempt(job_type, config, job=job)

    def attempt(self, job_type: str, config: Mapping[str, Any], *, job: str = "job", attempt: int = 1) -> list[Unit]:
        """One more attempt of the latest run."""
        context = WorldContext(self, job, job_type, config, attempt)
        return [self.commit(job, context, unit) for unit in context.units()]

    def commit(self, job: str, context: WorldContext, unit: Unit) -> Unit:
        self.units.append(unit)
        self.cursors[job] = unit.cursor
        context.unit += 1
        context.omitted += unit.omitted
        self.intents[job] = [one for one in self.intents.get(job, []) if one.key not in unit.closes]
        for staged in unit.segments:
            known = self.streams.setdefault(staged.stream, [])
            first = known[-1].first + known[-1].rows if known else 0
            known.append(SegmentRef(file=staged.file, first=first, rows=staged.rows))
        return unit

    def reader(self, stream: str) -> StreamReader:
        return open_stream(self.data_dir, stream, self.streams.get(stream, []), {})

    def messages(self, stream: str) -> list[dict[str, Any]]:
        """Every message of a stream, as Python values in the types of its segment."""
        reader = self.reader(stream)
        return [row for _, table in reader.tables(0, reader.end) for row in table.to_pylist()]

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


class WorldContext:
    """Implements `Context` for one attempt."""

    method = ""
    credentials: Mapping[str, Any] = {}

    def __init__(self, world: World, job: str, job_type: str, config: Mapping[str, Any], attempt: int) -> None:
        found = PROVIDER.job_type(job_type)
        assert found is not None
        self._world = world
        self._type = found
        self.job = job
        self.run = world.run
        self.attempt = attempt
        self.config = found.config(config)
        self.cursor = world.cursors.get(job)
        self.unit = 1
        self.omitted = 0
        self.open_intents = tuple(world.intents.get(job, []))
        self.data: Data = open_data(
            world.data_dir, job=job, run=world.run, attempt=attempt, unit=lambda: self.unit,
            received_ms=lambda: world.now_ms, block_bytes=world.block_bytes,
        )  # fmt: skip

    def units(self) -> Iterator[Unit]:
        return self._type.run(self)

    def path(self, text: str) -> Path:
        return self._world.folder / text

    def expand(self, pattern: str) -> list[tuple[str, Path]]:
        if "*" not in pattern and not self.path(pattern).exists():
            raise Fatal(f"{pattern} does not exist")
        found = sorted(self._world.folder.glob(pattern))
        return [(path.relative_to(self._world.folder).as_posix(), path) for path in found]

    def stream(self, name: str) -> StreamReader:
        return self._world.reader(name)

    def time_format(self, stream: str, column: str) -> str:
        return self._world.times.get((stream, column), "iso8601")

    def intend(self, intents: Sequence[Intent]) -> None:
        self._world.intents.setdefault(self.job, []).extend(intents)

    def now_ms(self) -> int:
        return self._world.now_ms

    def log(self, text: str) -> None:
        print(text)

    def stopping(self) -> bool:
        return False
