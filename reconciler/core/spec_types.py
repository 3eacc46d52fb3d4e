"""The values of a spec: how each is written, how it is read, and what its JSON Schema says of it.

Each type reads what YAML gave it and returns its normalised value (a duration becomes milliseconds), or refuses it with
`refusal`: a whole message that says what was expected and what was found. The one exception are credentials, whose
messages never repeat a value: what stands there may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final

from reconciler.core import time_format
from reconciler.core.duration import PATTERN, BadDuration, format_duration, parse_duration
from reconciler.core.issue import found, one_of, quoted
from reconciler.core.language.types import COLUMN_TYPES, MAX_DIGITS, column_type, is_decimal
from reconciler.core.suggest import did_you_mean
from reconciler.core.value import dataclass

if TYPE_CHECKING:  # imported late: these types are read without a model, too
    from pydantic_core import CoreSchema, PydanticCustomError

#: Limits of texts, in characters.
MAX_NAME: Final = 63
MAX_TITLE: Final = 200
MAX_DESCRIPTION: Final = 10_000
MAX_LABEL: Final = 200
MAX_TOKEN: Final = 200
MAX_COLUMN: Final = 256
MAX_EXPRESSION: Final = 2_000
MAX_PATTERN: Final = 100

NAME_PATTERN: Final = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_NAME: Final = re.compile("[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_LABEL_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,98}[A-Za-z0-9])?")
_TIME_OF_DAY: Final = re.compile("([01][0-9]|2[0-3]):[0-5][0-9]")
_MOMENT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,40}(?:/[A-Za-z0-9_+-]{1,40}){0,3}")
_VARIABLE: Final = re.compile("[A-Za-z_][A-Za-z0-9_]{0,199}")


def _in_any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter}]" for letter in word)


#: How a column's type is spelt: a JSON Schema has no "in any case".
COLUMN_TYPE_PATTERN: Final = (
    f"^({'|'.join(map(_in_any_case, sorted(COLUMN_TYPES)))}|"
    rf"{_in_any_case('decimal')}\(\s*[0-9]+\s*,\s*[0-9]+\s*\))$"
)


def refusal(message: str, at: str = "", *, on_key: bool = False) -> PydanticCustomError:
    """What a validator raises. `at` names the field of the model that is meant."""
    from pydantic_core import PydanticCustomError

    return PydanticCustomError("spec", "{message}", {"message": message, "at": at, "on_key": on_key})


def expected(what: str, value: Any, hint: str = "") -> PydanticCustomError:
    return refusal(f"expected {what}, found {found(value)}{hint}")


def text_of(value: Any, what: str = "a string") -> str:
    """`value` where it is a string; a number or a boolean is refused with the hint that quotes make it one."""
    if isinstance(value, str):
        return value
    hint = "; put it in quotes" if isinstance(value, (bool, int, float)) else ""
    raise expected(what, value, hint)


@dataclass(frozen=True)
class Read:
    """In `Annotated`: how a value is read, and its JSON Schema."""

    read: Callable[[Any], Any]
    schema: dict[str, Any]

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: Any) -> dict[str, Any]:
        return dict(self.schema)


def string(read: Callable[[Any], Any], **schema: Any) -> Read:
    return Read(read, {"type": "string", **schema})


# --- names and texts ------------------------------------------------------------------------------------------------


def _read_name(value: Any) -> str:
    text = text_of(value, "a name")
    if _NAME.fullmatch(text):
        return text
    rule = f"a name of lower-case letters, digits and hyphens, at most {MAX_NAME}, with no hyphen at an end"
    slug = re.sub("[^a-z0-9]+", "-", text[: 2 * MAX_NAME].lower()).strip("-")[:MAX_NAME].strip("-")
    raise expected(rule, text, f"; did you mean '{slug}'?" if slug else "")


def _text(maximum: int, *, lines: bool = False, least: int = 0) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = text_of(value)
        if len(text) > maximum:
            raise refusal(f"expected at most {maximum} characters, found {len(text)}")
        if len(text) < least:
            raise refusal("expected a text, found an empty one")
        if not (text.isprintable() or (lines and text.replace("\n", "").replace("\t", "").isprintable())):
            raise expected("printable text" if lines else "printable text on one line", text)
        return text

    return read


def _read_label_key(value: Any) -> str:
    text = text_of(value)
    if not _LABEL_KEY.fullmatch(text):
        raise refusal("expected a label's name: at most 100 letters, digits and . _ - /", on_key=True)
    return text


def _read_token(value: Any) -> str:
    """`rerun` and `restart`: anything will do, so a number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(MAX_TOKEN)(value)


