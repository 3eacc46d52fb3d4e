"""Documents of the fields that most specs have, read without a model: the same values by the same readers (`spec_types`),
without pydantic, which takes as long to import as a thousand documents take to read.

It accepts only what the models accept, and yields the same `Document`: a law, tested. What it does not know (a lane, quiet
hours, attributes) or would refuse it declines, and the model decides and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from reconciler.core.document import Document
from reconciler.core.duration import MAX_MS
from reconciler.core.normal import without_defaults
from reconciler.core.spec_types import (
    Argument,
    Column,
    ColumnName,
    ColumnType,
    Cron,
    Expression,
    FilePath,
    LabelKey,
    LabelValue,
    Line,
    Name,
    Read,
    TimestampFormat,
    TimeZone,
    Token,
    Variable,
    Word,
    Words,
    duration,
)
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

#: Longer lists and mappings are the model's: no limit of its is higher than what it is asked about here.
_FEW: Final = 64

Reader = Callable[[Any], Any]


class Declined(ValueError):
    """Not for here."""


def read(raw: Mapping[str, Any], *, path: str, ordinal: int, line: int, defaults: Mapping[str, Any]) -> Document:
    """The document of plain values, which a config's schema has accepted. Raises ValueError where the model has to look;
    `defaults` are those of the job type's schema."""
    kind = raw["kind"]
    spec = _SPECS.get(kind)
    if spec is None or raw.keys() != _TOP or raw["apiVersion"] != "reconciler/v1":
        raise Declined
    metadata, said = raw["metadata"], raw["spec"]
    if type(metadata) is not dict or type(said) is not dict:
        raise Declined
    known = _fields(metadata, _METADATA)
    name = known.get("name")
    if name is None or known.get("renamedFrom") == name:
        raise Declined
    return Document(
        kind=kind,
        name=name,
        path=path,
        ordinal=ordinal,
        line=line,
        title=known.get("title", ""),
        description=known.get("description", ""),
        labels=known.get("labels", {}),
        renamed_from=known.get("renamedFrom", ""),
        spec=spec(said, defaults),
    )


_TOP: Final = {"apiVersion", "kind", "metadata", "spec"}


