"""`reconcile schema`: the JSON Schema of a kind, or of all as one that picks by `kind`, for editors and for CI."""

from __future__ import annotations

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command
from reconciler.core.document import KINDS, Kind
from reconciler.errors import UsageError


@command("schema", click.Argument(["kind"], required=False))
def schema(call: Call, kind: str | None) -> None:
    """Print the JSON Schema of one kind of spec, or of all.

    KIND is Job, Authorization, Stream or Audience; without it, one schema picks by a document's kind. It is draft-07,
    and knows the job types, configs and credentials of every provider that is installed here.
    """
    from reconciler.core.schema import json_schema, spec_schema
    from reconciler.providers import catalogue

    known = catalogue()
    call.terminal.json(spec_schema(known) if kind is None else json_schema(_kind(kind), known))


def _kind(text: str) -> Kind:
    found = next((one for one in KINDS if one.lower() == text.lower()), None)
    if found is None:
        raise UsageError(f"there is no kind '{text}'; the kinds are {', '.join(KINDS)}{suggestion(text, KINDS)}")
    return found
