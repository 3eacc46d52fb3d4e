"""What the documents are given by the program itself, made in place so that they cannot drift.

    python -m tests.readme --write

A block stands between `<!-- help:plan -->` and `<!-- /help -->`, and so do the others:

    commands:                 every command, with its first sentence
    help:COMMAND              what `reconcile COMMAND --help` prints; without a command, `reconcile` itself
    spec:KIND                 the fields of a kind's `spec`; `spec:metadata` those of `metadata`
    methods:PROVIDER          a provider's ways to authorize, with their credentials
    config:PROVIDER JOB-TYPE  the fields of a job type's `config`
    settings:                 the fields of the operator's file
    types:PROVIDER            a provider's job types
    parameters:               of bulk uploads
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from reconciler.cli.main import reconcile
from reconciler.cli.providers import resolved
from reconciler.core.document import Kind
from reconciler.core.duration import PATTERN
from reconciler.core.operator_file import OperatorFile
from reconciler.core.schema import json_schema
from reconciler.core.spec_types import MOMENT
from reconciler.providers import files, http
from reconciler.web.describe import DOCUMENT

REPOSITORY: Final = Path(__file__).parents[1]
README: Final = REPOSITORY / "README.md"
COMMANDS_PAGE: Final = REPOSITORY / "reconciler" / "cli" / "README.md"
PROVIDERS_PAGE: Final = REPOSITORY / "reconciler" / "providers" / "README.md"
#: Every document that has blocks.
DOCUMENTS: Final = (README, COMMANDS_PAGE, PROVIDERS_PAGE)
_BLOCK: Final = re.compile(r"<!-- (?P<what>[a-z]+):(?P<of>[A-Za-z -]*?) -->\n.*?<!-- /(?P=what) -->", re.DOTALL)
#: What click leaves of 80 columns.
WIDTH: Final = 78
#: The providers that ship with the product, whatever else is installed here.
CATALOGUE: Final = {one.PROVIDER.name: one.PROVIDER for one in (files, http)}
#: What a pattern means, in a word.
_PATTERNS: Final = {
    PATTERN: "duration",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "name",
    "^[a-z][a-z0-9_]{0,62}$": "name in snake_case",
    "^([01][0-9]|2[0-3]):[0-5][0-9]$": "time of day",
    "^[A-Za-z_][A-Za-z0-9_]{0,199}$": "name of a variable",
    str(MOMENT.schema["pattern"]): "time (RFC 3339)",
}

Schema = Mapping[str, Any]


# --- helps ----------------------------------------------------------------------------------------------------------


def help_of(command: str) -> str:
    """What `reconcile COMMAND --help` prints on 80 columns."""
    context = _context(reconcile, "reconcile", None)
    for word in command.split():
        group = context.command
        assert isinstance(group, click.Group)
        inner = group.get_command(context, word)
        assert inner is not None, f"the README speaks of a command that is not there: {command}"
        context = _context(inner, word, context)
    return context.get_help()


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    return click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, help_option_names=["-h", "--help"]
    )


def _help_block(command: str) -> str:
    return f"```text\n{help_of(command).rstrip()}\n```"


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, in the order of the help: a group's commands in the place of the group."""
    context = _context(reconcile, "reconcile", None)
    for name in reconcile.list_commands(context):
        command = reconcile.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            inner = _context(command, name, context)
            for within in command.list_commands(inner):
                found = command.get_command(inner, within)
                assert found is not None
                yield f"{name} {within}", found
        else:
            yield name, command


def _commands_block(_of: str) -> str:
    page = COMMANDS_PAGE.relative_to(REPOSITORY).as_posix()
    rows = [
        f"| [`{name}`]({page}#reconcile-{name.replace(' ', '-')}) | {_first_sentence(command)} |"
        for name, command in commands()
    ]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def _first_sentence(command: click.Command) -> str:
    return f"{_clause(command.get_short_help_str(limit=200))}."


# --- fields ---------------------------------------------------------------------------------------------------------


def _spec_block(of: str) -> str:
    if of == "metadata":
        schema = json_schema("Job", {})
        return _table(schema["$defs"]["Metadata"], schema)
    kind: Kind = of  # type: ignore[assignment]
    schema = json_schema(kind, {})
    return _table(schema["$defs"][f"{kind}Spec"], schema)


def _types_block(of: str) -> str:
    page = PROVIDERS_PAGE.relative_to(REPOSITORY).as_posix()
    rows = [
        f"| [`{one.name}`]({page}#{of}-{one.name}) | {_sentence(_clause(one.title))} |"
        for one in CATALOGUE[of].job_types
    ]
    return "\n".join(["| job type | what it does |", "|---|---|", *rows])


def _config_block(of: str) -> str:
    provider, job_type = of.split(" ")
    found = CATALOGUE[provider].job_type(job_type)
    assert found is not None, f"the README speaks of a job type that is not there: {of}"
    return _table(found.schema, found.schema, resets=True)


def _methods_block(of: str) -> str:
    lines = ["| method | credentials |", "|---|---|"]
    for method in CATALOGUE[of].methods:
        fields = [f"`{name}`: {_clause(text)}" for name, text in method.fields.items()]
        fields += [f"`{name}`, optional: {_clause(text)}" for name, text in method.optional.items()]
        lines.append(f"| `{method.name}` | {'; '.join(fields) or 'none'} |")
    return "\n".join(lines)


