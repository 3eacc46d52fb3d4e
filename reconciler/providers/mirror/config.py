"""What every export of an audience may say under `config`: whose members, which fields, how careful."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from reconciler.core.members import MappedField, Retry, Spares, Wish
from reconciler.core.mirror import SMALL, Guard, calls
from reconciler.providers.strict import Strict

#: Fields of one export.
MAX_FIELDS: Final = 100
#: What a field may be called: `previous` and `action` say something else beside the fields.
FIELD_NAME: Final = r"^(?!(previous|action)$)[A-Za-z_][A-Za-z0-9_-]{0,62}$(?!\n)"

_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$(?!\n)"
_SOURCE: Final = r"^(((key|attribute):)?[a-z][a-z0-9_]{0,62}|profile-id)$(?!\n)"


class _Strict(Strict):
    model_config = ConfigDict(regex_engine="python-re")  # the patterns look ahead


class FieldOf(_Strict):
    """One field of what is sent."""

    source: str = Field(
        alias="from",
        pattern=_SOURCE,
        description="The attribute or identity key that the value comes from (`attribute:NAME` or `key:NAME` where both "
        "exist); of a key, the profile's first value. `profile-id` is the profile's own id",
        examples=["email", "attribute:first_name"],
    )
    transform: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [],
        max_length=20,
        description="What is done to the value, in order: `trim`, `lower`, `sha256`, `e164(DE)`, `meta@1.email` …",
        examples=[["trim", "lower", "sha256"]],
    )
    required: bool = Field(False, description="Whether a member without it is omitted")
    identifier: bool | SkipJsonSchema[None] = Field(
        None,
        description="Whether the destination knows a member by it; a member without any identifier is omitted. True for "
        "identity keys and `profile-id` unless set, false for attributes",
    )


class GuardConfig(_Strict):
    """How much one run may do before a person has to approve it. It is judged before the first call; percentages are of
    the members that were sent before. One that is not set is of 10 where they are fewer."""

    max_remove_percent: float = Field(
        20,
        ge=0,
        le=100,
        description=f"More removals than this wait for approval. Unless set, fewer than {SMALL} that were sent count as {SMALL}",
    )
    max_add_percent: float = Field(
        200,
        ge=0,
        description="More additions than this wait for approval, once anybody was sent. Unless set, fewer than "
        f"{SMALL} that were sent count as {SMALL}",
    )
    empty_audience: Literal["block", "allow"] = Field(
        "block", description="Whether an audience without members may remove everyone"
    )


def _named_fields(schema: dict[str, Any]) -> None:
    """A name that does not fit is an error, not another field."""
    (schema["additionalProperties"],) = schema.pop("patternProperties").values()
    schema["propertyNames"] = {"pattern": FIELD_NAME, "description": "a field's name (not `previous` or `action`)"}


#: Whoever leaves is told of by `mirror` alone: with another mode, `events: exit` would never send anything.
_EXITS_NEED_MIRROR: Final[dict[str, Any]] = {
    "if": {"properties": {"mode": {"enum": ["add-only", "update-only"]}}, "required": ["mode"]},
    "then": {"properties": {"events": {"enum": ["both", "enter"]}}},
}


class MirrorConfig(_Strict):
    """What every export of an audience has in common."""

    model_config = ConfigDict(json_schema_extra={"allOf": [_EXITS_NEED_MIRROR]})

    audience: str = Field(
        pattern=_LABEL,
        description="The audience whose members are sent",
        examples=["big-spenders"],
        json_schema_extra={"x-audience": "reads"},
    )
    fields: Annotated[
        dict[Annotated[str, Field(pattern=FIELD_NAME)], FieldOf], Field(min_length=1, max_length=MAX_FIELDS)
    ] = Field(
        description="What is sent of each member: the field's name there, and where its value comes from",
        json_schema_extra=_named_fields,
        examples=[{"email": {"from": "email", "transform": ["trim", "lower", "sha256"]}}],
    )
    mode: Literal["mirror", "add-only", "update-only"] = Field(
        "mirror",
        description="`mirror` adds, updates and removes; `add-only` only adds, and leaves who changed or left as they are; "
        "`update-only` sends everyone who is new or has changed as an update",
    )
    events: Literal["both", "enter", "exit"] = Field(
        "both",
        description="`enter`: only who comes or changes is sent; `exit`: only who leaves, sent before or not",
    )
    backfill: bool = Field(
        True,
        description="Whether who is a member already is sent, once: by the first run, or by the next one when this becomes "
        "true. false: the first run only records them as present, and what changes from then on is sent (with "
        "`mode: add-only`, only who comes)",
    )
    guard: GuardConfig = Field(
        default_factory=lambda: GuardConfig.model_validate({}),
        description="How much one run may do before a person has to approve it",
    )

    @model_validator(mode="after")
    def _exits_need_a_mirror(self) -> MirrorConfig:
        if self.events == "exit" and self.mode != "mirror":
            raise ValueError("events: exit needs mode: mirror; with another mode nothing would ever be sent")
        return self

    def wish(self, *, is_first: bool, retry: Retry) -> Wish:
        made = calls(self.mode, self.events)
        return Wish(
            fields=tuple(_mapped(name, one) for name, one in self.fields.items()),
            calls=made,
            notes_all=is_first and not self.backfill,
            sends_noted=self.backfill and (made.add or made.update),
            spares=self.spares(),
            retry=retry,
        )

    def spares(self) -> Spares:
        """What the destination does with removals by identifiers that another member has."""
        return "later"

    def limits(self) -> Guard:
        said = self.guard.model_fields_set
        return Guard(
            max_remove_percent=self.guard.max_remove_percent,
            removes_of_at_least=0 if "max_remove_percent" in said else SMALL,
            max_add_percent=self.guard.max_add_percent,
            adds_to_at_least=0 if "max_add_percent" in said else SMALL,
            empty_audience=self.guard.empty_audience,
        )


def _mapped(name: str, field: FieldOf) -> MappedField:
    return MappedField(
        name=name,
        source=field.source,
        transforms=tuple(field.transform),
        required=field.required,
        identifier=field.identifier,
    )
