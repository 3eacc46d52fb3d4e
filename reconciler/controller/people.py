"""What is known of people, for whoever asks: the members of an audience, one profile and where it comes from.

Only reads, and works while a daemon builds: the files that a question was answered from may be replaced meanwhile, so
it is asked again of the new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reconciler.clock import Now
from reconciler.controller.rebuilds import observed_rules
from reconciler.controller.settings import Settings
from reconciler.core.profile import ProfileRules, ProfileSet, rules_digest
from reconciler.core.suggest import did_you_mean
from reconciler.core.value import dataclass
from reconciler.errors import UsageError
from reconciler.record.store import Record

if TYPE_CHECKING:
    from reconciler.core.messages import SegmentRef
    from reconciler.data.profiles.sources import Source
    from reconciler.record.profiles import AudiencePoint

#: So often a question is asked again because the files that it was asked of have been replaced.
TRIES: Final = 5

#: Why an identifier that was seen is nobody's.
VOID: Final = "it has come with more values of another key than `maxPerKey` allows"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """How far the profiles are behind what is on the streams. `built_ms` is None before the first build; `changed` says
    that the streams speak otherwise about people since, so that all is built anew next time."""

    built_ms: int | None
    messages: int
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceFacts:
    """An audience as it is now, judged over the profiles as they were last built."""

    name: str
    where: str
    size: int
    profiles: int
    next_change_ms: int | None
    sample: list[dict[str, Any]]
    growth: list[AudiencePoint]
    behind: Behind


def audience_facts(settings: Settings, name: str, now: Now, *, sample: int, since_ms: int) -> AudienceFacts:
    """Raises UsageError for a name that no record knows, and where its condition does not fit the streams any more."""
    from reconciler.core.language import BadExpression
    from reconciler.data import audiences

    def ask(record: Record, profiles: ProfileSet, rules: ProfileRules) -> AudienceFacts:
        where = str(known_spec(record, "Audience", name)["where"])
        data, memory_mb = settings.state / "data", settings.memory_mb
        found = audiences.audience_sizes(data, profiles, rules, {name: where}, now.wall_ms, memory_mb=memory_mb)[name]
        try:
            some = audiences.sample(data, profiles, rules, where, now.wall_ms, memory_mb=memory_mb, limit=sample)
        except BadExpression as error:
            raise UsageError(f"the condition of the audience '{name}' does not fit its streams: {error}") from None
        return AudienceFacts(
            name=name,
            where=where,
            size=found.size or 0,
            profiles=int(profiles.facts.get("profiles", 0)),
            next_change_ms=found.next_change_ms,
            sample=some,
            growth=record.profiles.sizes(name, since_ms),
            behind=_behind(record, profiles),
        )

    return asked(settings, ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeFacts:
    """An attribute of one person, and which message said so; None where none did."""

    name: str
    value: Any
    merge: str
    said: Source | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonFacts:
    """What is known of one person. `audiences` are those that the person is in now."""

    id: str
    aliases: tuple[str, ...]
    identifiers: tuple[tuple[str, str], ...]
    attributes: tuple[AttributeFacts, ...]
    audiences: tuple[str, ...]
    messages: int
    behind: Behind


def person_facts(settings: Settings, key: str, value: str, now: Now) -> PersonFacts:
    """Raises UsageError for a key that no stream declares, and for somebody who is not known."""
    from reconciler.data import audiences
    from reconciler.data.engine import workspace
    from reconciler.data.profiles.read import ProfileReader
    from reconciler.data.profiles.sources import sources

    def ask(record: Record, profiles: ProfileSet, rules: ProfileRules) -> PersonFacts:
        check_key(key, observed_rules(record), rules)
        data = settings.state / "data"
        if not data.is_dir():
            raise UsageError(f"nobody is known by {key}={value}{_hint(_behind(record, profiles))}")
        reader = ProfileReader(data, profiles, rules)
        with workspace(data, memory_mb=settings.memory_mb) as connection:
            found = reader.named(connection, key, value)
            if found is None and reader.is_void(connection, key, value):
                raise UsageError(f"{key}={value} belongs to nobody: {VOID}")
            if found is None:
                raise UsageError(f"nobody is known by {key}={value}{_hint(_behind(record, profiles))}")
            streams = {one.name: _built(record, one.name, profiles) for one in rules.streams}
            said = {one.attribute: one for one in sources(connection, data, rules, found, streams)}
        wheres = {one.name: one.spec["where"] for one in record.resources.resources("Audience") if one.life == "live"}
        within = audiences.audiences_of(
            data, profiles, rules, wheres, now.wall_ms, memory_mb=settings.memory_mb, profile=found.id
        )
        merges = {one.name: one.merge for stream in rules.streams for one in stream.attributes}
        return PersonFacts(
            id=found.id,
            aliases=found.aliases,
            identifiers=found.identifiers,
            attributes=tuple(
                AttributeFacts(name=name, value=one, merge=merges[name], said=said.get(name))
                for name, one in found.attributes.items()
            ),
            audiences=tuple(within),
            messages=found.messages,
            behind=_behind(record, profiles),
        )

    return asked(settings, ask)


def check_key(key: str, *known: ProfileRules) -> None:
    """Raises UsageError for a key that none of these declares."""
    keys = list(dict.fromkeys([*(one for rules in known for one in rules.keys), "id"]))
    if key not in keys:
        raise UsageError(
            f"no stream identifies people by '{key}'; known are {', '.join(keys)}{did_you_mean(key, keys)}"
        )


def _hint(behind: Behind) -> str:
    if behind.built_ms is None:
        return "; no profiles were built yet"
    return f"; {behind.messages:,} messages are not built yet" if behind.messages else ""


def _built(record: Record, stream: str, profiles: ProfileSet) -> tuple[SegmentRef, ...]:
    """The segments of a stream, as far as the profiles were built from them."""
    stop = profiles.built.get(stream, 0)
    return tuple(one for one in record.streams.segments(stream) if one.first < stop)


def asked(settings: Settings, question: Callable[[Record, ProfileSet, ProfileRules], Answer]) -> Answer:
    """A question to the profiles that serve, with the rules that they were built by. Raises what the question raises;
    where its files were replaced while it read them it is asked again."""
    from reconciler.data.engine import EngineError

    for attempt in range(TRIES):
        with Record.reading(settings.state) as record:
            profiles = record.profiles.current()
            try:
                return question(record, profiles, record.profiles.rules())
            except (EngineError, FileNotFoundError):
                if attempt == TRIES - 1 or record.profiles.current().build == profiles.build:
                    raise
    raise AssertionError("the last try either answers or raises")


def observed_behind(record: Record, profiles: ProfileSet) -> int:
    """Messages that the profiles do not have yet."""
    return _behind(record, profiles).messages


def _behind(record: Record, profiles: ProfileSet) -> Behind:
    rules = observed_rules(record)
    ends = record.streams.ends()
    changed = bool(profiles.build) and profiles.rules != rules_digest(rules)
    built: Mapping[str, int] = {} if changed else profiles.built
    missing = sum(max(0, ends.get(one.name, 0) - built.get(one.name, 0)) for one in rules.streams)
    return Behind(built_ms=record.profiles.built_ms(), messages=missing, changed=changed)


def known_spec(record: Record, kind: str, name: str) -> Mapping[str, Any]:
    """The spec of a resource. Raises UsageError with names that are close."""
    found = record.resources.resource(kind, name)
    if found is not None and found.life == "live":
        return found.spec
    if record.desired.document(kind, name) is not None:
        raise UsageError(f"the {kind.lower()} '{name}' is declared but not there yet: run `reconcile` first")
    names = [one.name for one in record.resources.resources(kind) if one.life == "live"]
    raise UsageError(f"there is no {kind.lower()} '{name}'{did_you_mean(name, names)}")