Name = Annotated[str, string(_read_name, pattern=NAME_PATTERN, maxLength=MAX_NAME)]
Line = Annotated[str, string(_text(MAX_TITLE), maxLength=MAX_TITLE)]
Word = Annotated[str, string(_text(MAX_TITLE, least=1), minLength=1, maxLength=MAX_TITLE)]
Words = Annotated[str, string(_text(MAX_DESCRIPTION, lines=True), maxLength=MAX_DESCRIPTION)]
Expression = Annotated[
    str, string(_text(MAX_DESCRIPTION, lines=True, least=1), minLength=1, maxLength=MAX_DESCRIPTION)
]  # fmt: skip
Scalar = Annotated[
    str, string(_text(MAX_EXPRESSION, lines=True, least=1), minLength=1, maxLength=MAX_EXPRESSION)
]  # fmt: skip
LabelKey = Annotated[str, string(_read_label_key, pattern=f"^{_LABEL_KEY.pattern}$")]
LabelValue = Annotated[str, string(_text(MAX_LABEL), maxLength=MAX_LABEL)]
Token = Annotated[str, Read(_read_token, {"type": ["string", "integer"], "maxLength": MAX_TOKEN})]


# --- time -----------------------------------------------------------------------------------------------------------


def duration(least_ms: int, most_ms: int, example: str) -> Read:
    """A duration between two bounds, in milliseconds."""

    def read(value: Any) -> int:
        plain_number = isinstance(value, int) and not isinstance(value, bool)
        try:
            ms = parse_duration(str(value) if plain_number else text_of(value, f"a duration such as {example}"))
        except BadDuration as error:
            raise expected(str(error), value) from None
        if not least_ms <= ms <= most_ms:
            bounds = f"a duration from {format_duration(least_ms)} to {format_duration(most_ms)}"
            raise expected(bounds, value)
        return ms

    return string(read, pattern=PATTERN, minLength=2, examples=[example])


def _read_cron(value: Any) -> str:
    from reconciler.core.schedule import CRON_LIMIT, CRON_NICKNAMES, cron_problem

    text = text_of(value, "a cron expression")
    if len(text) > CRON_LIMIT or not text.isprintable():
        raise refusal(f"expected a cron expression of at most {CRON_LIMIT} printable characters")
    shown = " ".join(text.split())
    problem = _cron_problem(shown, cron_problem)
    if not problem:
        return shown if shown in CRON_NICKNAMES else shown.upper()
    raise refusal(f"cron expression {quoted(text)}: {problem}")


@lru_cache(maxsize=4096)
def _cron_problem(expression: str, judge: Callable[[str], str]) -> str:
    return judge(expression)


@lru_cache(maxsize=4096)
def is_time_zone(name: str) -> bool:
    """Whether this is an IANA time zone."""
    from zoneinfo import ZoneInfo

    if not _ZONE.fullmatch(name):
        return False
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a folder of zones is an OSError
        return False
    return True


def _read_zone(value: Any) -> str:
    text = text_of(value, "a time zone")
    if is_time_zone(text):
        return text
    from zoneinfo import available_timezones

    near = {one for one in available_timezones() if one[:2].lower() == text[:2].lower() or text in one}
    raise expected("a time zone such as Europe/Paris", text, did_you_mean(text, near))


def read_time_of_day(value: Any) -> str:
    text = text_of(value, "a time of day")
    if not _TIME_OF_DAY.fullmatch(text):
        raise expected("a time of day such as 22:00", text)
    return text


def _read_moment(value: Any) -> int:
    """Epoch milliseconds of an RFC 3339 time."""
    text = text_of(value, "a time")
    rule = "a time with its offset such as 2027-06-30T00:00:00Z"
    if not _MOMENT.fullmatch(text):
        raise expected(rule, text)
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise expected(rule, text) from None
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


