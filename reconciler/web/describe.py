"""The OpenAPI document that is served at `/openapi.json`."""

from __future__ import annotations

from typing import Any, Final

from reconciler import __version__
from reconciler.web.hooks import SIGNED, TOKEN
from reconciler.web.limits import NAMED_ROWS, Limits

_LIMITS: Final = Limits()
_ERROR: Final = {"$ref": "#/components/schemas/Error"}

#: What a refusal means, by status.
_REFUSALS: Final = {
    400: "A parameter or header cannot be read, or the body is no whole gzip although it says so.",
    401: "No declared token.",
    404: "There is no such stream; near names are given.",
    405: "Only POST is answered.",
    408: "The body did not come in time.",
    409: "A request with this idempotency key is being answered.",
    413: "The body is too large.",
    415: "The body's type or encoding is not taken.",
    422: "Rows are malformed, or the idempotency key came with another body before. Nothing was accepted.",
    429: "Too much waits; come again after `Retry-After` seconds. Nothing was accepted.",
    500: "A bug.",
    503: "The disk refuses, or nobody has looked yet at what is declared. Nothing was accepted.",
}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _responses(accepted: dict[int, dict[str, Any]]) -> dict[str, Any]:
    refusals = {status: _answer(said, _ERROR) for status, said in _REFUSALS.items()}
    return {str(status): answer for status, answer in sorted({**refusals, **accepted}.items())}


def _parameter(name: str, description: str, schema: dict[str, Any], *, where: str = "query") -> dict[str, Any]:
    return {"name": name, "in": where, "description": description, "required": where == "path", "schema": schema}


def _text(**more: Any) -> dict[str, Any]:
    return {"type": "string", **more}


_STREAM: Final = _parameter("stream", "A declared stream.", _text(minLength=1, maxLength=63), where="path")
_KEY: Final = _parameter(
    "Idempotency-Key",
    "The same key gets the same answer for 24 hours, and its messages land once.",
    _text(minLength=1, maxLength=255, pattern="^[!-~]+$"),
    where="header",
)
_FLAG: Final = _text(enum=["true", "false"])
_NAME: Final = _text(minLength=1, maxLength=256, pattern="^[ -~]+$")
_BULK: Final = [
    _parameter("timestamp_field", "The column that holds a message's own time.", _NAME),
    _parameter(
        "timestamp_format",
        "`iso8601`, `epoch_s`, `epoch_ms` or a strptime pattern. A time without an offset is UTC. The default is the stream's "
        "own `timestamp.format` for its `timestamp.field`, else `iso8601`.",
        _text(enum=["iso8601", "epoch_s", "epoch_ms", "%d/%m/%Y %H:%M"]),
    ),
    _parameter(
        "append",
        "Constants, as a JSON object, that every message is given as columns.",
        _text(examples=['{"source": "archive"}']),
    ),
    _parameter("droperrors", "Leave malformed rows out, and accept the others.", _FLAG),
    _parameter("dryrun", "Go through the body, and land nothing.", _FLAG),
    _parameter("filename", "Where the rows came from.", _text(minLength=1, maxLength=255, pattern="^[ -~]+$")),
]
_CSV: Final = [
    _parameter(
        "headers",
        "The columns' names, of a body that has no row of names: separated by commas, or a JSON array.",
        _text(minLength=1, examples=["id,email"]),
    ),
    _parameter("delimiter", "The character between fields, or `tab`.", _text(enum=[",", ";", "|", "tab"])),
]


def _operation(
    identifier: str, summary: str, content: dict[str, Any], parameters: list[dict[str, Any]], accepted: dict[int, Any]
) -> dict[str, Any]:
    return {
        "parameters": [_STREAM],
        "post": {
            "operationId": identifier,
            "summary": summary,
            "security": [{"token": []}],
            "parameters": [*parameters, _KEY],
            "requestBody": {"required": True, "content": content},
            "responses": _responses(accepted),
        },
    }


def _get(identifier: str, summary: str, answers: dict[str, Any]) -> dict[str, Any]:
    return {"get": {"operationId": identifier, "summary": summary, "responses": answers}}


#: What a forge signs its request with; the last one is the secret itself.
_PROOFS: Final = {"signature": SIGNED[0][0], "gitSignature": SIGNED[2][0], "gitlabToken": TOKEN}

