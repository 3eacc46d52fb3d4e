"""The careful way through a document: every error it has, each at its place; or its `Document`.

What the composer refuses, what the model refuses and what the catalogue refuses are found independently, so that one
look shows all. Where two findings concern the same field at the same place the first is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from reconciler.core.document import KINDS, Document
from reconciler.core.explain import explain
from reconciler.core.issue import Issue, Path, field_text, found, one_of
from reconciler.core.spec import MODELS, Headless, Model, document
from reconciler.core.spec_rules import Rules
from reconciler.core.spec_types import NAME_PATTERN
from reconciler.core.suggest import did_you_mean
from reconciler.errors import Problem
from reconciler.repo.parse_fast import config_defaults
from reconciler.repo.places import inside
from reconciler.repo.yaml_nodes import Malformed, Node, compose
from reconciler.repo.yaml_text import FORBIDDEN, Chunk

#: Characters that cannot stand in a spec are told so often in one document at most.
MAX_FORBIDDEN: Final = 10
#: What is wrong with one document is told so often at most.
MAX_ISSUES: Final = 1_000

_DIRECTIVE: Final = re.compile("^%", re.MULTILINE)
_NAME: Final = re.compile(NAME_PATTERN)
_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec")


def parse_chunk(chunk: Chunk, path: str, rules: Rules) -> tuple[Document | None, list[Problem]]:
    """The document of a chunk, or its problems in order of place."""
    text, problems = _clean(chunk, path)
    try:
        root = compose(text, chunk.line)
    except Malformed as error:
        return None, [*problems, Problem(path, error.line, error.column, "", str(error))]
    if root is None:  # nothing but a directive
        return None, problems
    if root.kind != "mapping":
        what = found(root.value if root.kind == "scalar" else [])
        message = f"expected a mapping with apiVersion, kind, metadata and spec, found {what}"
        return None, [*problems, Problem(path, root.line, root.column, "", message)]
    issues: list[tuple[Issue, Node | None]] = []
    raw = _values(root, (), issues)
    issues += [(issue, None) for issue in islice(_issues(raw, rules), MAX_ISSUES)]
    if not issues and not problems:
        return _document(raw, chunk, path, rules), []
    whose = identity(root) if not problems else ("", "")
    hidden = [
        (_hidden(issue, whose[0], rules), node or find(root, issue.path, on_key=issue.on_key)) for issue, node in issues
    ]
    return None, sorted([*problems, *_placed(hidden, root, whose, path, chunk)])


def parse_plain(chunk: Chunk, path: str, model: type[Model], kind: str) -> tuple[Model | None, list[Problem]]:
    """A document that is no spec, by its model; or its problems in order of place. `kind` is by what `explain` knows it."""
    text, problems = _clean(chunk, path)
    try:
        root = compose(text, chunk.line)
    except Malformed as error:
        return None, [*problems, Problem(path, error.line, error.column, "", str(error))]
    if root is None:
        return model.model_validate({}), problems
    if root.kind != "mapping":
        what = found(root.value if root.kind == "scalar" else [])
        return None, [*problems, Problem(path, root.line, root.column, "", f"expected a mapping, found {what}")]
    issues: list[tuple[Issue, Node | None]] = []
    raw = _values(root, (), issues)
    read: Model | None = None
    try:
        read = model.model_validate(raw)
    except ValidationError as error:
        issues += [(issue, None) for issue in islice(explain(error, kind), MAX_ISSUES)]
    if issues or problems:
        return None, sorted([*problems, *_placed(issues, root, (kind, ""), path, chunk)])
    return read, []


def _clean(chunk: Chunk, path: str) -> tuple[str, list[Problem]]:
    """The text without what no document may hold, so that the rest can be read, and the problems of that."""
    problems: list[Problem] = []
    for match in FORBIDDEN.finditer(chunk.text):
        if len(problems) == MAX_FORBIDDEN:
            break
        problems.append(_at(chunk, path, match.start(), _forbidden(match[0])))
    for match in _DIRECTIVE.finditer(chunk.text):
        message = "directives (%) are not accepted: a spec is YAML 1.2 as it stands"
        problems.append(_at(chunk, path, match.start(), message))
    return _DIRECTIVE.sub("#", FORBIDDEN.sub("?", chunk.text)), problems


def _forbidden(character: str) -> str:
    code = f"U+{ord(character):04X}"
    if character == "\r":
        return "a carriage return that ends no line (U+000D) cannot stand in a spec"
    return f"the character {code} cannot stand in a spec; in double quotes it can be written as an escape"


def _at(chunk: Chunk, path: str, offset: int, message: str) -> Problem:
    line = chunk.line + chunk.text.count("\n", 0, offset)
    return Problem(path, line, offset - chunk.text.rfind("\n", 0, offset), "", message)


# --- from nodes to values -------------------------------------------------------------------------------------------


def _values(node: Node, path: Path, issues: list[tuple[Issue, Node | None]]) -> Any:
    """The plain values of a node, and what is wrong with nodes below it. At most 64 deep by the composer's limit."""
    if node.wrong and len(issues) < MAX_ISSUES:
        issues.append((Issue(path, node.wrong), node))
    if node.kind == "scalar":
        return node.value
    if node.kind == "list":
        return [_values(one, (*path, index), issues) for index, one in enumerate(node.items)]
    values: dict[str, Any] = {}
    first: dict[str, Node] = {}
    for key, value in node.pairs:
        wrong = _wrong_key(key, first)
        if wrong and len(issues) < MAX_ISSUES:
            shown = key.value if isinstance(key.value, str) else "?"
            issues.append((Issue((*path, shown) if isinstance(key.value, str) else path, wrong), key))
        if isinstance(key.value, str) and key.value not in first and not key.merge:
            first[key.value] = key
            values[key.value] = _values(value, (*path, key.value), issues)
        else:
            _values(value, path, issues)
    return values


