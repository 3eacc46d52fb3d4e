"""Where in a file a field stands that a rule across files speaks about."""

from __future__ import annotations

from dataclasses import replace

from reconciler.core.issue import Path, field_path, field_text
from reconciler.errors import Problem
from reconciler.repo.yaml_nodes import Malformed, Node, compose
from reconciler.repo.yaml_text import Chunk


def place_of(problem: Problem, chunk: Chunk, roots: dict[int, Node | None]) -> Problem:
    """`problem` at its field in the document of `chunk`. `roots` remembers composed documents by line.

    A normalised spec has `dependsOn` in sorted order; the number of the entry becomes that in the file.
    """
    if chunk.line not in roots:
        roots[chunk.line] = _composed(chunk)
    node = roots[chunk.line]
    if node is None:
        return problem
    path = _as_written(node, field_path(problem.field))
    for part in path:
        below = node.get(part)
        if below is None:
            break
        node = below
    return replace(problem, line=node.line, column=node.column, field=field_text(path))


def _composed(chunk: Chunk) -> Node | None:
    try:
        return compose(chunk.text, chunk.line)
    except Malformed:
        return None


def _as_written(root: Node, path: Path) -> Path:
    if len(path) != 3 or path[:2] != ("spec", "dependsOn"):
        return path
    spec = root.get("spec")
    listed = spec.get("dependsOn") if spec else None
    index = path[2]
    if listed is None or listed.kind != "list" or not isinstance(index, int) or index >= len(listed.items):
        return path
    order = sorted(range(len(listed.items)), key=lambda one: str(listed.items[one].value))
    return (*path[:2], order[index])
