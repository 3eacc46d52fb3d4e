"""`reconcile schema`: the JSON Schema of a kind, or of all as one `oneOf`, for editors and for CI."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command
from reconciler.core.document import KINDS, Kind
from reconciler.errors import UsageError

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


@command("schema", click.Argument(["kind"], required=False))
def schema(call: Call, kind: str | None) -> None:
    """Print the JSON Schema of one kind of spec, or of all.

    KIND is Job, Authorization, Stream or Audience. The schema of a Job knows every installed provider's config.
    """
    from reconciler.core.schema import json_schema
    from reconciler.providers import catalogue

    known = catalogue()
    if kind is not None:
        call.terminal.json(json_schema(_kind(kind), known))
        return
    call.terminal.json(_one_of({one: json_schema(one, known) for one in KINDS}))


def _one_of(schemas: Mapping[Kind, dict[str, Any]]) -> dict[str, Any]:
    """All kinds as one schema; each kind's definitions under its own name."""
    definitions: dict[str, Any] = {}
    for kind, schema in schemas.items():
        own = _renamed(schema, kind)
        for name, definition in own.pop("$defs", {}).items():
            definitions[f"{kind}.{name}"] = definition
        definitions[kind] = {name: value for name, value in own.items() if name != "$schema"}
    return {
        "$schema": DIALECT,
        "title": "reconciler specs",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in schemas],
        "$defs": definitions,
    }


def _renamed(value: Any, kind: Kind) -> Any:
    """The schema with its references into `$defs` led to the definitions of this kind."""
    if isinstance(value, list):
        return [_renamed(one, kind) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        name: f"#/$defs/{kind}.{one.removeprefix('#/$defs/')}"
        if name == "$ref" and isinstance(one, str)
        else _renamed(one, kind)
        for name, one in value.items()
    }


def _kind(text: str) -> Kind:
    found = next((one for one in KINDS if one.lower() == text.lower()), None)
    if found is None:
        raise UsageError(f"there is no kind '{text}'; the kinds are {', '.join(KINDS)}{suggestion(text, KINDS)}")
    return found
