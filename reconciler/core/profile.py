"""Profiles as values: the rules by which messages become profiles, and the files that a build has made.

The rules are what the Stream specs say of people, nothing else; their digest names the set of profiles that they make,
so a changed rule is a new set, built from the raw messages while the old one serves. Files are immutable Parquet in
`profiles/` of the data folder, and count only while the record lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.document import digest_of
from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.messages import SegmentRef

#: A value seen with more distinct values of another key than this belongs to nobody, unless an identity says otherwise.
MAX_PER_KEY: Final = 100

#: So many digits of a profile's id are shown in lists, and find it.
SHOWN_ID: Final = 12

#: Profiles are kept in sheets of so many attributes, because a row of a thousand would fill the memory.
SHEET: Final = 32

#: How values of an attribute become one, the default first.
MERGES: Final = ("latest", "first", "sum", "count", "min", "max", "set", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """One identifier of a message: the value of column `column` (raw name) under `key`, after `normalize`, in order."""

    key: str
    column: str
    normalize: tuple[str, ...] = ()
    max_per_key: int = MAX_PER_KEY


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute: a column or an expression (exactly one is not empty, or none for `count` of messages), and how its
    values become one."""

    name: str
    column: str = ""
    expression: str = ""
    merge: str = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRules:
    """What one Stream says of its messages. `timestamp_field` empty: the time that the message was landed with."""

    name: str
    columns: Mapping[str, str] = field(default_factory=dict)
    timestamp_field: str = ""
    timestamp_format: str = "iso8601"
    identity: tuple[Identity, ...] = ()
    attributes: tuple[Attribute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRules:
    """The rules of all streams that have an identity, by name."""

    streams: tuple[StreamRules, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The identity keys, sorted."""
        return tuple(sorted({one.key for stream in self.streams for one in stream.identity}))

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of all attributes, sorted."""
        return tuple(sorted({one.name for stream in self.streams for one in stream.attributes}))


def profile_rules(specs: Iterable[tuple[str, Mapping[str, Any]]]) -> ProfileRules:
    """The rules in the normalised specs of Streams, given as (name, spec)."""
    return ProfileRules(streams=tuple(stream_rules(name, spec) for name, spec in sorted(specs) if spec.get("identity")))


def rules_spec(rules: ProfileRules) -> list[list[Any]]:
    """The rules as JSON: (name, spec) again, for an order. `profile_rules` reads it."""
    return [[stream.name, _spec(stream)] for stream in rules.streams]


def rules_digest(rules: ProfileRules) -> str:
    """Names the set of profiles that these rules make, and how it is cut."""
    sheets = [["sheet", SHEET]] if len(rules.attributes) > SHEET else []
    return digest_of([*rules_spec(rules), *sheets])


def stream_rules(name: str, spec: Mapping[str, Any]) -> StreamRules:
    """The rules in one Stream's normalised spec."""
    timestamp = spec.get("timestamp", {})
    return StreamRules(
        name=name,
        columns=spec.get("columns", {}),
        timestamp_field=timestamp.get("field", ""),
        timestamp_format=timestamp.get("format", "iso8601"),
        identity=tuple(
            Identity(
                key=one["key"],
                column=one["from"],
                normalize=tuple(one.get("normalize", ())),
                max_per_key=one.get("maxPerKey", MAX_PER_KEY),
            )
            for one in spec.get("identity", ())
        ),
        attributes=tuple(
            Attribute(
                name=attribute,
                column=one.get("from", ""),
                expression=one.get("expr", ""),
                merge=one.get("merge", MERGES[0]),
            )
            for attribute, one in sorted(spec.get("attributes", {}).items())
        ),
    )


def _spec(stream: StreamRules) -> dict[str, Any]:
    made: dict[str, Any] = {
        "identity": [
            {"key": one.key, "from": one.column, "normalize": list(one.normalize), "maxPerKey": one.max_per_key}
            for one in stream.identity
        ],
        "attributes": {
            one.name: {"from": one.column, "expr": one.expression, "merge": one.merge} for one in stream.attributes
        },
        "columns": dict(stream.columns),
    }
    if stream.timestamp_field:
        made["timestamp"] = {"field": stream.timestamp_field, "format": stream.timestamp_format}
    return made


# --- what a build has made ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFile:
    """A file of a set of profiles, relative to the data folder. `kind` and `part` are the engine's own (which table,
    which bucket of it; -1 for a delta over all buckets). `build` is the number of the build that wrote it: where two
    files speak of the same row, the later build wins."""

    file: str
    kind: str
    part: int
    build: int
    rows: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSet:
    """The profiles as some build left them. `built` is, for each stream, the position up to which its messages are in.
    `rules` is the digest of the rules; `facts` are the counts that the build reported (profiles, identifiers, voids,
    messages without a time …)."""

    build: int = 0
    rules: str = ""
    built: Mapping[str, int] = field(default_factory=dict)
    files: tuple[ProfileFile, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildWork:
    """What a build is to do: bring `base` (an empty set for a rebuild) up to `stops`, the position of each stream up to
    which its messages are to be in. `streams` lists all segments of each stream. `build` is the number of this attempt,
    never used before: it is in the name of every file that the build writes."""

    rules: ProfileRules
    base: ProfileSet
    streams: Mapping[str, tuple[SegmentRef, ...]]
    stops: Mapping[str, int]
    build: int
