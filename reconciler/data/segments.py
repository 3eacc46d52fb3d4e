"""Segments: the immutable Parquet files that a stream is made of, by name alone.

A segment of stream `orders` is `streams/orders/<job>-<run>-<attempt>-<unit>-<n>.parquet` in the data folder: the name
is unique without asking a clock, and says who may still be staging the file. Bad rows stand in
`rejects/<job>/run-<run>-unit-<unit>.ndjson`, and what a job keeps for itself (its ledger) in
`jobs/<job>/<run>-<attempt>-<unit>-<what>`; profiles are in `profiles/`. A file that no row of the record names is garbage.

This module plans and sweeps; it reads no Parquet, so the controller may import it at no cost.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from reconciler.core.provider import Staged

#: Compaction aims at segments of this size, and leaves alone what is at least half as large.
TARGET_BYTES: Final = 64 << 20

#: Fewer neighbours than this are not worth writing anew.
MIN_GROUP: Final = 4

STREAMS: Final = "streams"
REJECTS: Final = "rejects"
JOBS: Final = "jobs"
PROFILES: Final = "profiles"
TEMPORARY: Final = ".tmp"
#: How the folders begin in which queries keep what does not fit into memory, and previews what they compare.
SCRATCH: Final = (".spill-", ".mapping-", ".preview-")

_SEGMENT: Final = re.compile(r"(?P<job>.+)-(?P<run>\d+)-\d+-\d+-\d+\.parquet(?:\.tmp)?")
_OWN: Final = re.compile(r"(?P<run>\d+)-\d+-\d+-.+")
_REJECTS: Final = re.compile(r"run-(?P<run>\d+)-unit-\d+\.ndjson")


def segment_file(stream: str, job: str, run: int, attempt: int, unit: int, number: int) -> str:
    """The path of a new segment, relative to the data folder."""
    return f"{STREAMS}/{stream}/{job}-{run}-{attempt}-{unit}-{number}.parquet"


def compacted_file(stream: str, name: str) -> str:
    """The path of a compacted segment, relative to the data folder; `name` is the caller's and must be new."""
    return f"{STREAMS}/{stream}/{name}.parquet"


def job_folder(job: str) -> str:
    """Where a job's own files lie, relative to the data folder, with a slash at its end."""
    return f"{JOBS}/{job}/"


def job_file(job: str, run: int, attempt: int, unit: int, what: str) -> str:
    """The path of a new file of the job's own, relative to the data folder. `what` names it within its unit, ending
    included (`ledger-0.parquet`)."""
    return f"{job_folder(job)}{run}-{attempt}-{unit}-{what}"


def rejects_file(job: str, run: int, unit: int) -> str:
    """The path of a unit's bad rows, relative to the data folder."""
    return f"{REJECTS}/{job}/run-{run}-unit-{unit}.ndjson"


def run_of(file: str) -> int | None:
    """The run that staged a segment or a job's own file, by its path relative to the data folder; None for any other."""
    folder, _, name = file.rpartition("/")
    pattern = {STREAMS: _SEGMENT, JOBS: _OWN}.get(folder.partition("/")[0])
    match = pattern.fullmatch(name) if pattern else None
    return int(match["run"]) if match else None


def plan_compaction(segments: Sequence[Staged], *, target_bytes: int = TARGET_BYTES) -> list[tuple[Staged, ...]]:
    """Which neighbours of one stream (given in order of position, without gaps) become one segment each. Neighbours are
    of one schema, and every message keeps its position."""
    return [group for group in _groups(segments, target_bytes) if len(group) >= MIN_GROUP]


def _groups(segments: Sequence[Staged], target_bytes: int) -> Iterator[tuple[Staged, ...]]:
    group: list[Staged] = []
    size = 0
    for segment in segments:
        small = segment.size < target_bytes // 2
        fits = group and group[-1].schema == segment.schema and size + segment.size <= target_bytes
        if not (small and fits):
            yield tuple(group)
            group, size = [], 0
        if small:
            group.append(segment)
            size += segment.size
    yield tuple(group)


def sweep(data_dir: Path, named: Collection[str], *, running: Collection[tuple[str, int]] = ()) -> list[str]:
    """Removes the segments and rejects files that nobody needs, and returns them (relative to the data folder, sorted).

    `named` are the files that a row of the record names, and those that a run in progress was given to read, whatever
    compaction has done to them since. `running` are the (job, run) in progress, which may be staging files that no
    row names yet.
    """
    removed = []
    for path, owner in _files(data_dir):
        file = path.relative_to(data_dir).as_posix()
        if file in named or owner in running:
            continue
        with suppress(FileNotFoundError):
            path.unlink()
            removed.append(file)
    return sorted(removed)


def unnamed(data_dir: Path, named: Collection[str]) -> list[str]:
    """What `sweep` would remove where nothing is running."""
    files = (path.relative_to(data_dir).as_posix() for path, _ in _files(data_dir))
    return sorted(file for file in files if file not in named)


def sweep_temporary(data_dir: Path, before_ms: int) -> list[str]:
    """Removes the temporary folders of queries whose process died before it could, and returns them by name, sorted.
    One that was touched since `before_ms` may be of a reader that is still at work."""
    removed = []
    for folder in sorted(data_dir.glob(".*-*")):
        with suppress(FileNotFoundError):
            if folder.name.startswith(SCRATCH) and folder.stat().st_mtime * 1000 < before_ms:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder.name)
    return removed


def _files(data_dir: Path) -> Iterator[tuple[Path, tuple[str, int] | None]]:
    """Every file that is ours to sweep, with the job and run that made it."""
    for path in (data_dir / STREAMS).glob("*/*.parquet*"):
        found = _SEGMENT.fullmatch(path.name)
        yield path, (found["job"], int(found["run"])) if found else None
    for path in (data_dir / REJECTS).glob("*/*.ndjson"):
        found = _REJECTS.fullmatch(path.name)
        yield path, (path.parent.name, int(found["run"])) if found else None
    for path in (data_dir / PROFILES).glob("*"):
        yield path, None
    for path in (data_dir / JOBS).glob("*/*"):
        found = _OWN.fullmatch(path.name)
        yield path, (path.parent.name, int(found["run"])) if found else None