def _fields(raw: Mapping[str, Any], readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Each field as its reader has it; one that has none is declined."""
    found = {}
    for name, value in raw.items():
        reader = readers.get(name)
        if reader is None:
            raise Declined
        found[name] = reader(value)
    return found


def _reader(annotated: Any) -> Reader:
    for one in get_args(annotated):
        if isinstance(one, Read):
            return one.read
    raise AssertionError("the type has a reader")


def _map(read_key: Reader, read_value: Reader) -> Reader:
    def read_map(raw: Any) -> dict[str, Any]:
        if type(raw) is not dict or len(raw) > _FEW:
            raise Declined
        return {read_key(name): read_value(raw[name]) for name in sorted(raw)}

    return read_map


def _one_of(*words: str) -> Reader:
    def read_word(raw: Any) -> Any:
        if type(raw) is not str or raw not in words:
            raise Declined
        return raw

    return read_word


def _flag(raw: Any) -> bool:
    if type(raw) is not bool:
        raise Declined
    return raw


def _true(raw: Any) -> bool:
    if raw is not True:
        raise Declined
    return True


def _number(least: float, most: float) -> Reader:
    def read_number(raw: Any) -> float:
        if type(raw) not in (int, float) or not least <= raw <= most:
            raise Declined
        return float(raw)

    return read_number


def _names(raw: Any) -> list[str]:
    if type(raw) is not list or len(raw) > _FEW:
        raise Declined
    found = [_read_name(one) for one in raw]
    if len(set(found)) != len(found):
        raise Declined
    return found


def _mapping(raw: Any) -> dict[str, Any]:
    if type(raw) is not dict:
        raise Declined
    return raw


_read_name: Final = _reader(Name)

_METADATA: Final[Mapping[str, Reader]] = {
    "name": _read_name,
    "title": _reader(Line),
    "description": _reader(Words),
    "labels": _map(_reader(LabelKey), _reader(LabelValue)),
    "renamedFrom": _read_name,
}

# --- Job ------------------------------------------------------------------------------------------------------------

_SCHEDULE: Final[Mapping[str, Reader]] = {
    "every": duration(1, MAX_MS, "").read,
    "cron": _reader(Cron),
    "timezone": _reader(TimeZone),
    "once": _true,
    "continuous": _true,
    "afterDependencies": _true,
}
_RETRY: Final[Mapping[str, Reader]] = {
    "initial": duration(1, DAY_MS, "").read,
    "factor": _number(1, 100),
    "max": duration(1, 7 * DAY_MS, "").read,
    "jitter": _number(0, 1),
    "failAfter": duration(0, MAX_MS, "").read,
}
#: What equals these is left out, in the order of a normalised spec.
_RETRY_DEFAULTS: Final[Mapping[str, Any]] = {
    "factor": 2.0,
    "failAfter": 10 * HOUR_MS,
    "initial": 30 * SECOND_MS,
    "jitter": 0.2,
    "max": 30 * MINUTE_MS,
}


def _schedule(raw: Any) -> dict[str, Any] | None:
    """None for once, which is the default."""
    given = _fields(_mapping(raw), _SCHEDULE)
    ways = given.keys() - {"timezone"}
    if len(ways) != 1 or ("timezone" in given and "cron" not in ways):
        raise Declined
    if "once" in ways:
        return None
    return {"cron": given["cron"], "timezone": given.get("timezone", "UTC")} if "cron" in ways else given


def _retry(raw: Any) -> dict[str, Any]:
    given = {**_RETRY_DEFAULTS, **_fields(_mapping(raw), _RETRY)}
    if given["initial"] > given["max"]:
        raise Declined
    return {name: given[name] for name, default in _RETRY_DEFAULTS.items() if given[name] != default}


_JOB: Final[Mapping[str, Reader]] = {
    "authorization": _read_name,
    "config": _mapping,
    "deletionPolicy": _one_of("delete", "orphan", "protect"),
    "dependsOn": _names,
    "jobType": _reader(Word),
    "provider": _reader(Word),
    "rerun": _reader(Token),
    "restart": _reader(Token),
    "retry": _retry,
    "schedule": _schedule,
    "suspend": _flag,
    "timeout": duration(1, MAX_MS, "").read,
}


def _job(raw: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    given = _fields(raw, _JOB)
    schedule = given.get("schedule")
    if schedule is not None and "afterDependencies" in schedule and not given.get("dependsOn"):
        raise Declined
    if "provider" not in given or "jobType" not in given:
        raise Declined
    if "config" in given:
        given["config"] = without_defaults(given["config"], defaults)
    if "dependsOn" in given:
        given["dependsOn"].sort()
    if given.get("deletionPolicy") == "delete":
        del given["deletionPolicy"]
    return {name: given[name] for name in _JOB if given.get(name)}  # no field of a job has a value that is 0


# --- Authorization, Stream, Audience --------------------------------------------------------------------------------


def _words_of_a_command(raw: Any) -> list[str]:
    if type(raw) is not list or not 1 <= len(raw) <= _FEW:
        raise Declined
    return [_read_argument(one) for one in raw]


_read_argument: Final = _reader(Argument)
_REFERENCE: Final[Mapping[str, Reader]] = {
    "env": _reader(Variable),
    "file": _reader(FilePath),
    "exec": _words_of_a_command,
}


def _reference(raw: Any) -> dict[str, Any]:
    if len(_mapping(raw)) != 1:
        raise Declined
    return _fields(raw, _REFERENCE)


_AUTHORIZATION: Final[Mapping[str, Reader]] = {
    "credentials": _map(_reader(Word), _reference),
    "method": _reader(Word),
    "provider": _reader(Word),
}


def _authorization(raw: dict[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    given = _fields(raw, _AUTHORIZATION)
    if "provider" not in given or "method" not in given:
        raise Declined
    return {name: given[name] for name in _AUTHORIZATION if given.get(name)}


_TIMESTAMP: Final[Mapping[str, Reader]] = {"field": _reader(Column), "format": _reader(TimestampFormat)}


def _timestamp(raw: Any) -> dict[str, Any]:
    given = _fields(_mapping(raw), _TIMESTAMP)
    if "field" not in given:
        raise Declined
    if given.get("format") == "iso8601":
        del given["format"]
    return {name: given[name] for name in _TIMESTAMP if name in given}


_STREAM: Final[Mapping[str, Reader]] = {
    "columns": _map(_reader(ColumnName), _reader(ColumnType)),
    "timestamp": _timestamp,
}


def _stream(raw: dict[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    given = _fields(raw, _STREAM)
    return {name: given[name] for name in _STREAM if given.get(name)}


_read_expression: Final = _reader(Expression)


def _audience(raw: dict[str, Any], _: Mapping[str, Any]) -> dict[str, Any]:
    if raw.keys() != {"where"}:
        raise Declined
    return {"where": _read_expression(raw["where"])}


_SPECS: Final[Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], dict[str, Any]]]] = {
    "Job": _job,
    "Authorization": _authorization,
    "Stream": _stream,
    "Audience": _audience,
}
