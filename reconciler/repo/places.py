"""Where in a file a field stands that a rule across files speaks about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.core.issue import Path, field_path, field_text, without_offset
from reconciler.errors import Problem
from reconciler.repo.yaml_nodes import Malformed, Node, compose
from reconciler.repo.yaml_text import Chunk, NotText, decode, split


class Places:
    """One file's documents by the line on which each begins, composed when first asked for."""

    def __init__(self, content: bytes) -> None:
        try:
            self._chunks = {chunk.content: chunk for chunk in split(decode(content))}
        except NotText:
            self._chunks = {}
        self._roots: dict[int, Node | None] = {}

    def of(self, problem: Problem) -> Problem:
        """`problem` at its field, or at the deepest place on the way there; as it is where its document is not here."""
        chunk = self._chunks.get(problem.line)
        if chunk is None:
            return problem
        if chunk.line not in self._roots:
            self._roots[chunk.line] = _composed(chunk)
        root = self._roots[chunk.line]
        return problem if root is None else inside(*_placed(problem, root), chunk)


def _composed(chunk: Chunk) -> Node | None:
    try:
        return compose(chunk.text, chunk.line)
    except Malformed:
        return None


def _placed(problem: Problem, root: Node) -> tuple[Problem, Node]:
    path = _as_written(root, field_path(problem.field))
    node = root
    for part in path:
        below = node.get(part)
        if below is None:
            break
        node = below
    return replace(problem, line=node.line, column=node.column, field=field_text(path)), node


def inside(problem: Problem, node: Node, chunk: Chunk) -> Problem:
    """A problem of one character of a value, at that character, also within a block; where the file writes the value
    otherwise (with escapes before it, say), the message goes on naming the character."""
    message, offset = without_offset(problem.message)
    if not offset or not isinstance(node.value, str):
        return problem
    line, *below = chunk.text.split("\n")[node.line - chunk.line :]
    line = line[node.column - 1 :]
    if line[:1] in ("|", ">"):
        row, column = _within_block(node.value[:offset], "\n" if line[0] == "|" else " ", below)
        return replace(problem, line=node.line + row, column=column, message=message) if row else problem
    begins = 1 if line[:1] in ("'", '"') else 0
    if line[begins : begins + offset] != node.value[:offset]:
        return problem
    return replace(problem, column=node.column + begins + offset, message=message)


def _within_block(before: str, separator: str, lines: Sequence[str]) -> tuple[int, int]:
    """Where the character that has this text before it stands in the lines of a block: so many lines further down, and in
    which column; (0, 0) where the lines do not read so."""
    indent = next((len(one) - len(one.lstrip(" ")) for one in lines if one.strip()), 0)
    read = ""
    for number, one in enumerate(lines, 1):
        read += one[indent:]
        if len(read) >= len(before):
            left = len(before) - (len(read) - len(one[indent:]))
            return (number, indent + left + 1) if read.startswith(before) and left >= 0 else (0, 0)
        read += separator
    return 0, 0


def _as_written(root: Node, path: Path) -> Path:
    """A normalised spec has `dependsOn` in sorted order; the number of the entry becomes that in the file."""
    if len(path) != 3 or path[:2] != ("spec", "dependsOn"):
        return path
    spec = root.get("spec")
    listed = spec.get("dependsOn") if spec else None
    index = path[2]
    if listed is None or not isinstance(index, int) or index >= len(listed.items):
        return path
    order = sorted(range(len(listed.items)), key=lambda one: str(listed.items[one].value))
    return (*path[:2], order[index])
