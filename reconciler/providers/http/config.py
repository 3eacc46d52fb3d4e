"""The config models of the http provider, and the JSON Schemas made of them.

The schema is what a spec is checked against, the model what a run works with; both say the same. Nested models stand
inline in the schema, so that an error names its field and `x-` annotations are found without following references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import SkipJsonSchema

from reconciler.core import time_format
from reconciler.providers.mirror.config import MirrorConfig
from reconciler.providers.schemas import schema_of as schema_of
from reconciler.providers.strict import Strict

MAX_BATCH: Final = 10_000
MAX_TIMEOUT_S: Final = 600

#: Headers that this provider sets itself, that belong to the connection, or that would hold a literal secret.
RESERVED_HEADERS: Final = (
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "if-modified-since",
    "if-none-match",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)

#: Headers whose value is a credential at every API that has one of the name, by how their names end.
CREDENTIAL_ENDINGS: Final = (
    "api-key", "apikey", "access-token", "api-token", "auth-token", "private-token", "security-token", "session-token",
    "subscription-key", "password", "secret",
)  # fmt: skip


def _any_case(word: str) -> str:
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


#: The same of query parameters and of the names in a body, which are also written together, `apiKey` and `api_key`.
_CREDENTIAL_NAME: Final = "|".join(
    _any_case(one).replace("-", "[-_.]?") for one in (*CREDENTIAL_ENDINGS, "client-secret")
)
_NAMES_CREDENTIAL: Final = f"(([^=&#]*[-_.])?({_CREDENTIAL_NAME})|{_any_case('token')})"
#: Where a pattern of a URL begins: its query holds no credential.
OPEN_QUERY: Final = rf"(?![^?#]*\?([^#]*&)?{_NAMES_CREDENTIAL}=)"

_URL: Final = rf"^{OPEN_QUERY}https?://[^/?#@\s\\\x00-\x1f]+([/?#][^\s\x00-\x1f]*)?$(?!\n)"
_PARAM_NAME: Final = rf"^(?!{_NAMES_CREDENTIAL}$).{{1,200}}$(?!\n)"
_A_URL: Final = "an http or https URL without a user name or a credential"
_A_PARAM: Final = "a name of 1 to 200 characters that stands for no credential"
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$(?!\n)"
_RESERVED: Final = rf"(?!({'|'.join(map(_any_case, RESERVED_HEADERS))})$)"
_CREDENTIAL: Final = rf"(?!(.*[-_])?({'|'.join(map(_any_case, CREDENTIAL_ENDINGS))})$)"
_HEADER_NAME: Final = f"^{_RESERVED}{_TOKEN}"
_FREE_HEADER_NAME: Final = f"^{_RESERVED}{_CREDENTIAL}{_TOKEN}"
_A_HEADER: Final = "a header that is not reserved"
_A_FREE_HEADER: Final = f"{_A_HEADER} and holds no credential"
_HEADER_VALUE: Final = r"^[!-~]([ -~]*[!-~])?$(?!\n)"


def _matching(pattern: str, what: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.search(value):
            raise ValueError(f"not {what}")
        return value

    return AfterValidator(check)


def _whole(value: Any) -> Any:
    """JSON Schema counts 5.0 as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Int = Annotated[int, BeforeValidator(_whole)]
Url = Annotated[
    str,
    Field(max_length=2000),
    _matching(_URL, _A_URL),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": _URL,
            "maxLength": 2000,
            "x-expected": _A_URL,
        }
    ),
]
HeaderName = Annotated[
    str,
    _matching(_HEADER_NAME, _A_HEADER),
    WithJsonSchema({"type": "string", "pattern": _HEADER_NAME, "x-expected": _A_HEADER}),
]
FreeHeaderName = Annotated[str, _matching(_FREE_HEADER_NAME, _A_FREE_HEADER)]
HeaderValue = Annotated[
    str,
    Field(max_length=4000),
    _matching(_HEADER_VALUE, "a header's value"),
    WithJsonSchema({"type": "string", "pattern": _HEADER_VALUE, "maxLength": 4000}),
]
Headers = Annotated[
    dict[FreeHeaderName, HeaderValue],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {
                "pattern": _FREE_HEADER_NAME,
                "description": _A_FREE_HEADER,
                "x-expected": _A_FREE_HEADER,
            },
            "additionalProperties": {"type": "string", "pattern": _HEADER_VALUE, "maxLength": 4000},
        }
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Param = Annotated[str | bool | int | float, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Params = Annotated[
    dict[Annotated[str, _matching(_PARAM_NAME, _A_PARAM)], Param],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"pattern": _PARAM_NAME, "description": _A_PARAM, "x-expected": _A_PARAM},
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        }
    ),
]
No = SkipJsonSchema[None]


