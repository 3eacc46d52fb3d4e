"""The four kinds of document as frozen models: the source of truth of what a spec may say (design, section 2).

A model reads one document's plain values (camelCase, as YAML 1.2 gives them; nothing is coerced) and holds them
normalised: durations in milliseconds, times as epoch milliseconds. `document` makes the `Document` that everything else
works with. Rules that need the catalogue are in `spec_rules.py`, rules across files in `check.py`.

A Document's `spec` has sorted keys, and only what differs from its default:

    Job            provider, jobType; authorization; config (without what equals the schema's own defaults);
                   schedule   {"every": ms} {"cron": text, "timezone": zone} {"continuous": true}
                              {"afterDependencies": true}; absent for once
                   suspend: true; rerun, restart: text; timeout: ms; deletionPolicy: orphan, protect;
                   retry      initial, max, failAfter: ms; factor, jitter: floats
                   dependsOn  names, sorted; quiet {"from": "22:00", "timezone": zone, "to": "06:00"};
                   lane: backfill; backfill {"maxMessages": count};
                   expiresAt  epoch ms
    Authorization  provider, method; credentials {name: {"env": …} | {"file": …} | {"exec": […]}}
    Stream         columns {name: type}, types by their canonical names; timestamp {"field", "format"};
                   identity [{"key", "from", "normalize": [steps], "maxPerKey": number}], in the order given;
                   attributes {name: {"from" | "expr", "merge"}}; backfill {"maxMessages": count}
    Audience       where
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reconciler.core.backfill import BACKFILL, DEFAULT_MAX_MESSAGES, HIGHEST_MAX_MESSAGES, LIVE
from reconciler.core.document import Document
from reconciler.core.duration import MAX_MS, format_duration
from reconciler.core.issue import both_of, one_of
from reconciler.core.normal import without_defaults
from reconciler.core.profile import MAX_PER_KEY, MERGES
from reconciler.core.spec_types import (
    MOMENT,
    Argument,
    AttributeName,
    Column,
    ColumnName,
    ColumnType,
    Cron,
    Expression,
    FilePath,
    KeyName,
    LabelKey,
    LabelValue,
    Line,
    Name,
    Read,
    Scalar,
    TimeOfDay,
    TimestampFormat,
    TimeZone,
    Token,
    Variable,
    Word,
    Words,
    choice,
    duration,
    expected,
    refusal,
)
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

API_VERSION: Final = "reconciler/v1"

#: Members of a list or mapping in a spec (config aside) at most.
MAX_DEPENDENCIES: Final = 1_000
MAX_LABELS: Final = 64
MAX_CREDENTIALS: Final = 64
MAX_COLUMNS: Final = 10_000
MAX_IDENTITY: Final = 32
MAX_ATTRIBUTES: Final = 1_000

#: The most that `maxPerKey` may be.
MOST_PER_KEY: Final = 1_000_000
#: What can be done to an identifier, in the order that a spec gives.
NORMALIZATIONS: Final = ("trim", "lower", "upper", "digits")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class Model(BaseModel):
    """Unknown fields are refused, nothing is coerced, nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, alias_generator=_camel)


def _read_true(value: Any) -> bool:
    if value is not True:
        raise expected("true", value)
    return True


True_ = Annotated[bool, Read(_read_true, {"const": True})]


class Metadata(Model):
    """Who a document is. Editing anything but the name restarts nothing."""

    name: Name = Field(
        description="Identity: a DNS-1123 label, unique per kind in the whole tree.", examples=["import-orders"]
    )
    title: Line = Field("", description="Free text for people, on one line.", examples=["Import orders from the shop"])
    description: Words = Field("", description="Free text for people.", examples=["Nightly order files of the shop"])
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=MAX_LABELS)] = Field(
        default={},
        description="Names and values to select by: `list -l team=growth`.",
        examples=[{"team": "growth"}],
    )
    renamed_from: Name = Field(
        "",
        description="The name this had before: the same job goes on under its new name. "
        "Messages stay under their stream's old one.",
        examples=["fetch-orders"],
    )

    @model_validator(mode="after")
    def _is_renamed(self) -> Metadata:
        if self.renamed_from and self.renamed_from == self.name:
            raise refusal("expected the name that this had before, found its own name", "renamedFrom")
        return self