def _wrong_key(key: Node, first: Mapping[str, Node]) -> str:
    if key.wrong:
        return key.wrong
    if key.merge:
        return "merge keys (<<) are not part of YAML 1.2; write the fields out"
    if key.kind != "scalar":
        return f"expected a string as a key, found {'a list' if key.kind == 'list' else 'a mapping'}"
    if not isinstance(key.value, str):
        return f"expected a string as a key, found {found(key.value)}; put it in quotes"
    if key.value in first:
        return f"duplicate key, first on line {first[key.value].line}"
    return ""


# --- what is wrong with the values ----------------------------------------------------------------------------------


def _issues(raw: dict[str, Any], rules: Rules) -> Iterator[Issue]:
    kind = raw.get("kind")
    known = kind if isinstance(kind, str) and kind in MODELS else ""
    if "kind" not in raw:
        yield Issue(("kind",), f"this field is required, and missing; expected {one_of(KINDS)}")
    elif not known:
        hint = did_you_mean(kind, KINDS)
        yield Issue(("kind",), f"expected {one_of(KINDS)}, found {found(kind)}{hint}")
    if not known:
        for name in raw.keys() - set(_FIELDS):
            yield Issue((name,), f"unknown field{did_you_mean(name, _FIELDS)}", on_key=True)
    try:
        MODELS.get(known, Headless).model_validate(raw)
    except ValidationError as error:
        yield from explain(error, known)
    yield from rules.issues(known, raw)


def _document(raw: dict[str, Any], chunk: Chunk, path: str, rules: Rules) -> Document:
    model = MODELS[raw["kind"]].model_validate(raw)
    defaults = config_defaults(raw, rules)
    return document(model, path=path, ordinal=chunk.ordinal, line=chunk.content, config_defaults=defaults)


# --- places ---------------------------------------------------------------------------------------------------------


def _placed(
    issues: Iterable[tuple[Issue, Node | None]], root: Node, whose: tuple[str, str], path: str, chunk: Chunk
) -> list[Problem]:
    kind, name = whose
    problems: dict[tuple[int, int, str], Problem] = {}
    for issue, node in issues:
        node = node or find(root, issue.path, on_key=issue.on_key)
        field = field_text(issue.path)
        problem = inside(Problem(path, node.line, node.column, field, issue.message, kind, name), node, chunk)
        problems.setdefault((node.line, node.column, field), problem)
    return list(problems.values())


def identity(root: Node) -> tuple[str, str]:
    """Kind and name, or twice nothing where either is unsound or stands there twice: two documents whose `---` was lost
    look like that, and neither may then be taken for absent."""
    metadata = _only(root, "metadata")
    kind, name = _only(root, "kind"), _only(metadata, "name")
    if kind is None or name is None or kind.value not in KINDS:
        return "", ""
    sound = isinstance(name.value, str) and _NAME.fullmatch(name.value)
    return (kind.value, name.value) if sound else ("", "")


def _only(node: Node | None, name: str) -> Node | None:
    found = [value for key, value in node.pairs if key.value == name] if node else []
    return found[0] if len(found) == 1 else None


def find(root: Node, path: Path, *, on_key: bool = False) -> Node:
    """The node at a path, or the deepest one on the way to what is missing."""
    node = root
    for index, part in enumerate(path):
        if on_key and index == len(path) - 1 and (key := node.key(part)):
            return key
        below = node.get(part)
        if below is None:
            return node
        node = below
    return node


def _hidden(issue: Issue, kind: str, rules: Rules) -> Issue:
    """A credential's name that no method has may be a secret in the wrong place: it is not shown."""
    path = issue.path
    hidden = path[:2] == ("spec", "credentials") and len(path) > 2 and path[2] not in rules.credential_names
    return replace(issue, path=path[:2]) if hidden and kind in ("", "Authorization") else issue