Cron = Annotated[str, string(_read_cron, maxLength=200, examples=["0 3 * * *"])]
TimeZone = Annotated[str, string(_read_zone, examples=["Europe/Paris", "UTC"])]
TimeOfDay = Annotated[str, string(read_time_of_day, pattern=f"^{_TIME_OF_DAY.pattern}$")]
MOMENT = string(_read_moment, pattern=f"^{_MOMENT.pattern}$", examples=["2027-06-30T00:00:00Z"])


# --- credentials: nothing here repeats a value ----------------------------------------------------------------------


def _secret(pattern: re.Pattern[str], what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise refusal(f"expected {what}")
        return value

    return read


_ARGUMENT: Final = re.compile(r"[^\x00]{1,4096}")

Variable = Annotated[
    str,
    string(
        _secret(_VARIABLE, "the name of an environment variable such as API_TOKEN"), pattern=f"^{_VARIABLE.pattern}$"
    ),
]
FilePath = Annotated[
    str, string(_secret(_ARGUMENT, "the path of a file such as /run/secrets/token"), minLength=1, maxLength=4096)
]
Argument = Annotated[
    str, string(_secret(_ARGUMENT, "a word of a command, in quotes where it is a number"), minLength=1, maxLength=4096)
]


# --- columns --------------------------------------------------------------------------------------------------------


def _read_column_type(value: Any) -> str:
    text = text_of(value, "a column type")
    known = column_type(text)
    if known:
        return known
    if is_decimal(text):
        raise expected(f"a decimal of 1 to {MAX_DIGITS} digits, no more of them behind the point", text)
    names = sorted(set(COLUMN_TYPES.values()))
    hint = did_you_mean(text, [*names, "decimal(12,2)"])
    if "(" in text and ")" not in text:  # a flow mapping ends a bare word at its comma
        hint = "; a type with a comma in it stands in quotes"
    raise expected(f"one of {', '.join(names)} or decimal(12,2)", text, hint)


def _read_column_name(value: Any) -> str:
    text = text_of(value, "a column's name")
    if not 1 <= len(text) <= MAX_COLUMN or not text.isprintable():
        raise refusal(f"expected a column's name of 1 to {MAX_COLUMN} printable characters", on_key=True)
    return text


def _read_column(value: Any) -> str:
    """A column's name where it stands as a value."""
    text = text_of(value, "a column's name")
    if not 1 <= len(text) <= MAX_COLUMN or not text.isprintable():
        raise refusal(f"expected a column's name of 1 to {MAX_COLUMN} printable characters")
    return text


ColumnName = Annotated[str, string(_read_column_name, minLength=1, maxLength=MAX_COLUMN)]
Column = Annotated[str, string(_read_column, minLength=1, maxLength=MAX_COLUMN)]
ColumnType = Annotated[
    str,
    Read(
        _read_column_type,
        {"anyOf": [{"enum": sorted(COLUMN_TYPES)}, {"type": "string", "pattern": COLUMN_TYPE_PATTERN}]},
    ),
]


# --- profiles -------------------------------------------------------------------------------------------------------

IDENTIFIER_PATTERN: Final = "^[a-z][a-z0-9_]{0,62}$"
_IDENTIFIER: Final = re.compile("[a-z][a-z0-9_]{0,62}")


def _identifier(*, on_key: bool) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        text = text_of(value, "a name")
        if not _IDENTIFIER.fullmatch(text):
            rule = (
                f"a name of lower-case letters, digits and underscores, at most {MAX_NAME}, that begins with a letter"
            )
            raise refusal(f"expected {rule}, found {found(text)}", on_key=on_key)
        return text

    return read


def _read_format(value: Any) -> str:
    text = text_of(value, "a format")
    if len(text) > MAX_PATTERN or not text.isprintable() or not time_format.is_format(text):
        raise expected(time_format.EXPECTED, text, did_you_mean(text, time_format.FORMATS))
    return text


def choice(names: Sequence[str]) -> Read:
    """One of a few words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            hint = did_you_mean(value, names)
            raise expected(one_of(names), value, hint)
        return value

    return Read(read, {"enum": list(names)})


KeyName = Annotated[str, string(_identifier(on_key=False), pattern=IDENTIFIER_PATTERN)]
AttributeName = Annotated[str, string(_identifier(on_key=True), pattern=IDENTIFIER_PATTERN)]
TimestampFormat = Annotated[str, string(_read_format, minLength=1, maxLength=MAX_PATTERN, examples=["iso8601"])]