_STATE: Final = {
    "type": "object",
    "properties": {
        "status": _text(),
        "error": _text(),
        "specs": _text(description="What is wrong with where the specs come from; the last good ones stay."),
    },
    "required": ["status"],
}
_MESSAGE: Final = {"type": "object", "maxProperties": 2000}
_MESSAGES: Final = {"schema": {"oneOf": [_MESSAGE, {"type": "array", "minItems": 1, "items": _MESSAGE}]}}
_ACCEPTED: Final = _answer("The messages are on the disk.", {"$ref": "#/components/schemas/Accepted"})
_DRY: Final = _answer("What would have been accepted.", {"$ref": "#/components/schemas/DryRun"})
_TEXT: Final = {"description": "As text.", "content": {"text/plain": {"schema": _text()}}}
_PUSH: Final = {
    "post": {
        "operationId": "push",
        "summary": "A repository was pushed to: the controller looks at once.",
        "security": [{name: []} for name in _PROOFS],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
        "responses": _responses(
            {
                202: _answer("The controller has been told.", _STATE),
                403: _answer("The signature is wrong.", _ERROR),
                404: _answer("No push hook is declared.", _ERROR),
            }
        ),
    }
}

DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {
        "title": "reconcile: intake",
        "version": __version__,
        "description": "Messages for declared streams. An answer of 202 means that they are on the disk.",
    },
    "paths": {
        "/collect/json/{stream}": _operation(
            "collectJson",
            f"Live messages: one, an array of them, or one a line; {_LIMITS.json_bytes >> 20} MiB.",
            {
                "application/json": _MESSAGES,
                "application/x-ndjson": {"schema": _text(minLength=2)},
            },
            [],
            {202: _ACCEPTED},
        ),
        "/collect/bulk/csv/{stream}": _operation(
            "collectBulkCsv",
            "A backfill as CSV; every field stays text as it came.",
            {"text/csv": {"schema": _text(minLength=1)}},
            [*_BULK, *_CSV],
            {200: _DRY, 202: _ACCEPTED},
        ),
        "/collect/bulk/json/{stream}": _operation(
            "collectBulkJson",
            "A backfill as JSON: one object, one a line, or one array of them, of any length.",
            {
                "application/x-ndjson": {"schema": _text(minLength=2)},
                "application/json": _MESSAGES,
            },
            _BULK,
            {200: _DRY, 202: _ACCEPTED},
        ),
        "/hooks/push": _PUSH,
        "/healthz": _get(
            "health",
            "Whether messages can be accepted.",
            {"200": _answer("Yes.", _STATE), "503": _answer("No.", _STATE)},
        ),
        "/readyz": _get(
            "readiness",
            "Whether what is accepted comes to its stream soon.",
            {"200": _answer("Yes.", _STATE), "503": _answer("No.", _STATE)},
        ),
        "/metrics": _get("metrics", "For Prometheus.", {"200": _TEXT}),
        "/openapi.json": _get("describe", "This document.", {"200": _answer("This document.", {"type": "object"})}),
    },
    "components": {
        "securitySchemes": {
            "token": {"type": "http", "scheme": "bearer"},
            **{name: {"type": "apiKey", "in": "header", "name": header} for name, header in _PROOFS.items()},
        },
        "schemas": {
            "Row": {
                "type": "object",
                "description": "A row that is malformed, by its line; an element of a bulk array by its number.",
                "properties": {
                    "line": {"type": "integer", "minimum": 1},
                    "element": {"type": "integer", "minimum": 1},
                    "reason": _text(),
                },
                "required": ["reason"],
            },
            "Error": {
                "type": "object",
                "properties": {
                    "error": _text(description="One sentence."),
                    "bad": {"type": "integer", "description": "How many rows are malformed."},
                    "errors": {
                        "type": "array",
                        "maxItems": NAMED_ROWS,
                        "items": {"$ref": "#/components/schemas/Row"},
                    },
                },
                "required": ["error"],
            },
            "Accepted": {
                "type": "object",
                "properties": {
                    "accepted": {"type": "integer", "minimum": 0},
                    "omitted": {"type": "integer", "minimum": 0},
                    "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
                    "approval": {"$ref": "#/components/schemas/Approval"},
                },
                "required": ["accepted"],
            },
            "DryRun": {
                "type": "object",
                "properties": {
                    "dryrun": {"const": True},
                    "messages": {"type": "integer", "minimum": 0},
                    "omitted": {"type": "integer", "minimum": 0},
                    "errors": {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
                    "approval": {"$ref": "#/components/schemas/Approval"},
                },
                "required": ["dryrun", "messages", "omitted"],
            },
            "Approval": {
                "type": "object",
                "description": "There where the body holds more messages than its stream takes unasked: it waits for a person.",
                "properties": {
                    "digest": _text(
                        description="What `reconcile approve STREAM DIGEST` names; not there in a dry run."
                    ),
                    "maxMessages": {"type": "integer", "minimum": 1},
                    "message": _text(),
                },
                "required": ["maxMessages", "message"],
            },
        },
    },
}