# --- Job ------------------------------------------------------------------------------------------------------------


class Schedule(Model):
    """When runs are owed: exactly one of every, cron, once, continuous and afterDependencies."""

    WAYS: ClassVar[Mapping[str, str]] = {
        "every": "every", "cron": "cron", "once": "once", "continuous": "continuous", "after_dependencies": "afterDependencies",
    }  # fmt: skip

    every: Annotated[int | None, duration(1, MAX_MS, "1h")] = Field(None, description="So long after the last start.")
    cron: Cron = Field("", description="Five fields: minute, hour, day of month, month, day of week.")
    timezone: TimeZone = Field("UTC", description="The IANA time zone of `cron`.")
    once: True_ = Field(False, description="One run; the default.")
    continuous: True_ = Field(False, description="A run after the other.")
    after_dependencies: True_ = Field(False, description="A run whenever a dependency has succeeded.")

    @model_validator(mode="after")
    def _is_one(self) -> Schedule:
        given = [way for name, way in self.WAYS.items() if name in self.model_fields_set]
        if len(given) != 1:
            rule = f"exactly one of {one_of(self.WAYS.values())}"
            raise refusal(f"expected {rule}, found {both_of(given) if given else 'none'}")
        if "timezone" in self.model_fields_set and given != ["cron"]:
            raise refusal("a time zone has a meaning only beside cron", "timezone", on_key=True)
        return self

    def normal(self) -> dict[str, Any] | None:
        if self.once:
            return None
        if self.cron:
            return {"cron": self.cron, "timezone": self.timezone}
        if self.every is not None:
            return {"every": self.every}
        return {"continuous": True} if self.continuous else {"afterDependencies": True}


class Retry(Model):
    """How a failed run is tried again: exponential backoff, and when to give up."""

    initial: Annotated[int, duration(1, DAY_MS, "30s")] = Field(
        30 * SECOND_MS, description="The delay after the first error."
    )
    factor: float = Field(2.0, ge=1, le=100, description="By which each delay is longer than the one before.")
    max: Annotated[int, duration(1, 7 * DAY_MS, "30m")] = Field(30 * MINUTE_MS, description="The longest delay.")
    jitter: float = Field(0.2, ge=0, le=1, description="The share of the delay by which it varies at random.")
    fail_after: Annotated[int, duration(0, MAX_MS, "10h")] = Field(
        10 * HOUR_MS, description="Failed after so long of errors in a row, counted in the controller's uptime."
    )

    @model_validator(mode="after")
    def _is_ordered(self) -> Retry:
        if self.initial > self.max:
            first, longest = format_duration(self.initial), format_duration(self.max)
            raise refusal(f"expected at least retry.initial ({first}), found {longest}", "max")
        return self

    def normal(self) -> dict[str, Any]:
        fields = {"initial": self.initial, "factor": self.factor, "max": self.max}
        fields |= {"jitter": self.jitter, "failAfter": self.fail_after}
        return {name: fields[name] for name in sorted(fields) if fields[name] != _RETRY_DEFAULTS[name]}


_RETRY_DEFAULTS: Final = {_camel(name): field.default for name, field in Retry.model_fields.items()}


class Quiet(Model):
    """A daily window in which no run starts."""

    start: TimeOfDay = Field(
        alias="from", description="When the window begins: a time of day, in quotes.", examples=["22:00"]
    )
    to: TimeOfDay = Field(description="When it ends; before `from` it is the next day's.", examples=["06:00"])
    timezone: TimeZone = Field("UTC", description="The IANA time zone of both.")

    @model_validator(mode="after")
    def _is_a_window(self) -> Quiet:
        if self.start == self.to:
            raise refusal("expected a time other than that of from", "to")
        return self

    def normal(self) -> dict[str, Any] | None:
        return {"from": self.start, "timezone": self.timezone, "to": self.to} if self.start else None


class Backfill(Model):
    """What a backfill may do unasked."""

    max_messages: int = Field(
        DEFAULT_MAX_MESSAGES,
        ge=1,
        le=HIGHEST_MAX_MESSAGES,
        description="A run, or an upload to the stream, that would add more messages waits for approval.",
    )

    def normal(self) -> dict[str, Any] | None:
        return None if self.max_messages == DEFAULT_MAX_MESSAGES else {"maxMessages": self.max_messages}


