"""What a spec may say under `config` for `enrich-lookup`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, WithJsonSchema, model_validator

from reconciler.core.duration import parse_duration
from reconciler.core.enrichment import ENRICHED_AT
from reconciler.providers.http.config import OPEN_QUERY, Int, No, Params, Text, _matching, _Request, schema_of
from reconciler.providers.strict import Strict

MAX_CONCURRENCY: Final = 16
MAX_REQUESTS: Final = 1_000_000
#: Where the identifier stands in a URL or a body.
VALUE: Final = "{value}"

#: The host is fixed: only what follows it may hold the identifier.
_URL: Final = rf"^{OPEN_QUERY}https?://[^/?#@\s\\{{}}\x00-\x1f]+([/?][^\s#\x00-\x1f]*)?$(?!\n)"
_A_URL: Final = "an http or https URL of a fixed host, without a credential"
_HAS_VALUE: Final = r"\{value\}"
#: A duration of at most ten years, as everywhere in a spec.
_TTL: Final = r"^(?=[0-9])([0-9]{1,2}w)?([0-9]{1,3}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$(?!\n)"
_COLUMN: Final = rf"^(?!{ENRICHED_AT}$)[^\x00-\x1f]{{1,200}}$(?!\n)"

_RESETS: Final[dict[str, Any]] = {"x-resetsCursor": True}

LookupUrl = Annotated[
    str,
    Field(max_length=2000),
    _matching(_URL, _A_URL),
    WithJsonSchema({"type": "string", "pattern": _URL, "maxLength": 2000, "x-expected": _A_URL}),
]
Ttl = Annotated[
    str, _matching(_TTL, "a duration such as 12h or 30d"), WithJsonSchema({"type": "string", "pattern": _TTL})
]
Column = Annotated[str, _matching(_COLUMN, "a column's name"), WithJsonSchema({"type": "string", "pattern": _COLUMN})]
Attributes = Annotated[
    dict[Column, Text],
    Field(min_length=1, max_length=1000),
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": _COLUMN, "description": f"a column's name, which is not {ENRICHED_AT}"},
            "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 200},
            "minProperties": 1,
            "maxProperties": 1000,
        }
    ),
]


class Key(Strict):
    """Whom a lookup is about."""

    identity: Annotated[
        str,
        _matching(r"^[a-z][a-z0-9_]{0,62}$(?!\n)", "an identity key"),
        WithJsonSchema({"type": "string", "pattern": r"^[a-z][a-z0-9_]{0,62}$(?!\n)"}),
    ] = Field(description="The identity key by whose first value a profile is looked up", examples=["email"])
    column: Text | No = Field(
        None,
        description="The column of the messages that holds the value; named as the identity unless set. `stream` declares "
        "it as that identity's `from`",
        examples=["email"],
    )


def _method_rules(schema: dict[str, Any]) -> None:
    schema["allOf"] = [
        {
            "if": {"properties": {"method": {"const": "POST"}}, "required": ["method"]},
            "else": {
                "properties": {"url": {"pattern": _HAS_VALUE}, "body": {"not": {}, "description": "only for POST"}}
            },
        }
    ]


class EnrichLookup(_Request):
    """Asks an HTTP API about each profile, and writes what it answers as messages."""

    model_config = Strict.model_config | {"json_schema_extra": _method_rules}

    url: LookupUrl = Field(
        description="What is requested; `{value}` stands for the identifier, percent-encoded",
        examples=["https://api.example.com/people?email={value}"],
        json_schema_extra=_RESETS,
    )
    key: Key = Field(description="Whom a lookup is about", examples=[{"identity": "email"}], json_schema_extra=_RESETS)
    stream: Text = Field(
        description="The stream that the answers land on, as messages with the time of the answer in `enriched_at`",
        examples=["companies"],
        json_schema_extra={"x-stream": "writes", **_RESETS},
    )
    attributes: Attributes = Field(
        description="The columns of a message, each with the dotted path of its value in the answer",
        examples=[{"company": "employment.company.name"}],
        json_schema_extra=_RESETS,
    )
    method: Literal["GET", "POST"] = Field("GET", description="How it is requested", json_schema_extra=_RESETS)
    body: Annotated[Params, Field(max_length=100)] | No = Field(
        None,
        description='Of a POST: the JSON object that is sent; `{value}` in a text is the identifier. `{"value": "{value}"}` '
        "unless set",
        json_schema_extra=_RESETS,
    )
    ttl: Ttl = Field(
        "30d",
        description="For so long an answer holds, also one that there is nothing; nobody is asked for again before",
    )
    concurrency: Annotated[Int, Field(ge=1, le=MAX_CONCURRENCY)] = Field(4, description="Requests at one time")
    requests_per_second: Annotated[Int, Field(ge=1, le=1000)] = Field(
        10, description="So many requests begin in a second at most"
    )
    max_requests_per_run: Annotated[Int, Field(ge=1, le=MAX_REQUESTS)] = Field(
        10_000, description="So many profiles are looked up in a run; the others are left to the next one"
    )
    max_rejects: Annotated[Int, Field(ge=0)] | No = Field(
        None,
        description="So many profiles, over all attempts of a run, are omitted with their reason where the API refuses "
        "them; more fail it. Unless set, any number is omitted, but 25 refused in a row fail the run",
        examples=[100],
    )

    @model_validator(mode="after")
    def _the_value_is_sent(self) -> EnrichLookup:
        if self.method == "GET" and not re.search(_HAS_VALUE, self.url):
            raise ValueError("url holds no {value}")
        if self.method == "GET" and self.body is not None:
            raise ValueError("body means nothing for GET")
        return self

    @property
    def column(self) -> str:
        return self.key.column or self.key.identity

    @property
    def ttl_ms(self) -> int:
        return parse_duration(self.ttl)

    @property
    def sent(self) -> Mapping[str, Any]:
        """The body's template."""
        return {"value": VALUE} if self.body is None else self.body


def lookup_schema() -> dict[str, Any]:
    return schema_of(EnrichLookup)