def _settings_block(_of: str) -> str:
    schema = OperatorFile.model_json_schema(by_alias=True)
    return _table(schema, schema)


def _parameters_block(_of: str) -> str:
    bulk = DOCUMENT["paths"]["/collect/bulk/csv/{stream}"]["post"]["parameters"]
    rows = [f"| `{one['name']}` | {_sentence(_clause(one['description']))} |" for one in bulk if one["in"] == "query"]
    return "\n".join(["| parameter | meaning |", "|---|---|", *rows])


def _table(schema: Schema, root: Schema, *, resets: bool = False) -> str:
    rows = ["| field | takes | default | meaning |", "|---|---|---|---|"]
    for path, declared, field, needed in _fields(schema, root, ""):
        default = declared.get("default", field.get("default"))
        written = "required" if needed else "" if default in (None, {}, []) else _code(default)
        text = _clause(str(declared.get("description") or field.get("description") or ""))
        mark = " A change drops the cursor." if resets and declared.get("x-resetsCursor") else ""
        rows.append(f"| `{path}` | {_takes(field, root)} | {written} | {_sentence(text)}{mark} |")
    return "\n".join(rows)


def _fields(schema: Schema, root: Schema, above: str) -> Iterator[tuple[str, Schema, Schema, bool]]:
    for name, declared in schema.get("properties", {}).items():
        field = resolved(declared, root)
        yield above + name, declared, field, name in schema.get("required", ())
        if field.get("title") == "Reference":
            continue
        yield from _fields(field, root, f"{above}{name}.")
        values = field.get("additionalProperties")
        if isinstance(values, Mapping) and "$ref" in values:
            yield from _fields(resolved(values, root), root, f"{above}{name}.NAME.")
        items = field.get("items")
        if isinstance(items, Mapping) and "$ref" in items:
            yield from _fields(resolved(items, root), root, f"{above}{name}[].")


def _takes(field: Schema, root: Schema) -> str:
    """What a field takes, in a few words, with its limits."""
    if "const" in field:
        return _code(field["const"])
    if field.get("title") == "Reference":
        return "`{env: …}`, `{file: …}` or `{exec: […]}`"
    if "enum" in field:
        return ", ".join(_code(one) for one in field["enum"])
    if field.get("pattern") in _PATTERNS:
        return _PATTERNS[field["pattern"]]
    if (choices := field.get("anyOf") or field.get("oneOf")) and not field.get("properties"):
        return " or ".join(dict.fromkeys(_takes(resolved(one, root), root) for one in choices))
    return _KINDS.get(str(field.get("type")), _plain)(field, root)


def _plain(field: Schema, _root: Schema) -> str:
    kind = field.get("type", "anything")
    return " or ".join("text" if one == "string" else one for one in ([kind] if isinstance(kind, str) else kind))


def _text(field: Schema, _root: Schema) -> str:
    return f"text, at most {field['maxLength']:,}" if field.get("maxLength", 0) > 1 else "text"


def _number(field: Schema, _root: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    kind = str(field["type"])
    if low is not None and high is not None:
        return f"{kind}, {low:,} to {high:,}"
    return kind if low is None else f"{kind}, at least {low:,}"


def _list(field: Schema, root: Schema) -> str:
    most = f", at most {field['maxItems']:,}" if "maxItems" in field else ""
    items = resolved(field.get("items", {}), root)
    if "enum" in items:
        return f"list of {_takes(items, root)}"
    what = _takes(items, root).partition(",")[0]
    return f"list of {what}s{most}"


def _mapping(field: Schema, _root: Schema) -> str:
    most = f", at most {field['maxProperties']:,}" if field.get("maxProperties", 1) > 1 else ""
    return f"mapping{most}"


_KINDS: Final[Mapping[str, Callable[[Schema, Schema], str]]] = {
    "string": _text,
    "integer": _number,
    "number": _number,
    "array": _list,
    "object": _mapping,
}


def _code(value: Any) -> str:
    """A value as it is written in a spec."""
    if isinstance(value, str):
        text = value or '""'
    else:
        text = json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _clause(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").rstrip(".")


def _sentence(text: str) -> str:
    return f"{text}." if text else ""


# --- all of it ------------------------------------------------------------------------------------------------------

_BLOCKS: Final[Mapping[str, Callable[[str], str]]] = {
    "commands": _commands_block,
    "help": _help_block,
    "spec": _spec_block,
    "methods": _methods_block,
    "config": _config_block,
    "settings": _settings_block,
    "types": _types_block,
    "parameters": _parameters_block,
}


def generated(text: str) -> str:
    """A document with every block as it is now."""

    def block(match: re.Match[str]) -> str:
        what, of = match["what"], match["of"]
        return f"<!-- {what}:{of} -->\n{_BLOCKS[what](of)}\n<!-- /{what} -->"

    return _BLOCK.sub(block, text)


def blocks(text: str, what: str) -> list[str]:
    """What a document has blocks of, of one sort."""
    return [match["of"] for match in _BLOCK.finditer(text) if match["what"] == what]


if __name__ == "__main__":
    for document in DOCUMENTS:
        new = generated(document.read_text(encoding="utf-8"))
        if "--write" in sys.argv[1:]:
            document.write_text(new, encoding="utf-8")
        else:
            print(new)