class JobSpec(Model):
    """What to run, when, and with what."""

    provider: Word = Field(description="The vendor or system.", examples=["files"])
    job_type: Word = Field(description="One of the provider's ways to integrate.", examples=["import-csv"])
    authorization: Name = Field("", description="A declared Authorization of the same provider.", examples=["shop-api"])
    schedule: Schedule = Field(Schedule.model_construct(once=True), description="When runs are owed; once by default.")
    suspend: bool = Field(False, description="true pauses the job.")
    rerun: Token = Field(
        "", description="Change it to anything: one more run from the cursor.", examples=["2026-11-28", 1]
    )
    restart: Token = Field(
        "",
        description="Change it to anything: the cursor is dropped and the job begins again.",
        examples=["2026-11-28", 1],
    )
    timeout: Annotated[int | None, duration(1, MAX_MS, "2h")] = Field(None, description="How long one run may take.")
    retry: Retry = Field(Retry.model_construct(), description="How a failed run is tried again.")
    depends_on: Annotated[list[Name], Field(max_length=MAX_DEPENDENCIES)] = Field(
        default=[], description="Jobs that must have succeeded first.", examples=[["import-orders"]]
    )
    deletion_policy: Literal["delete", "orphan", "protect"] = Field(
        "delete", description="What becomes of cursor, runs and log when this document is deleted."
    )
    quiet: Quiet = Field(Quiet.model_construct(start="", to=""), description="A daily window in which no run starts.")
    expires_at: Annotated[int | None, MOMENT] = Field(None, description="The job is Completed from then on.")
    lane: Literal["live", "backfill"] = Field(
        "live", description="`backfill`, for an import of much that is old: it never takes the slot of a live run."
    )
    backfill: Backfill = Field(
        Backfill.model_construct(), description="When a run in the lane `backfill` asks before it begins."
    )
    config: dict[str, Any] = Field(default={}, description="Checked against the job type's own schema.")

    @model_validator(mode="after")
    def _depends_soundly(self) -> JobSpec:
        seen: set[str] = set()
        for index, name in enumerate(self.depends_on):
            if name in seen:
                raise refusal(f"'{name}' stands here twice", f"dependsOn.{index}")
            seen.add(name)
        if self.schedule.after_dependencies and not self.depends_on:
            raise refusal("expected dependsOn beside it, found none", "schedule.afterDependencies")
        return self

    @model_validator(mode="after")
    def _is_limited_in_its_lane(self) -> JobSpec:
        if self.lane != BACKFILL and "backfill" in self.model_fields_set:
            raise refusal("backfill has a meaning only beside lane: backfill", "backfill", on_key=True)
        return self

    def normal(self, config_defaults: Mapping[str, Any]) -> dict[str, Any]:
        fields = {
            "authorization": self.authorization,
            "backfill": self.backfill.normal(),
            "config": without_defaults(self.config, config_defaults),
            "deletionPolicy": None if self.deletion_policy == "delete" else self.deletion_policy,
            "dependsOn": sorted(self.depends_on),
            "expiresAt": self.expires_at,
            "jobType": self.job_type,
            "lane": None if self.lane == LIVE else self.lane,
            "provider": self.provider,
            "quiet": self.quiet.normal(),
            "rerun": self.rerun,
            "restart": self.restart,
            "retry": self.retry.normal(),
            "schedule": self.schedule.normal(),
            "suspend": self.suspend or None,
            "timeout": self.timeout,
        }
        return {name: value for name, value in fields.items() if value is not None and value not in ("", [], {})}


# --- Authorization, Stream, Audience --------------------------------------------------------------------------------


class Reference(Model):
    """Where a secret is: exactly one of env, file and exec. The secret itself never stands in a spec."""

    env: Variable = Field("", description="The name of an environment variable.", examples=["API_TOKEN"])
    file: FilePath = Field("", description="The path of a file that holds it.", examples=["/run/secrets/token"])
    exec: Annotated[list[Argument], Field(min_length=1, max_length=64)] = Field(
        default=[],
        description="A command that prints it; needs --allow-exec.",
        examples=[["pass", "show", "shop/token"]],
    )

    @model_validator(mode="after")
    def _is_one(self) -> Reference:
        given = sorted(self.model_fields_set)
        if len(given) != 1:
            raise refusal(f"expected exactly one of env, file or exec, found {both_of(given) if given else 'none'}")
        return self

    def normal(self) -> dict[str, Any]:
        (way,) = self.model_fields_set
        return {way: getattr(self, way)}


