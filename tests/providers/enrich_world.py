"""One enrichment on the conformance suite's bench: real data hands, a record in memory, and profiles of which only the
identifiers are there, in a file of the shape that the profile engine shows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.enrichment import Enrichment
from reconciler.core.profile import Identity, ProfileFile, ProfileRules, ProfileSet, StreamRules
from reconciler.core.provider import Provider, Unit
from reconciler.data.enrich import Digests, EnrichmentHands, Profiles
from reconciler.data.hands import open_data
from reconciler.data.segments import job_file
from reconciler.testing import BenchContext, Ledger, Place

NOW_MS = 4_000_000_000_000  # far behind every file's time, so that looks are trusted
STREAM = "facts"


class Crash(BaseException):
    """The process dies here."""


@dataclass
class World:
    """A job, the profiles that there are, and what has been committed."""

    provider: Provider
    job_type: str
    folder: Path
    config: dict[str, Any]
    credentials: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    now_ms: int = NOW_MS
    identities: tuple[Identity, ...] = (Identity(key="tail", column="tailnum", normalize=("trim", "upper")),)
    builds: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        root, data = self.folder / "root", self.folder / "root" / ".reconciler" / "data"
        data.mkdir(parents=True)
        self.place = Place(root=root, data_dir=data, credentials=self.credentials, ledger=Ledger(data))
        self.exit = ExitStack()
        self.profiles: ProfileSet = ProfileSet()

    # --- what there is

    def write(self, name: str, text: str) -> Path:
        path = self.place.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def has_profiles(self, *profiles: Sequence[str]) -> None:
        """A new build: profiles with these values of the first identity, in order of their first commit."""
        self.builds += 1
        key = self.identities[0].key
        table = pa.table(
            {
                "id": pa.array([f"{number:032x}" for number in range(len(profiles))], pa.string()),
                f"key:{key}": pa.array([list(values) for values in profiles], pa.list_(pa.string())),
            }
        )
        file = f"profiles/{self.builds}.parquet"
        (self.place.data_dir / "profiles").mkdir(exist_ok=True)
        pq.write_table(table, self.place.data_dir / file)
        made = ProfileFile(file=file, kind="profiles", part=0, build=self.builds, rows=len(profiles), size=1)
        self.profiles = ProfileSet(build=self.builds, rules="", files=(made,))

    # --- running

    def run(self, *, new_run: bool = True, dies_at: int = 0, stop_after: int = 0) -> list[Unit]:
        """An attempt of the job, every unit committed; those units. It dies before or after the commit `dies_at`."""
        place = self.place
        if new_run:
            place.run, place.attempt = place.run + 1, 0
        place.attempt += 1
        job_type = self.provider.job_type(self.job_type)
        assert job_type is not None
        steps = Steps(dies_at)
        context = Context(self, job_type.config(self.config), steps)
        made = []
        for unit in job_type.run(context):
            steps()
            place.ledger.commit(unit, place.run)
            self._sweep(unit)
            made.append(unit)
            steps()
            context.advance(unit)
            if len(made) == stop_after:
                break
        return made

    def _sweep(self, unit: Unit) -> None:
        """What the unit does not keep is gone, as the record would have it; what it keeps must be there."""
        assert unit.keeps is not None
        for path in (self.place.data_dir / "jobs").rglob("*.parquet"):
            if path.relative_to(self.place.data_dir).as_posix() not in unit.keeps:
                path.unlink()
        assert all((self.place.data_dir / file).is_file() for file in unit.keeps)

    def landed(self) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.place.texts(STREAM)]

    def facts(self, *columns: str) -> list[tuple[Any, ...]]:
        return [tuple(message.get(column) for column in columns) for message in self.landed()]

    def rejects(self) -> list[tuple[int, str, str]]:
        files = [file for unit in self.place.ledger.units for file in unit.rejects]
        lines = [json.loads(line) for file in files for line in (self.place.data_dir / file).read_text().splitlines()]
        return [(line["line"], line["reason"], line["text"]) for line in lines]


class Steps:
    """Counts the moments at which a controller can die, and dies at the one that is asked for."""

    def __init__(self, dies_at: int) -> None:
        self.taken = 0
        self._dies_at = dies_at

    def __call__(self) -> None:
        self.taken += 1
        if self.taken == self._dies_at:
            raise Crash


class Context(BenchContext):
    """The bench's context with the hands of an enrichment, at the world's time."""

    def __init__(self, world: World, config: Any, steps: Steps) -> None:
        super().__init__(world.place, config, world.method, frozenset(), steps)
        self._world = world
        self.now_ms = lambda: world.now_ms  # type: ignore[method-assign]
        self.data = open_data(
            world.place.data_dir, job=self.job, run=self.run, attempt=self.attempt, unit=lambda: self.unit,
            received_ms=self.now_ms,
        )  # fmt: skip

    def enrichment(self) -> Enrichment:
        world = self._world
        rules = ProfileRules(streams=(StreamRules(name=STREAM, identity=world.identities),))
        return EnrichmentHands(
            world.place.data_dir,
            Profiles(rules, self._ask, self._view),
            lambda what: job_file(self.job, self.run, self.attempt, self.unit, what),
            Digests("it's a key"),
            memory_mb=256,
        )

    def _ask(self) -> ProfileSet:
        self._world.asked += 1
        return self._world.profiles

    def _view(self, profiles: ProfileSet, keys: Sequence[str]) -> str:
        (file,) = profiles.files
        columns = ", ".join(f'"key:{key}"' for key in keys)
        return f"SELECT id, {columns} FROM read_parquet('{self._world.place.data_dir.resolve() / file.file}')"