#: The fields that each way of paging reads, beside `type` and `maxPages`.
_PAGING: Final[Mapping[str, tuple[str, ...]]] = {
    "link": ("nextPath",),
    "page": ("param", "start", "size", "sizeParam"),
    "offset": ("param", "start", "size", "sizeParam"),
    "cursor": ("param", "cursorPath", "size", "sizeParam"),
}


def _paging_rules(schema: dict[str, Any]) -> None:
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"propertyNames": {"enum": ["type", "maxPages", *fields]}}
            | ({"required": ["cursorPath"]} if kind == "cursor" else {})
            | ({"dependentRequired": {"size": ["sizeParam"]}}),
        }
        for kind, fields in _PAGING.items()
    ]


class Pagination(Strict):
    """How one answer leads to the next. A listing ends where there is no next link or cursor, or with a page that has
    no records (pages and offsets): a page that is merely short may be the server's own limit."""

    model_config = ConfigDict(json_schema_extra=_paging_rules)

    type: Literal["link", "page", "offset", "cursor"] = Field(
        description="`link`: the Link header's rel=next, or a URL in the body. `page`: a page number. `offset`: the "
        "number of records before the page. `cursor`: a value of the body that the next request sends back"
    )
    param: Text | No = Field(
        None,
        description="The query parameter that says which page; `page`, `offset` or `cursor` unless set",
        examples=["page"],
    )
    start: Annotated[Int, Field(ge=0)] | No = Field(
        None, description="The first page (1 unless set) or offset (0)", examples=[1]
    )
    size: Annotated[Int, Field(ge=1, le=100_000)] | No = Field(
        None, description="Records a page, sent as `sizeParam`", examples=[1000]
    )
    size_param: Text | No = Field(
        None, description="The query parameter that asks for a page's size", examples=["per_page"]
    )
    next_path: Text | No = Field(
        None, description="The dotted path of the next URL in the body, instead of the header", examples=["links.next"]
    )
    cursor_path: Text | No = Field(
        None, description="The dotted path of the next cursor in the body", examples=["meta.next_cursor"]
    )
    max_pages: Annotated[Int, Field(ge=1, le=1_000_000)] = Field(
        10_000, description="A listing that has not ended after so many pages is an error"
    )

    @model_validator(mode="after")
    def _fields_fit_the_type(self) -> Pagination:
        allowed = {"type", "maxPages", *_PAGING[self.type]}
        names = {to_camel(name) for name in self.model_fields_set}
        if strange := sorted(names - allowed):
            raise ValueError(f"{strange[0]} means nothing for pages by {self.type}")
        if self.type == "cursor" and self.cursor_path is None:
            raise ValueError("cursorPath is needed for pages by cursor")
        if self.size is not None and self.size_param is None:
            raise ValueError("sizeParam is needed where size is set")
        return self


class Incremental(Strict):
    """Only what is new: the highest value of a field that was seen is sent with the next run's requests."""

    field: Text = Field(
        description="The dotted path of the field in a record that rises: a time, or a number. Records at the highest "
        "value seen are neither lost nor landed twice, whether the server's filter includes that value or not; records "
        "below it are taken as seen",
        examples=["updated_at"],
    )
    param: Text = Field(description="The query parameter that the highest value seen is sent as", examples=["since"])


class _Request(Strict):
    headers: Headers = Field({}, description="Headers to send; never a credential, which an Authorization holds")
    api_key_header: HeaderName = Field("X-API-Key", description="The header of the method `api-key`")
    allow_private_addresses: bool = Field(
        False, description="Whether private and loopback addresses may be connected to; link-local ones never are"
    )
    timeout_seconds: Annotated[Int, Field(ge=1, le=MAX_TIMEOUT_S)] = Field(
        60, description="Of one request whole, from looking up the name to the last byte of the answer"
    )


