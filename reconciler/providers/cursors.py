"""A cursor that comes back from the record is looked at before a provider goes by it: a record is restored, merged by hand,
and written by other versions. One that is none of its job type's ends the run with a sentence, not with a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from types import UnionType
from typing import Any

from reconciler.core.provider import Json
from reconciler.errors import Fatal


def refused(job_type: str) -> Fatal:
    """What is said of a cursor that is none of this job type's."""
    return Fatal(f"the cursor is not one of {job_type}; change `restart` to begin anew")


def fields_of(cursor: Json, job_type: str, kinds: Mapping[str, type | UnionType]) -> dict[str, Any]:
    """The fields of a cursor, each of its kind (a whole number is never true or false). Raises Fatal."""
    if not isinstance(cursor, dict) or not all(_is(cursor.get(name), kind) for name, kind in kinds.items()):
        raise refused(job_type)
    return cursor


def texts_of(value: Any, job_type: str) -> tuple[str, ...]:
    """A list of texts in a cursor. Raises Fatal."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise refused(job_type)
    return tuple(value)


def _is(value: Any, kind: type | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
