"""What `policy.yaml` may say, as a model: rules and windows that a platform team sets beside the root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from reconciler.core.document import KINDS
from reconciler.core.issue import both_of, found, one_of
from reconciler.core.policy import DAYS
from reconciler.core.spec import API_VERSION, Model
from reconciler.core.spec_types import (
    MOMENT,
    Expression,
    LabelKey,
    LabelValue,
    Line,
    Name,
    Read,
    TimeOfDay,
    TimeZone,
    choice,
    expected,
    read_time_of_day,
    refusal,
    text_of,
)

KIND: Final = "Policy"

MAX_RULES: Final = 500
MAX_WINDOWS: Final = 100
MAX_CHOICES: Final = 200
#: `**` in one glob at most: each multiplies the ways to fit a path.
MAX_STARS: Final = 4
_MAX_GLOB: Final = 200


def _some(read: Callable[[Any], str], schema: Mapping[str, Any]) -> Read:
    """One text or a list of them, as a list."""

    def read_all(value: Any) -> list[str]:
        values = value if isinstance(value, list) else [value]
        if not 1 <= len(values) <= MAX_CHOICES:
            raise refusal(f"expected 1 to {MAX_CHOICES} of them, found {len(values)}")
        return [read(one) for one in values]

    return Read(read_all, {"anyOf": [dict(schema), {"type": "array", "items": dict(schema), "maxItems": MAX_CHOICES}]})


def _read_kind(value: Any) -> str:
    if value not in KINDS:
        raise expected(one_of(KINDS), value)
    return str(value)


def _read_glob(value: Any) -> str:
    text = text_of(value, "a pattern such as growth/**")
    if not 1 <= len(text) <= _MAX_GLOB or not text.isprintable():
        raise refusal(f"expected a pattern of 1 to {_MAX_GLOB} printable characters")
    if text.count("**") > MAX_STARS:
        raise refusal(f"expected at most {MAX_STARS} of ** in a pattern")
    return text


_TEXT: Final = {"type": "string", "minLength": 1, "maxLength": _MAX_GLOB}
Kinds = Annotated[list[str], _some(_read_kind, {"enum": list(KINDS)})]
Globs = Annotated[list[str], _some(_read_glob, _TEXT)]


class MatchFields(Model):
    """What a rule is about: each field that is given must fit; without any, everything."""

    kind: Kinds = Field(default=[], description="Job, Authorization, Stream or Audience; one or a list.")
    name: Globs = Field(default=[], description="Names or patterns of names; one or a list.")
    path: Globs = Field(
        default=[], description="Patterns of paths relative to the root, such as growth/**; one or a list."
    )
    provider: Globs = Field(default=[], description="Providers; one or a list.")
    job_type: Globs = Field(default=[], description="Job types or patterns of them, such as export-*; one or a list.")
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(
        default={}, description="Labels with their values, all of which must be there."
    )


class RuleFields(Model):
    """One rule: exactly one of `cel` and `schema`."""

    name: Name = Field(description="What a violation is named by; unique in the file.")
    on: Annotated[str, choice(("spec", "plan"))] = Field(
        "spec", description="Whether it judges each spec, or each action of a plan."
    )
    match: MatchFields = Field(
        default=MatchFields(), description="What it is about; everything, where nothing is said."
    )
    cel: Expression = Field("", description="A CEL expression that must be true.")
    json_schema: dict[str, Any] | None = Field(
        None, alias="schema", description="A JSON Schema (2020-12) that the document must meet; for specs."
    )
    message: Line = Field("", description="What a violation says, for people.")
    field: Line = Field("", description="The field at which a violation of `cel` is shown, such as spec.provider.")

    @model_validator(mode="after")
    def _is_one(self) -> RuleFields:
        given = [name for name, there in (("cel", bool(self.cel)), ("schema", self.json_schema is not None)) if there]
        if len(given) != 1:
            raise refusal(f"expected exactly one of cel or schema, found {both_of(given) if given else 'none'}")
        if self.on == "plan" and self.json_schema is not None:
            raise refusal("a schema judges specs; a rule over plans is written in cel", "schema")
        return self


def _read_end(value: Any) -> str:
    return "24:00" if value == "24:00" else read_time_of_day(value)


EndOfDay = Annotated[str, Read(_read_end, {"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"})]
Day = Annotated[str, Read(_read_end, {"type": "string", "pattern": "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"})]
WeekDay = Annotated[str, choice(DAYS)]


class WindowFields(Model):
    """When nothing is applied: runs go on, but no change of a spec is made true."""

    name: Name = Field(description="What it is named by; unique in the file.")
    days: Annotated[list[WeekDay], Field(max_length=7)] = Field(
        default=[], description="Days of the week on which it begins; every day, where none is named."
    )
    start: TimeOfDay = Field("00:00", alias="from", description="When it begins on such a day, in quotes.")
    to: EndOfDay = Field("24:00", description="When it ends; before `from` it is the next day's.")
    timezone: TimeZone = Field("UTC", description="The IANA time zone of days and times of day.")
    after: Annotated[int | None, MOMENT] = Field(None, description="Not before this moment.")
    before: Annotated[int | None, MOMENT] = Field(None, description="Not from this moment on.")

    @model_validator(mode="after")
    def _is_a_window(self) -> WindowFields:
        if self.start == self.to:
            raise refusal("expected a time other than that of from", "to")
        if not self.days and self.before is None and (self.start, self.to) == ("00:00", "24:00"):
            raise refusal(
                "expected days, from and to, or before: a window without an end would hold everything for ever"
            )
        if self.after is not None and self.before is not None and self.before <= self.after:
            raise refusal("expected a moment later than after", "before")
        return self


class PolicyFile(Model):
    """The whole file."""

    api_version: Literal["reconciler/v1"] = Field(API_VERSION, description="The version of this format.")
    kind: Literal["Policy"] = Field(KIND, description="What this file is.")
    rules: Annotated[list[RuleFields], Field(max_length=MAX_RULES)] = Field(
        default=[], description="What specs and plans must meet."
    )
    windows: Annotated[list[WindowFields], Field(max_length=MAX_WINDOWS)] = Field(
        default=[], description="When nothing is applied."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> PolicyFile:
        for section, names in (
            ("rules", [one.name for one in self.rules]),
            ("windows", [one.name for one in self.windows]),
        ):
            for index, name in enumerate(names):
                if name in names[:index]:
                    raise refusal(f"expected a name of its own, found {found(name)} again", f"{section}.{index}.name")
        return self

    def normal(self) -> dict[str, Any]:
        """Plain values by the names that the file uses: only what it says."""
        said = self.model_dump(by_alias=True, exclude_unset=True, exclude={"api_version", "kind"})
        return {name: said[name] for name in sorted(said)}
