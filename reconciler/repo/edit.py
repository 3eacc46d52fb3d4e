"""`pause`, `resume` and `rerun` edit a spec in place: one field of one document, nothing else.

The text is not written anew from its meaning; the place of the field is found by the parser's marks, and only those
characters change. So comments, order, layout, quoting, line ends, a byte order mark and the other documents stay as
they are. Afterwards the new text is parsed, and must mean exactly the same but for that field; where it does not (a
layout nobody foresaw), the edit is refused rather than made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler.errors import Blocked, ReconcileError
from reconciler.repo.emit import scalar_text
from reconciler.repo.walk import MAX_FILE_BYTES, content_digest

#: Documents nested more deeply are not edited (nor are they valid: design, section 2).
MAX_DEPTH: Final = 64

#: A new line goes below the last of these that stands on one line, else above the first field.
_GOES_BELOW: Final = ("provider", "jobType", "authorization", "schedule")

_BOM: Final = "\ufeff"
_LINE_END: Final = re.compile(r"\r\n|\n|\r")

Value = str | bool


@dataclass(slots=True)
class _Node:
    """A piece of a document. `start` and `end` count characters. `pairs` are of a mapping, `items` of a sequence,
    `text` is a scalar's; an alias has its name as `text` and nothing else."""

    what: str
    start: int
    end: int
    tag: str = ""
    text: str = ""
    style: str = ""
    anchor: str = ""
    pairs: list[tuple[_Node, _Node]] = field(default_factory=list)
    items: list[_Node] = field(default_factory=list)

    def get(self, key: str) -> tuple[_Node, _Node] | None:
        return next((pair for pair in self.pairs if pair[0].what == "scalar" and pair[0].text == key), None)

    def meaning(self) -> Any:
        """What is compared before and after: everything but where it stands and how it is quoted."""
        pairs = [(key.meaning(), value.meaning()) for key, value in self.pairs]
        return self.what, self.tag, self.anchor, self.text, pairs, [item.meaning() for item in self.items]


def set_field(content: bytes, ordinal: int, name: str, value: Value, *, insert: bool = True) -> bytes:
    """The content of a file with one field set: `name` is dotted (`spec.suspend`), its parent must be there; `ordinal`
    numbers the documents of the file from 0. A field that is missing is added, or with `insert` false left out: then
    the content comes back as it was. Raises ReconcileError where the file cannot be edited safely."""
    text, mark = _decoded(content)
    documents = _documents(text)
    if ordinal >= len(documents):
        raise ReconcileError(f"The file has {len(documents)} documents; number {ordinal + 1} is not among them.")
    *parents, last = name.split(".")
    parent = _descend(documents[ordinal], parents)
    found = parent.get(last)
    if found is None and not insert:
        return content
    edited = _replaced(text, parent, found[1], value) if found else _inserted(text, parent, last, value)
    _verify(documents, edited, ordinal, name, value)
    return (mark + edited).encode("utf-8")


def write_edit(path: Path, expected_digest: str, content: bytes) -> None:
    """Replaces a spec file atomically, keeping its permissions; a link stays one. Raises Blocked where the file is no
    longer the one with `expected_digest` (`walk.content_digest`), ReconcileError where it cannot be written."""
    target = Path(os.path.realpath(path))
    try:
        _write_edit(target, expected_digest, content)
    except OSError as error:
        raise ReconcileError(f"{path} could not be written: {error.strerror}.") from error


