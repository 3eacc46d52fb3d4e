"""`reconcile providers`: the catalogue, as the installed providers declare it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import suggestion
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import Terminal, escape
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.core.provider import JobType, Method, Provider

#: How deep the fields of a field are shown.
DEEPEST: Final = 3

_NEEDS: Final = {"required": "authorization required", "optional": "authorization optional", "none": ""}


@command("providers", click.Argument(["name"], required=False), output_option("text", "json"))
def providers(call: Call, name: str | None, output: str) -> None:
    """Show the catalogue: providers, job types, methods, fields."""
    from reconciler.providers import catalogue

    known = catalogue()
    if name is not None and name not in known:
        raise UsageError(f"there is no provider '{name}'{suggestion(name, known)}")
    if output == "json":
        call.terminal.json(provider_json(known[name]) if name else [provider_json(known[one]) for one in sorted(known)])
    elif name:
        _print_provider(call.terminal, known[name])
    else:
        _print_catalogue(call.terminal, known)


def provider_json(provider: Provider) -> dict[str, Any]:
    """One provider; fields are added, never changed."""
    return {
        "name": provider.name,
        "title": provider.title,
        "methods": [
            {"name": one.name, "title": one.title, "fields": dict(one.fields), "optional": dict(one.optional)}
            for one in provider.methods
        ],
        "jobTypes": [
            {
                "name": one.name,
                "type": one.type,
                "title": one.title,
                "authorization": one.authorization,
                "schema": dict(one.schema),
            }
            for one in provider.job_types
        ],
    }


def _print_catalogue(terminal: Terminal, known: Mapping[str, Provider]) -> None:
    rows = [
        (provider.name, job_type.name, job_type.type, ", ".join(method.name for method in provider.methods) or "-")
        for _, provider in sorted(known.items())
        for job_type in provider.job_types
    ]
    terminal.table(("Provider", "Job type", "Type", "Authorization methods"), rows)


def _print_provider(terminal: Terminal, provider: Provider) -> None:
    terminal.print(f"{terminal.paint(escape(provider.name), 'bold')}  {escape(provider.title)}")
    for method in provider.methods:
        _print_method(terminal, method)
    for job_type in provider.job_types:
        _print_job_type(terminal, job_type)


def _print_method(terminal: Terminal, method: Method) -> None:
    terminal.print()
    terminal.print(f"method {terminal.paint(escape(method.name), 'bold')}  {escape(method.title)}")
    fields = [(name, "credential, required", words) for name, words in method.fields.items()]
    fields += [(name, "credential, optional", words) for name, words in method.optional.items()]
    for name, kind, words in fields:
        _print_field(terminal, name, kind, words, 1)


def _print_job_type(terminal: Terminal, job_type: JobType) -> None:
    terminal.print()
    facts = ", ".join(one for one in (job_type.type, _NEEDS[job_type.authorization]) if one)
    terminal.print(f"job type {terminal.paint(escape(job_type.name), 'bold')} ({facts})  {escape(job_type.title)}")
    _print_fields(terminal, job_type.schema, job_type.schema, 1)


def _print_fields(terminal: Terminal, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> None:
    required = schema.get("required", ())
    for name, declared in schema.get("properties", {}).items():
        field = resolved(declared, root)
        need = ", required" if name in required else default_words(declared, field)
        marks = ", resets the cursor" if declared.get("x-resetsCursor") else ""
        _print_field(terminal, name, f"{type_words(declared, root)}{need}{marks}", _description(declared, field), depth)
        if depth < DEEPEST:
            _print_fields(terminal, field, root, depth + 1)


def _print_field(terminal: Terminal, name: str, kind: str, words: str, depth: int) -> None:
    """`name: kind`, and below it what the field is, indented; both wrapped."""
    indent = "  " * depth
    for text, first in ((f"{name}: {kind}", indent), (words, f"{indent}    ")):
        following = f"{indent}    "
        for line in textwrap.wrap(
            escape(text), terminal.width, initial_indent=first, subsequent_indent=following, break_on_hyphens=False
        ):
            terminal.print(line)


def resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself behind a `$ref` into the same document, and behind `anyOf` with null."""
    for _ in range(DEEPEST):
        if "$ref" in schema:
            found: Any = root
            for part in str(schema["$ref"]).removeprefix("#/").split("/"):
                found = found.get(part, {}) if isinstance(found, Mapping) else {}
            schema = found
        elif (one := _only_choice(schema)) is not None:
            schema = one
        else:
            break
    return schema


def _only_choice(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = [one for one in schema.get("anyOf", schema.get("allOf", ())) if one.get("type") != "null"]
    return choices[0] if len(choices) == 1 else None


def type_words(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a field takes, in a few words."""
    schema = resolved(schema, root)
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "enum" in schema:
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in schema["enum"])
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " | ".join(dict.fromkeys(type_words(one, root) for one in choices))
    if schema.get("type") == "array":
        return f"list of {type_words(schema.get('items', {}), root)}"
    kind = schema.get("type", "any")
    return " | ".join(kind) if isinstance(kind, list) else str(kind)


def default_words(declared: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    """`, default 0`, or `, optional` where a field has none."""
    default = declared.get("default", field.get("default"))
    return ", optional" if default is None else f", default {json.dumps(default, ensure_ascii=False)}"


def _description(declared: Mapping[str, Any], field: Mapping[str, Any]) -> str:
    return str(declared.get("description") or field.get("description") or "")