class ImportJson(_Request):
    """Lands the records of JSON answers on a stream."""

    url: Url = Field(
        description="What is requested with GET", examples=["https://api.example.com/v1/orders"],
        json_schema_extra={"x-resetsCursor": True},
    )  # fmt: skip
    stream: Text = Field(
        description="The stream that the records land on",
        examples=["orders"],
        json_schema_extra={"x-stream": "writes", "x-resetsCursor": True},
    )
    records: Annotated[str, Field(max_length=200)] = Field(
        "", description="The dotted path of the array of records in the body; empty where the body is the array"
    )
    params: Params = Field(
        {}, description="Query parameters of every request; never a credential, which an Authorization holds"
    )
    pagination: Pagination | No = Field(None, description="How one answer leads to the next; one request unless set")
    incremental: Incremental | No = Field(
        None, description="Only what is new since the last run", json_schema_extra={"x-resetsCursor": True}
    )
    timestamp_field: Text | No = Field(
        None, description="The field that holds a message's own time", examples=["updated_at"]
    )
    timestamp_format: Annotated[str, Field(pattern=time_format.PATTERN)] | No = Field(
        None, description=time_format.DESCRIPTION.removesuffix("."), examples=["epoch_ms"]
    )
    max_rejects: Annotated[Int, Field(ge=0)] = Field(
        0, description="So many bad records, over all attempts of a run, are omitted with their reason; more fail it"
    )


class Signature(Strict):
    """HMAC-SHA256 over the body as it is sent (compressed, where `compression` is set), as `sha256=` and lower-case
    hexadecimal digits. The key is the credential `signingSecret` of the job's authorization."""

    header: HeaderName = Field("X-Signature", description="The header that holds the signature")


class Posting(_Request):
    """What is posted in batches."""

    url: Url = Field(description="Where batches are posted to", examples=["https://hooks.example.com/in"])
    batch_size: Annotated[Int, Field(ge=1, le=MAX_BATCH)] = Field(
        500, description="Messages or members a request at most; a batch also ends at 4 MiB"
    )
    compression: Literal["none", "gzip"] = Field("none", description="How bodies are compressed")
    signature: Signature | No = Field(None, description="Sign every body with HMAC-SHA256")
    max_rejects: Annotated[Int, Field(ge=0)] | No = Field(
        None,
        description="So many refused messages or members, over all attempts of a run, are omitted with the answer as "
        "their reason; more fail it. Unless set, any number is omitted, but 25 refused in a row fail the run",
        examples=[100],
    )


class ExportWebhook(Posting):
    """Posts a stream's new messages, in order and in batches."""

    stream: Text = Field(
        description="The stream whose messages are sent",
        examples=["orders"],
        json_schema_extra={"x-stream": "reads", "x-resetsCursor": True},
    )


class ActionUrls(Strict):
    """Where each action is sent to, where that is not `url`."""

    add: Url | No = Field(None, description="Where members are added", examples=["https://hooks.example.com/add"])
    update: Url | No = Field(
        None, description="Where members are updated", examples=["https://hooks.example.com/update"]
    )
    remove: Url | No = Field(
        None, description="Where members are removed", examples=["https://hooks.example.com/remove"]
    )


Method = Literal["POST", "PUT", "PATCH", "DELETE"]


class ActionMethods(Strict):
    """The request method of each action."""

    add: Method = Field("POST", description="The method that adds members")
    update: Method = Field("POST", description="The method that updates members")
    remove: Method = Field("POST", description="The method that removes members")


ReplayClass = Literal["idempotent", "ordered", "keyed", "unsafe"]


class ActionReplays(Strict):
    """What sending a batch again does at the destination, when nobody knows whether it arrived. `idempotent` and
    `ordered`: nothing; `keyed`: nothing under the same Idempotency-Key; `unsafe`: it may happen twice, so it is not sent
    again, and its members are omitted until a person has looked."""

    add: ReplayClass = Field("keyed", description="Of adding members")
    update: ReplayClass = Field("keyed", description="Of updating members")
    remove: ReplayClass = Field("keyed", description="Of removing members")


class ErrorPointers(Strict):
    """Where an answer names the rows that it refuses: of a 2xx they alone were refused, of a 400, 413 or 422 the whole
    batch was, because of them."""

    path: Text = Field(description="The dotted path of the array of errors in the body", examples=["errors"])
    index: Text = Field("index", description="The dotted path of the row's number in an error")
    message: Text = Field("message", description="The dotted path of what is wrong in an error")
    first: Annotated[Int, Field(ge=0, le=1)] = Field(0, description="The number of the first row of a batch")


class ExportAudience(Posting, MirrorConfig):
    """Keeps the members of an audience at a destination that takes them by HTTP."""

    urls: ActionUrls = Field(
        default_factory=lambda: ActionUrls.model_validate({}),
        description="Where each action is sent to, where that is not `url`",
    )
    methods: ActionMethods = Field(
        default_factory=lambda: ActionMethods.model_validate({}), description="The request method of each action"
    )
    replay: ActionReplays = Field(
        default_factory=lambda: ActionReplays.model_validate({}),
        description="What sending a batch again does, when nobody knows whether it arrived",
    )
    errors: ErrorPointers | No = Field(None, description="Where an answer names the rows that it refuses")
