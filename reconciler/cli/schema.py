"""`reconcile schema`: the JSON Schema of a kind, or of all as one `oneOf`, for editors and for CI."""

from __future__ import annotations

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command
from reconciler.core.document import KINDS, Kind
from reconciler.errors import UsageError

DIALECT = "https://json-schema.org/draft/2020-12/schema"


@command("schema", click.Argument(["kind"], required=False))
def schema(call: Call, kind: str | None) -> None:
    """Print the JSON Schema of one kind of spec, or of all.

    KIND is Job, Authorization, Stream or Audience. The schema of a Job knows every installed provider's config.
    """
    from reconciler.core.spec import json_schema
    from reconciler.providers import catalogue

    known = catalogue()
    if kind is not None:
        call.terminal.json(json_schema(_kind(kind), known))
        return
    every = [json_schema(one, known) for one in KINDS]
    call.terminal.json({"$schema": DIALECT, "title": "A reconciler spec", "oneOf": every})


def _kind(text: str) -> Kind:
    found = next((one for one in KINDS if one.lower() == text.lower()), None)
    if found is None:
        raise UsageError(f"there is no kind '{text}'{suggestion(text, KINDS)}; the kinds are {', '.join(KINDS)}")
    return found
