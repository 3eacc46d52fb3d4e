"""What an import of files would add: the files that are new or changed, counted where that is cheap.

The first files are looked into, the others are taken to be like them. An approval is of exactly these files: one more,
or one that has changed since, and a person is asked anew.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final, Literal

from reconciler.core.backfill import digest_of_parts
from reconciler.core.provider import Estimate, Json, Measure, Prospect
from reconciler.errors import Fatal, Retriable
from reconciler.providers.files.imports import dialect

#: So many files are looked into.
SAMPLED: Final = 64

Kind = Literal["csv", "ndjson", "parquet"]


def estimate(kind: Kind, prospect: Prospect) -> Estimate:
    """What the import would land now. Raises Fatal and Retriable, with the file's name."""
    marks = (prospect.cursor or {}).get("files", {})
    found: list[Measure] = []
    parts: list[tuple[str, int, int]] = []
    for name, path in prospect.expand(prospect.config.path):
        new = _measure(kind, prospect, name, path, marks.get(name), sample=len(found) < SAMPLED)
        if new.size:
            found.append(new)
            parts.append((name, *_stat(name, path)))
    return Estimate(
        messages=_messages(found),
        size=sum(one.size for one in found),
        parts=len(found),
        exact=all(one.exact for one in found),
        digest=digest_of_parts(parts),
    )


def _measure(kind: Kind, prospect: Prospect, name: str, path: Path, mark: Json, *, sample: bool) -> Measure:
    try:
        return prospect.data.measure(path, mark, format=kind, sample=sample, **dialect(prospect.config))
    except (Fatal, Retriable) as error:
        raise type(error)(f"{name}: {error}") from None


def _stat(name: str, path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise Retriable(f"{name}: {error.strerror}") from None
    return found.st_size, found.st_mtime_ns


def _messages(found: list[Measure]) -> int:
    """Those that were counted or guessed, and as many a byte in the files that were not looked into."""
    known = [one for one in found if one.messages is not None]
    messages, size = sum(one.messages or 0 for one in known), sum(one.size for one in known)
    rest = sum(one.size for one in found if one.messages is None)
    return messages + (round(rest * messages / size) if size else 0)


ESTIMATES: Final = {kind: partial(estimate, kind) for kind in ("csv", "ndjson", "parquet")}
