"""What an import of JSON remembers between runs, and in the middle of one: its cursor.

    {"since": highest value of the last whole listing, "edge": [digests of the records at that value],
     "pages": [digests of the answers of the last whole listing],
     "validators": {"url": digest, "etag": …, "modified": …},
     "open": the listing in progress, if any:
         {"shape": digest of the request's config, "place": the next page, "count": pages so far,
          "high": …, "edge": […], "pages": […]}}

Without `incremental` an answer that is the same, byte for byte, as one of the last whole listing is nothing new, like a
file that has not changed; any other lands whole. With it, a record is new where its value is above `since`, or equal to
it and not in `edge`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from reconciler.core.document import digest_of
from reconciler.core.provider import Json
from reconciler.core.value import dataclass
from reconciler.errors import Fatal
from reconciler.providers.cursors import fields_of, refused, texts_of

#: So many answers of a listing without `incremental` are remembered; the ones after them land again in every run.
MAX_PAGES_KEPT: Final = 1000
#: So many records may share the highest value.
MAX_EDGE: Final = 20_000
#: The longest text that a value of the incremental field may be (int() refuses more than 4300 digits).
MAX_VALUE: Final = 1000


_OWN: Final = "import-json"

#: A comparable value, after the kind of order that it stands in.
Key = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing in progress."""

    shape: str
    place: dict[str, Any]
    count: int = 0
    high: Json = None
    edge: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    since: Json = None
    edge: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    validators: dict[str, str] = field(default_factory=dict)
    open: Listing | None = None

    @classmethod
    def load(cls, cursor: Json) -> Progress:
        if cursor is None:
            return cls()
        if set(fields_of(cursor, _OWN, {"validators": dict})) != {"since", "edge", "pages", "validators", "open"}:
            raise refused(_OWN)
        assert isinstance(cursor, dict)
        edge, pages = texts_of(cursor["edge"], _OWN), texts_of(cursor["pages"], _OWN)
        validators = {str(name): str(value) for name, value in cursor["validators"].items()}
        return cls(_value(cursor["since"]), edge, pages, validators, _listing(cursor["open"]))

    def cursor(self) -> Json:
        made = asdict(self)
        for part in (made, made["open"] or {}):
            part.update({name: list(part[name]) for name in ("edge", "pages") if name in part})
        return made

    def begin(self, shape: str, place: dict[str, Any]) -> Progress:
        """With a listing in progress: the one that was cut off, unless it was of another shape."""
        if self.open is not None and self.open.shape == shape:
            return self
        return replace(self, open=Listing(shape, place, high=self.since, edge=self.edge))

    def finish(self) -> Progress:
        """After the last page."""
        assert self.open is not None
        return replace(self, since=self.open.high, edge=self.open.edge, pages=self.open.pages, open=None)


def _listing(kept: Json) -> Listing | None:
    if kept is None:
        return None
    one = fields_of(kept, _OWN, {"shape": str, "place": dict, "count": int})
    edge, pages = texts_of(one.get("edge"), _OWN), texts_of(one.get("pages"), _OWN)
    return Listing(one["shape"], one["place"], one["count"], _value(one.get("high")), edge, pages)


def _value(kept: Json) -> Json:
    if kept is not None and not _usable(kept):
        raise refused(_OWN)
    return kept


@dataclass(frozen=True, slots=True)
class Sifted:
    """What is new in a page: indices of its rows, indices of rows without a usable value, and the highest
    value with the digests of the records at it, over the whole listing so far."""

    new: list[int]
    bad: list[int]
    high: Json
    edge: tuple[str, ...]


def sift(records: Sequence[Mapping[str, Any]], path: str, progress: Progress) -> Sifted:
    """Sorts a page's records by the incremental field. Raises Fatal where values cannot be compared."""
    assert progress.open is not None
    values = [_at(record, path) for record in records]
    bad = [index for index, value in enumerate(values) if not _usable(value)]
    keys = {index: _key(value) for index, value in enumerate(values) if _usable(value)}
    since, high = _key(progress.since), _key(progress.open.high)
    _refuse_mixed(path, since, *keys.values())
    new = _new_rows(records, keys, since, frozenset(progress.edge))
    top = max((keys[index] for index in new), default=high)
    if top is None or (high is not None and top < high):
        return Sifted(new, bad, progress.open.high, progress.open.edge)
    at_top = [index for index in new if keys[index] == top]
    kept = progress.open.edge if top == high else ()
    edge = tuple(dict.fromkeys([*kept, *(digest_of(records[index])[:16] for index in at_top)]))
    if len(edge) > MAX_EDGE:
        raise Fatal(f"more than {MAX_EDGE} records share the highest {path}; use a field with finer values")
    return Sifted(new, bad, values[at_top[0]] if at_top else progress.open.high, edge)


def _new_rows(
    records: Sequence[Mapping[str, Any]], keys: dict[int, Key], since: Key | None, old: frozenset[str]
) -> list[int]:
    """The rows above `since`, and those at it that were not there when it was reached."""
    if since is None:
        return list(keys)
    return [
        index
        for index, key in keys.items()
        if key > since or (key == since and digest_of(records[index])[:16] not in old)
    ]


def _refuse_mixed(path: str, *keys: Key | None) -> None:
    kinds = sorted({key[0] for key in keys if key is not None})
    if len(kinds) > 1:
        raise Fatal(f"the values of {path} cannot be compared: {' and '.join(kinds)} stand side by side")


def _at(record: Any, path: str) -> Any:
    for step in path.split("."):
        record = record.get(step) if isinstance(record, dict) else None
    return record


def _usable(value: Json) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= MAX_VALUE
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Json) -> Any:
    """A value with the kind of order that it stands in: numbers and texts of digits by size, ISO 8601 times by the
    moment they mean, other texts letter by letter. None for None."""
    if value is None:
        return None
    if not isinstance(value, str):
        return "numbers", value
    if value.isdecimal() and value.isascii():
        return "texts of digits", int(value)
    if len(value) >= 10 and value[4] == "-":
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return "texts", value
        return "times", moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return "texts", value