def _write_edit(target: Path, expected_digest: str, content: bytes) -> None:
    import tempfile

    seen = target.stat()
    handle, beside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), seen.st_mode & 0o7777)
            if (seen.st_uid, seen.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(file.fileno(), seen.st_uid, seen.st_gid)
            os.fsync(file.fileno())
        if content_digest(target.read_bytes()) != expected_digest:
            raise Blocked(f"{target} has changed since it was read; try again.")
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


# --- finding the place ----------------------------------------------------------------------------------------------


def _decoded(content: bytes) -> tuple[str, str]:
    if len(content) > MAX_FILE_BYTES:
        raise ReconcileError("The file is larger than 1 MiB; it is not edited.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReconcileError("The file is not UTF-8; it is not edited.") from error
    return (text[1:], _BOM) if text.startswith(_BOM) else (text, "")


def _documents(text: str) -> list[_Node]:
    """The documents of a text in order, empty ones among them: they are numbered as the parser of specs does."""
    import yaml

    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return list(_roots(iter(events)))
    except yaml.YAMLError as error:
        raise ReconcileError(
            "The file is not valid YAML; it is not edited. `reconcile validate` says where."
        ) from error


def _roots(events: Iterator[Any]) -> Iterator[_Node]:
    for event in events:
        if type(event).__name__ == "DocumentStartEvent":
            yield _node(next(events), events, 0)


def _node(event: Any, events: Iterator[Any], depth: int) -> _Node:
    if depth > MAX_DEPTH:
        raise ReconcileError(f"The file nests more than {MAX_DEPTH} levels; it is not edited.")
    what = type(event).__name__.removesuffix("Event").removesuffix("Start").lower()
    node = _Node(what, event.start_mark.index, event.end_mark.index, anchor=event.anchor or "")
    if what == "alias":
        return node
    node.tag = event.tag or ""
    if what == "scalar":
        node.text, node.style = event.value, event.style or ""
        node.tag = node.tag or ("plain" if event.implicit[0] and not event.style else "str")
        return node
    node.style = "flow" if event.flow_style else ""
    while type(following := next(events)).__name__ not in ("MappingEndEvent", "SequenceEndEvent"):
        item = _node(following, events, depth + 1)
        if what == "mapping":
            node.pairs.append((item, _node(next(events), events, depth + 1)))
        else:
            node.items.append(item)
    node.end = following.end_mark.index
    return node


def _descend(node: _Node, parents: list[str]) -> _Node:
    """The mapping that holds the field; never one that is used elsewhere too."""
    walked = ""
    for name in parents:
        found = node.get(name)
        walked = f"{walked}.{name}" if walked else name
        if found is None:
            raise ReconcileError(f"The document has no field '{walked}'; edit the file by hand.")
        node = found[1]
        if node.what == "alias" or node.anchor:
            raise ReconcileError(f"'{walked}' is shared by an anchor; edit the file by hand.")
    if node.what != "mapping":
        raise ReconcileError(f"'{walked}' is not a mapping; edit the file by hand.")
    return node


# --- changing the text ----------------------------------------------------------------------------------------------


def _replaced(text: str, parent: _Node, node: _Node, value: Value) -> str:
    """The text with another value in the place of `node`."""
    if node.what not in ("scalar", "alias") or node.anchor:
        raise ReconcileError("The field holds more than one value, or an anchor; edit the file by hand.")
    new = _value_text(value, '"' if parent.style == "flow" and not node.style else node.style)
    if node.start == node.end:  # `suspend:` with nothing behind it
        new = new if text[node.start - 1].isspace() else f" {new}"
    elif node.style in ("|", ">"):
        new += _line_end(text, node.start)
    return text[: node.start] + new + text[node.end :]


def _inserted(text: str, parent: _Node, name: str, value: Value) -> str:
    """The text with the field added to a mapping."""
    if parent.style == "flow":
        quote = '"' if parent.pairs and parent.pairs[0][0].style == '"' else ""
        comma = ", " if parent.pairs else ""
        at = text.index("{", parent.start) + 1
        return f"{text[:at]}{quote}{name}{quote}: {_value_text(value, chr(34))}{comma}{text[at:].lstrip(' ')}"
    first = parent.pairs[0][0].start
    start = _line_start(text, first)
    line = f"{text[start:first]}{name}: {_value_text(value)}"
    below = [item.end for key, item in parent.pairs if key.text in _GOES_BELOW and _stands_on_a_line(text, key, item)]
    if not below:
        return f"{text[:start]}{line}{_line_end(text, start)}{text[start:]}"
    ending = _LINE_END.search(text, below[-1])
    if ending is None:  # the file's last line, without an end
        return f"{text}{_line_end(text, 0)}{line}"
    return f"{text[: ending.end()]}{line}{ending[0]}{text[ending.end() :]}"


def _stands_on_a_line(text: str, key: _Node, item: _Node) -> bool:
    one_value = item.what in ("scalar", "alias") and item.style not in ("|", ">")
    return (one_value or item.style == "flow") and _LINE_END.search(text, key.start, item.end) is None


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _line_end(text: str, at: int) -> str:
    """The line end that is used from here on."""
    found = _LINE_END.search(text, at) or _LINE_END.search(text)
    return found[0] if found else "\n"


def _value_text(value: Value, style: str = "") -> str:
    """The value as YAML, quoted as the old one was."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return scalar_text(value, quoted=style == '"')


# --- checking it ----------------------------------------------------------------------------------------------------


def _verify(before: list[_Node], edited: str, ordinal: int, name: str, value: Value) -> None:
    """The edited text holds the same documents but for the one field, which holds the value."""
    refusal = ReconcileError(f"'{name}' cannot be set in this layout without changing more; edit the file by hand.")
    try:
        after = _documents(edited)
        if len(after) != len(before):
            raise refusal
        new = _taken_out(after[ordinal], name)
    except ReconcileError as error:
        raise refusal from error
    _taken_out(before[ordinal], name)
    if new is None or not _holds(new, value) or [one.meaning() for one in before] != [one.meaning() for one in after]:
        raise refusal


def _taken_out(document: _Node, name: str) -> _Node | None:
    """Removes a field from a document, and returns its value."""
    *parents, last = name.split(".")
    parent = _descend(document, parents)
    found = parent.get(last)
    if found is None:
        return None
    parent.pairs = [pair for pair in parent.pairs if pair[0] is not found[0]]
    return found[1]


def _holds(node: _Node, value: Value) -> bool:
    if node.what != "scalar" or node.anchor:
        return False
    if isinstance(value, bool):
        return node.tag == "plain" and node.text == _value_text(value)
    return node.text == value and (node.tag == "str" or scalar_text(value) == value)