class AuthorizationSpec(Model):
    """How jobs prove to a provider who they are."""

    provider: Word = Field(description="The vendor or system.", examples=["http"])
    method: Word = Field(description="One of the provider's ways to authorize.", examples=["bearer"])
    credentials: Annotated[dict[Word, Reference], Field(max_length=MAX_CREDENTIALS)] = Field(
        default={}, description="References to secrets, by the method's fields."
    )

    def normal(self, config_defaults: Mapping[str, Any]) -> dict[str, Any]:
        del config_defaults
        references = {name: self.credentials[name].normal() for name in sorted(self.credentials)}
        held = {"credentials": references} if references else {}
        return held | {"method": self.method, "provider": self.provider}


class Timestamp(Model):
    """A message's own time; when it was received where there is none."""

    field: Column = Field(description="The column that holds it.", examples=["ordered_at"])
    format: TimestampFormat = Field(
        "iso8601",
        description="How it is written, for attributes too: iso8601, epoch_s, epoch_ms or a strptime pattern.",
    )

    def normal(self) -> dict[str, Any]:
        return {"field": self.field} | ({} if self.format == "iso8601" else {"format": self.format})


class Identity(Model):
    """An identifier that messages carry: those that share its value are of one person."""

    key: KeyName = Field(
        description="What it is, the same on all streams: email, user_id.", examples=["email", "user_id"]
    )
    column: Column = Field(alias="from", description="The column that holds it.", examples=["customer_email"])
    normalize: Annotated[list[Annotated[str, choice(NORMALIZATIONS)]], Field(max_length=len(NORMALIZATIONS))] = Field(
        default=[],
        description="What is done to each value first, in this order.",
        examples=[["trim", "lower"]],
    )
    max_per_key: int = Field(
        MAX_PER_KEY,
        ge=1,
        le=MOST_PER_KEY,
        description="A value seen with more distinct values of another key than this belongs to nobody. Of streams that say "
        "different numbers for one key the lowest counts.",
    )

    @model_validator(mode="after")
    def _normalizes_once(self) -> Identity:
        for index, one in enumerate(self.normalize):
            if one in self.normalize[:index]:
                raise refusal(f"'{one}' stands here twice", f"normalize.{index}")
        if {"lower", "upper"} <= set(self.normalize):
            raise refusal("expected lower or upper, found both", "normalize")
        return self

    def normal(self) -> dict[str, Any]:
        made: dict[str, Any] = {"from": self.column, "key": self.key}
        if self.max_per_key != MAX_PER_KEY:
            made["maxPerKey"] = self.max_per_key
        return made | ({"normalize": list(self.normalize)} if self.normalize else {})


