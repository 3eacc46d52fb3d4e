"""The process that goes through bulk bodies before they are accepted: one, of the lowest priority, so that live messages
notice nothing. It reads with the same hands that fold the body afterwards, so what it counts is what lands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from reconciler.data.journal import Bulk
from reconciler.errors import Fatal, Retriable
from reconciler.runner.processes import die_with_parent, name_process
from reconciler.web.limits import NAMED_ROWS

#: After so many bad rows a body that may have none is read no further.
ENOUGH: Final = 10_000
_NICE: Final = 19


def prepare(parent: int) -> None:
    """Once, at the start of the process: it ends with the one that asks it."""
    die_with_parent(parent)
    name_process("reconcile-bulk")
    os.nice(_NICE)


def check(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """What is in a body: `messages`, `omitted` (bad rows), the first of them as `errors`, with what is counted (`line`, or
    `element` of an array) as `unit`; or why it cannot be read at all as `error`, `damaged` where it is no whole gzip."""
    from reconciler.data.content import Damaged
    from reconciler.data.fold import bulk_blocks, is_array

    bulk = Bulk(**fields)
    found: dict[str, Any] = {"messages": 0, "omitted": 0, "errors": [], "error": "", "damaged": False, "unit": "line"}
    try:
        found["unit"] = "element" if is_array(bulk, Path(path)) else "line"
        for block in bulk_blocks(bulk, Path(path), None):
            found["messages"] += block.table.num_rows
            found["omitted"] += len(block.rejects)
            left = NAMED_ROWS - len(found["errors"])
            found["errors"] += [
                (one.line, _reason(found["unit"], one.reason, one.text)) for one in block.rejects[:left]
            ]
            if found["omitted"] >= ENOUGH and not bulk.droperrors:
                break
    except (Fatal, Retriable) as error:
        found |= {"error": str(error), "damaged": bulk.gzip and isinstance(error, Damaged)}
    return found


def _reason(unit: str, reason: str, text: str) -> str:
    if unit == "line" and reason == "not a JSON object" and text.lstrip().startswith("["):
        return "an array; a bulk body is one object a line, or one array of objects"
    return reason
