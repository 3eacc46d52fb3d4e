"""YAML as a tree of values that know their places: PyYAML's events (libyaml's where it is built in), composed here.

PyYAML's own C composer recurses and overflows the stack, so nesting is limited on the event stream; and it resolves
scalars as YAML 1.1 does, so they are resolved here, by YAML 1.2's core schema: `no`, `on`, `12:30:45` and dates are
strings, `012` is twelve, `0o14` too. What a spec has no use for is refused, each with its place: tags, merge keys, keys
that are not strings, numbers that JSON cannot hold, aliases that make much out of little.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from reconciler.core.issue import clip, quoted
from reconciler.repo.yaml_text import MAX_DEPTH

#: Keys and values that one document may hold.
MAX_VALUES: Final = 100_000
#: Values that the aliases of one document may add by repeating them.
MAX_REPEATED: Final = 10_000
_MAX_INT: Final = 2**63 - 1

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile("0o[0-7]+")
_HEX: Final = re.compile("0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


class Malformed(ValueError):
    """Not YAML, or more deeply nested or more repetitive than a spec may be. Its place counts from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True, eq=False)
class Node:
    """A value and its place (from 1). `value` is that of a scalar; `pairs` are a mapping's, `items` a list's. `wrong`
    says why the value itself is refused. `size` and `depth` count what is in it, itself included."""

    line: int
    column: int
    kind: str  # "scalar", "mapping", "list"
    value: Any = None
    pairs: list[tuple[Node, Node]] = field(default_factory=list)
    items: list[Node] = field(default_factory=list)
    wrong: str = ""
    size: int = 1
    depth: int = 0
    merge: bool = False

    def get(self, name: str | int) -> Node | None:
        """The value of a key, or a list's item."""
        if self.kind == "mapping":
            return next((value for key, value in self.pairs if key.value == name), None)
        if self.kind == "list" and isinstance(name, int) and name < len(self.items):
            return self.items[name]
        return None

    def key(self, name: str | int) -> Node | None:
        return next((key for key, _ in self.pairs if key.value == name), None)


def compose(text: str, first_line: int = 1) -> Node | None:
    """The root of the only document in `text`, which begins on `first_line` of its file; None where it has none. Raises
    Malformed."""
    try:
        return _composed(text, first_line, _LOADER)
    except _TooDeepForC:  # libyaml's own limit is higher than ours, but its scanner runs ahead of its events
        return _composed(text, first_line, yaml.SafeLoader)


class _TooDeepForC(Exception):
    pass


def _composed(text: str, first_line: int, loader: Any) -> Node | None:
    composer = _Composer(first_line)
    try:
        for event in _events(text, loader):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or "") and loader is not yaml.SafeLoader:
            raise _TooDeepForC from None
        raise _malformed(error, text, first_line) from None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed(first_line, 1, f"not valid YAML: {clip(str(error))}") from None
    return composer.root


def _events(text: str, loader_of: Any) -> Iterator[Any]:
    loader = loader_of(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


class _Composer:
    """Makes nodes of events, without recursion."""

    def __init__(self, first_line: int) -> None:
        self._first_line = first_line
        self.root: Node | None = None
        self._open: list[Node] = []
        self._keys: list[
            Node | None
        ] = []  # of the mapping at the same place in `_open`: its key that waits for a value
        self._anchors: dict[str, Node] = {}
        self._repeated = 0
        self._values = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._named(_scalar(event, *self._place(event)), event))
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._begin(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._repeat(event)
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            raise Malformed(*self._place(event), "not valid YAML: this does not belong to the document above it")

    def _named(self, node: Node, event: Any) -> Node:
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        if event.tag is not None:
            node.wrong = "tags are not accepted; a value that begins with '!' needs quotes"
        return node

    def _begin(self, event: Any) -> None:
        if len(self._open) >= MAX_DEPTH:
            raise Malformed(*self._place(event), f"lists and mappings are nested deeper than {MAX_DEPTH}")
        kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
        line, column = self._place(event)
        self._open.append(self._named(Node(line, column, kind), event))
        self._keys.append(None)

    def _end(self) -> None:
        node = self._open.pop()
        self._keys.pop()
        node.depth += 1
        self._add(node)

    def _repeat(self, event: Any) -> None:
        line, column = self._place(event)
        node = self._anchors.get(event.anchor)
        if node is None:
            raise Malformed(
                line, column, "an alias (*) of an anchor (&) that is not above it; a value needs quotes here"
            )
        if any(one is node for one in self._open):
            raise Malformed(line, column, "an alias (*) within its own anchor (&) never ends")
        self._repeated += node.size
        if self._repeated > MAX_REPEATED:
            raise Malformed(line, column, f"aliases repeat more than {MAX_REPEATED:,} values")
        if len(self._open) + node.depth > MAX_DEPTH:
            raise Malformed(line, column, f"lists and mappings are nested deeper than {MAX_DEPTH}")
        self._add(node)

    def _place(self, event: Any) -> tuple[int, int]:
        return event.start_mark.line + self._first_line, event.start_mark.column + 1

    def _add(self, node: Node) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise Malformed(node.line, node.column, f"expected at most {MAX_VALUES:,} values in one document")
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth)
        if parent.kind == "list":
            parent.items.append(node)
        elif (key := self._keys[-1]) is None:
            self._keys[-1] = node
        else:
            parent.pairs.append((key, node))
            self._keys[-1] = None


