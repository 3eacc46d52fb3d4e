"""Reading a saved plan. Nothing of it is done as it stands there: it says which of the actions that the planner makes anew
are done, and only if all of them still are what it says. So a file that somebody has made up can make nothing happen.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.document import KINDS
from reconciler.core.planned import FORMAT_VERSION, Verb, plan_digest
from reconciler.core.value import dataclass
from reconciler.errors import Blocked, UsageError

#: What every plan has, and of which type it is.
_FIELDS: Final[Mapping[str, type]] = {
    "root": str,
    "revision": str,
    "summary": dict,
    "actions": list,
    "runs": list,
    "waiting": list,
    "errors": list,
    "basis": dict,
}
_BASIS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "program": str,
    "providers": str,
    "record": (dict, type(None)),
    "specs": str,
    "settings": dict,
    "policy": str,
    "declared": list,
    "observed": list,
}
_ACTION: Final[Mapping[str, type]] = {"verb": str, "kind": str, "name": str, "path": str, "reason": str}


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPlan:
    """A plan as its file has it. `shown` is the file, for messages; `body` is the JSON of section 6 of the design."""

    shown: str
    body: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return str(self.body["digest"])

    @property
    def root(self) -> str:
        return str(self.body["root"])

    @property
    def needs_record(self) -> bool:
        """Whether it was made beside a record in which something stood."""
        return self.body["basis"]["record"] is not None

    @property
    def event(self) -> int:
        """The last event in the record when it was made."""
        record = self.body["basis"]["record"]
        return int(record["events"]) if record else 0

    @property
    def runs(self) -> frozenset[str]:
        """The jobs that it starts."""
        return frozenset(str(run["name"]) for run in self.body["runs"])


def read_plan(content: bytes, shown: str) -> SavedPlan:
    """The plan that a file holds. Raises UsageError where it holds none, Blocked where it has been edited, or damaged, since
    it was made."""
    try:
        return _read(content, shown)
    except UsageError as error:
        if not _was_a_plan(content):
            raise
        why = str(error).removeprefix(shown).removeprefix(" is no plan").removeprefix(": ")
        raise Blocked(f"{shown} has been edited or damaged since it was made: {why}; nothing was done") from None


def _was_a_plan(content: bytes) -> bool:
    """Whether a content that is no plan now has the marks of one, and not a digest that vouches for it."""
    try:
        body = _object(content, "")
        vouched = body.get("digest") == plan_digest(body)
    except (UsageError, ValueError):
        vouched = False
    return not vouched and sum(mark in content for mark in _MARKS) >= 2


#: Fields of a plan that little else has.
_MARKS: Final = (b'"actionsDigest"', b'"basis"', b'"formatVersion"', b'"waiting"')


def _read(content: bytes, shown: str) -> SavedPlan:
    body = _object(content, shown)
    if body.get("formatVersion") != FORMAT_VERSION:
        found = body.get("formatVersion")
        raise UsageError(
            f"{shown}: formatVersion: expected {FORMAT_VERSION}, found {_brief(found)}; "
            "a plan is applied by the reconcile that made it"
            if found is not None
            else f"{shown} is no plan: it has no formatVersion"
        )
    digest = plan_digest(body)
    if body.get("digest") != digest:
        raise Blocked(
            f"{shown} has been edited since it was made: it says that its digest is {_brief(body.get('digest'))}, "
            f"and what it holds has the digest {digest}; nothing was done"
        )
    if "base" in body:
        raise UsageError(f"{shown} shows what a merge would do (plan --base); only a plan of a record is applied")
    _check(body, shown)
    return SavedPlan(shown=shown, body=body)


def _object(content: bytes, shown: str) -> dict[str, Any]:
    try:
        body = json.loads(
            content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except UnicodeDecodeError:
        raise UsageError(f"{shown} is no plan: it is not UTF-8") from None
    except RecursionError:
        raise UsageError(f"{shown} is no plan: its JSON is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{shown} is no plan: {error}") from None
    if not isinstance(body, dict):
        raise UsageError(f"{shown} is no plan: expected a JSON object")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a field stands in it twice")
    return found


def _finite(word: str) -> float:
    number = float(word)
    if math.isinf(number):
        raise ValueError(f"{word[:40]} is too large a number")
    return number


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _check(body: Mapping[str, Any], shown: str) -> None:
    """The shape of all that is read of it later. Raises UsageError."""
    _fields(body, _FIELDS, shown, "")
    basis = body["basis"]
    _fields(basis, _BASIS, shown, "basis.")
    if basis["record"] is not None:
        _fields(basis["record"], {"id": str, "events": int}, shown, "basis.record.")
    for section, shape in (("declared", _named("path")), ("observed", {**_named("path", "life"), "generation": int})):
        _entries(basis[section], shape, shown, f"basis.{section}")
    _entries(body["actions"], _ACTION, shown, "actions")
    for number, action in enumerate(body["actions"]):
        if action["verb"] not in list(Verb):
            raise UsageError(f"{shown}: actions[{number}].verb: {_brief(action['verb'])} is no verb of a plan")
        if action["kind"] not in KINDS:
            raise UsageError(f"{shown}: actions[{number}].kind: {_brief(action['kind'])} is no kind")
    _entries(body["waiting"], _named("reason"), shown, "waiting")
    _entries(body["runs"], {"name": str}, shown, "runs")
    for section in ("backfills", "exports"):
        _entries(body.get(section, []), {"name": str}, shown, section)


def _named(*more: str) -> dict[str, type]:
    return dict.fromkeys(("kind", "name", *more), str)


def _entries(value: Any, shape: Mapping[str, Any], shown: str, at: str) -> None:
    if not isinstance(value, list):
        raise UsageError(f"{shown}: {at}: expected a list")
    for number, one in enumerate(value):
        if not isinstance(one, dict):
            raise UsageError(f"{shown}: {at}[{number}]: expected an object")
        _fields(one, shape, shown, f"{at}[{number}].")


def _fields(body: Mapping[str, Any], shape: Mapping[str, Any], shown: str, at: str) -> None:
    for name, wanted in shape.items():
        if name not in body:
            raise UsageError(f"{shown}: {at}{name} is missing; it is no plan that can be applied")
        value = body[name]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise UsageError(f"{shown}: {at}{name}: found {_brief(value)}, which is not what a plan has there")


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."