class Attribute(Model):
    """Something that is known of a person: what each message says of it, and how that becomes one value."""

    column: Column = Field("", alias="from", description="The column that holds it.", examples=["first_name"])
    expr: Scalar = Field("", description="Or an SQL expression over columns.", examples=["quantity * unit_price"])
    merge: Annotated[str, choice(MERGES)] = Field(
        MERGES[0], description="How the messages' values become one; the latest by timestamp where nothing is said."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Attribute:
        given = [name for name, field in (("from", "column"), ("expr", "expr")) if field in self.model_fields_set]
        if len(given) > 1:
            raise refusal("expected from or expr, found both")
        if not given and self.merge != "count":
            raise refusal("expected from or expr, found none; only `merge: count` counts messages without")
        return self

    def normal(self) -> dict[str, Any]:
        fields = {"expr": self.expr, "from": self.column, "merge": "" if self.merge == MERGES[0] else self.merge}
        return {name: value for name, value in fields.items() if value}


class StreamSpec(Model):
    """A named sequence of raw messages, and what they say about people; `spec: {}` is enough."""

    columns: Annotated[dict[ColumnName, ColumnType], Field(max_length=MAX_COLUMNS)] = Field(
        default={},
        description="As which type attributes and expressions read a column: text unless named. Exports of the stream are raw.",
        examples=[{"amount": "decimal(12,2)", "ordered_at": "timestamp"}],
    )
    timestamp: Timestamp = Field(Timestamp.model_construct(field=""), description="The messages' own time.")
    identity: Annotated[list[Identity], Field(max_length=MAX_IDENTITY)] = Field(
        default=[],
        description="The identifiers that messages carry.",
        examples=[[{"key": "email", "from": "email", "normalize": ["trim", "lower"]}]],
    )
    attributes: Annotated[dict[AttributeName, Attribute], Field(max_length=MAX_ATTRIBUTES)] = Field(
        default={},
        description="What messages say of the person whose identifier they carry.",
        examples=[{"spent": {"expr": "quantity * unit_price", "merge": "sum"}}],
    )
    backfill: Backfill = Field(
        Backfill.model_construct(), description="When a bulk upload asks before its messages are on the stream."
    )

    @model_validator(mode="after")
    def _is_of_somebody(self) -> StreamSpec:
        if self.attributes and not self.identity:
            raise refusal("expected identity beside it: an attribute is of somebody", "attributes", on_key=True)
        seen: set[tuple[str, str]] = set()
        for index, one in enumerate(self.identity):
            if (one.key, one.column) in seen:
                raise refusal(f"'{one.key}' from column '{one.column}' stands here twice", f"identity.{index}")
            seen.add((one.key, one.column))
        return self

    def normal(self, config_defaults: Mapping[str, Any]) -> dict[str, Any]:
        del config_defaults
        fields: dict[str, Any] = {
            "attributes": {name: self.attributes[name].normal() for name in sorted(self.attributes)},
            "backfill": self.backfill.normal(),
            "columns": {name: self.columns[name] for name in sorted(self.columns)},
            "identity": [one.normal() for one in self.identity],
            "timestamp": self.timestamp.normal() if self.timestamp.field else None,
        }
        return {name: value for name, value in fields.items() if value}


class AudienceSpec(Model):
    """A named selection of profiles."""

    where: Expression = Field(
        description='SQL over attributes; "true" is everyone.',
        examples=["spent > 1000 and last_order_at > now() - interval 90 day"],
    )

    def normal(self, config_defaults: Mapping[str, Any]) -> dict[str, Any]:
        del config_defaults
        return {"where": self.where}


# --- documents ------------------------------------------------------------------------------------------------------


class _Root(Model):
    api_version: Literal["reconciler/v1"] = Field(description="The version of this format.")
    metadata: Metadata = Field(description="Who this document is.")


class Job(_Root):
    """An import, export or enrichment that is to be kept true."""

    kind: Literal["Job"] = Field(description="What this document declares.")
    spec: JobSpec = Field(description="What to run, when, and with what.")


class Authorization(_Root):
    """References to the secrets with which jobs authorize themselves."""

    kind: Literal["Authorization"] = Field(description="What this document declares.")
    spec: AuthorizationSpec = Field(description="The provider, its method, and where the secrets are.")


class Stream(_Root):
    """A named sequence of raw messages, kept for ever."""

    kind: Literal["Stream"] = Field(description="What this document declares.")
    spec: StreamSpec = Field(description="How its messages are read; `{}` is enough.")


class Audience(_Root):
    """A named selection of profiles."""

    kind: Literal["Audience"] = Field(description="What this document declares.")
    spec: AudienceSpec = Field(description="Who belongs to it.")


class Headless(_Root):
    """What can be said of a document whose kind is not known."""

    model_config = ConfigDict(extra="ignore")


AnyModel = Job | Authorization | Stream | Audience
MODELS: Final[Mapping[str, type[AnyModel]]] = {
    "Job": Job,
    "Authorization": Authorization,
    "Stream": Stream,
    "Audience": Audience,
}


def document(model: AnyModel, *, path: str, ordinal: int, line: int, config_defaults: Mapping[str, Any]) -> Document:
    """The plain value of a valid document. `config_defaults` are those of the job type's schema."""
    metadata = model.metadata
    return Document(
        kind=model.kind,
        name=metadata.name,
        path=path,
        ordinal=ordinal,
        line=line,
        title=metadata.title,
        description=metadata.description,
        labels=dict(sorted(metadata.labels.items())),
        renamed_from=metadata.renamed_from,
        spec=model.spec.normal(config_defaults),
    )