# --- scalars --------------------------------------------------------------------------------------------------------


def _scalar(event: Any, line: int, column: int) -> Node:
    text: str = event.value
    if event.style or event.tag is not None:
        return Node(line, column, "scalar", text)
    value, wrong = resolve(text)
    return Node(line, column, "scalar", value, wrong=wrong, merge=text == "<<")


def resolve(text: str) -> tuple[Any, str]:
    """A plain scalar by YAML 1.2's core schema (section 10.3.2), and what is wrong with it."""
    if text in _NULL:
        return None, ""
    if text in _BOOL:
        return _BOOL[text], ""
    if text[0] in "0123456789+-.":
        return _number(text)
    return text, ""


def _number(text: str) -> tuple[Any, str]:
    integer = _integer(text)
    if integer is not None:
        return integer, "" if abs(integer) <= _MAX_INT else "expected an integer of at most 64 bits"
    if _FLOAT.fullmatch(text):
        value = float(text)
        return value, "" if math.isfinite(value) else "expected a number that a double can hold"
    if _NOT_FINITE.fullmatch(text):
        return text, "expected a finite number; a text needs quotes here"
    return text, ""


def _integer(text: str) -> int | None:
    if _INT.fullmatch(text):
        return int(text) if len(text) < 400 else 2**64
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    return int(text[2:], 16) if _HEX.fullmatch(text) else None


# --- what is no YAML ------------------------------------------------------------------------------------------------

#: libyaml's words, and ours. `{c}` is the character at the place.
_SYNTAX: Final = (
    ("mapping values are not allowed", "a ': ' cannot stand here; a text that holds one needs quotes, and a key its own line"),
    ("block sequence entries are not allowed", "a '- ' cannot stand here; a list begins on its own line"),
    ("block mapping", "the indentation fits no mapping or list above it"),
    ("did not find expected key", "expected a key; the indentation fits none above it, or a text needs quotes"),
    ("did not find expected '-' indicator", "expected '- '; the indentation fits no list above it"),
    ("did not find expected ',' or ']'", "expected ',' or ']' of the list that began at {began}"),
    ("did not find expected ',' or '}'", "expected ',' or '}' of the mapping that began at {began}"),
    ("could not find expected ':'", "expected ': ' after the key at {began}"),
    ("found unexpected end of stream", "the quotes that began at {began} are never closed"),
    ("found unexpected document indicator", "the quotes that began at {began} are never closed"),
    ("found a tab character", "a tab cannot indent; use spaces"),
    ("found unknown escape character", "unknown escape in double quotes; single quotes take a backslash as it is"),
    ("did not find expected node content", "expected a value"),
    ("did not find expected <document start>", "this does not belong to the document above it"),
)  # fmt: skip


def _malformed(error: yaml.MarkedYAMLError, text: str, first_line: int) -> Malformed:
    problem = error.problem or "unreadable"
    mark: Any = error.problem_mark or error.context_mark
    began: Any = error.context_mark or mark
    if "cannot start any token" in problem:
        ours = _token(text, mark)
    else:
        ours = next((ours for theirs, ours in _SYNTAX if theirs in problem), clip(problem))
    ours = ours.replace("{began}", f"{began.line + first_line}:{began.column + 1}")
    return Malformed(mark.line + first_line, mark.column + 1, f"not valid YAML: {ours}")


def _token(text: str, mark: Any) -> str:
    lines = text.split("\n")
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    if rest.startswith("\t"):
        return "a tab cannot indent; use spaces"
    return f"a value cannot begin with {quoted(rest[:1])}; put it in quotes"
