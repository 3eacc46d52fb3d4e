"""A plan as a value, and as JSON; `plan.py` makes it. It stands by itself because a pass in which nothing differs has a
plan too, an empty one, and must not pay for the planner."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from posixpath import join
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.canonical_json import canonical_digest
from reconciler.core.document import Kind, digest_of
from reconciler.core.value import Value, dataclass
from reconciler.errors import SOURCE_PATH, Problem

if TYPE_CHECKING:
    from reconciler.core.change import Change
    from reconciler.core.provider import Estimate
    from reconciler.core.prune import Pruning

FORMAT_VERSION: Final = 1


class Verb(StrEnum):
    """What is done; in this order to one thing."""

    MOVE = "move"
    CREATE = "create"
    UPDATE = "update"
    RERUN = "rerun"
    PAUSE = "pause"
    RESUME = "resume"
    PURGE = "purge"
    DELETE = "delete"


#: The verbs as a summary names them.
SUMMARY: Final = (
    Verb.CREATE,
    Verb.UPDATE,
    Verb.PAUSE,
    Verb.RESUME,
    Verb.RERUN,
    Verb.MOVE,
    Verb.DELETE,
    Verb.PURGE,
)


class Risk(StrEnum):
    """What an action may do that cannot be taken back (something is lost, lands or is sent twice, or other people hear of
    it), so that a person looks at it first; the worst first."""

    DELETES = "deletes"
    LANDS_TWICE = "lands-twice"
    CHANGES_WHAT_IS_SENT = "changes-what-is-sent"


#: Fields of an export by which other things reach other people, or elsewhere. How much goes at once is none of that.
_SENT: Final = ("spec.provider", "spec.jobType", "spec.authorization", "spec.config")
_HARMLESS: Final = frozenset({"spec.config.batchSize"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step, with its reason. `path` is where the spec is (was, for a deletion). `message` says what follows that
    the reader may not expect, such as what lands twice. `is_export` is of an update: the job sends."""

    verb: Verb
    kind: Kind
    name: str
    path: str
    reason: str
    changes: tuple[Change, ...] = ()
    resets_cursor: bool = False
    renamed_from: str = ""
    message: str = ""
    is_export: bool = False

    @property
    def risk(self) -> Risk | None:
        """The worst of what it may do; None where all of it can be taken back."""
        if self.verb in (Verb.DELETE, Verb.PURGE):
            return Risk.DELETES
        if self.resets_cursor:
            return Risk.LANDS_TWICE
        fields = {change.field for change in self.changes} - _HARMLESS
        if self.is_export and any(_is_below(field, one) for field in fields for one in _SENT):
            return Risk.CHANGES_WHAT_IS_SENT
        if (self.kind == "Audience" and "spec.where" in fields) or (self.kind == "Stream" and self.renamed_from):
            return Risk.CHANGES_WHAT_IS_SENT
        return None


def _is_below(field: str, of: str) -> bool:
    return field == of or field.startswith(f"{of}.")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is not done now, and why; `until_ms` is when that ends by itself, where a clock decides."""

    kind: Kind
    name: str
    reason: str
    until_ms: int | None = None


class PlannedRun(Value):
    """A run that a pass would start; not a change."""

    name: str
    reason: str


class Rebuild(Value):
    """All profiles are built anew from the raw messages of `streams`, because what the streams of `because` say of people
    has changed. The old ones serve until it is done. `size` is in bytes."""

    streams: tuple[str, ...]
    messages: int
    size: int
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBackfill:
    """What a run of a backfill that is due would add. `estimate` is None where that is not known, and `unknown` says why.
    `adds` are the bytes by which `stream` grows, as far as its messages so far tell. `rebuild` is how many messages a
    rebuild of the profiles reads now, and afterwards; None where none are built from the stream. `timed` says whether
    the messages have a time of their own. Past `limit` the run `waits` for approval; `approve` is the command that gives it,
    empty where there is nothing yet to approve. `is_held`: it waits, because a run has found something else, and no run is
    due that looks again; `is_paused`: nor does it before it is resumed. An `is_upload` is no run: a bulk body that was
    accepted."""

    name: str
    stream: str
    estimate: Estimate | None = None
    unknown: str = ""
    adds: int = 0
    rebuild: tuple[int, int] | None = None
    timed: bool = True
    limit: int = 0
    waits: bool = False
    approve: str = ""
    is_held: bool = False
    is_paused: bool = False
    is_upload: bool = False


class PlannedExport(Value):
    """What an export of an audience would send now, by the profiles as they were last built: members by action, those
    newly left out by reason, how many stay left out from before, and the requests that takes. `held` are the guard's
    objections, `unsent` what an older plan still has to send. `behind` messages would be built first and may change all
    of it. `unknown` is why nothing can be said."""

    name: str
    audience: str
    adds: int = 0
    updates: int = 0
    removes: int = 0
    omits: tuple[tuple[str, int], ...] = ()
    omitted_before: int = 0
    requests: int = 0
    held: tuple[str, ...] = ()
    unsent: int = 0
    behind: int = 0
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pass would do. The planner gives actions and what waits; the controller adds runs and errors. `prune` are
    deletions that need an approval: they wait, or have one and are among the actions. `hold` says why nothing is deleted
    at all."""

    actions: tuple[Action, ...] = ()
    runs: tuple[PlannedRun, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    errors: tuple[Problem, ...] = ()
    rebuild: Rebuild | None = None
    exports: tuple[PlannedExport, ...] | None = None
    backfills: tuple[PlannedBackfill, ...] = ()
    prune: Pruning | None = None
    hold: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes; runs do not count, nor does what waits."""
        return not self.actions

    @property
    def blocked(self) -> Pruning | None:
        """The deletions that wait for an approval."""
        return None if self.prune is None or self.prune.is_approved else self.prune

    @property
    def refused(self) -> tuple[Problem, ...]:
        """The errors that are actions which a rule over plans refuses; the specs themselves are valid."""
        waits = {(one.kind, one.name, one.reason) for one in self.waiting}
        return tuple(one for one in self.errors if (one.kind, one.name, one.message) in waits)

    @property
    def summary(self) -> dict[str, int]:
        """How often each verb stands in the plan, the ones that do not included."""
        verbs = [action.verb for action in self.actions]
        return {str(verb): verbs.count(verb) for verb in SUMMARY}

    @property
    def actions_digest(self) -> str:
        """Over the actions alone, the same wherever the root is: what the audit log names the plan by."""
        return digest_of([_action_json(action, "") for action in self.actions])


def to_json(made: Plan, root: str, revision: str, **more: Any) -> dict[str, Any]:
    """The plan as section 6 of the design has it: paths are `<root>/<path>`, with `root` as the user gave it. `more` are
    further fields, such as what it was made from. `digest` is over everything else in it."""
    body: dict[str, Any] = {
        "formatVersion": FORMAT_VERSION,
        "root": root,
        "revision": revision,
        "digest": "",
        "actionsDigest": made.actions_digest,
        "summary": made.summary,
        "actions": [_action_json(action, root) for action in made.actions],
        "runs": [{"name": run.name, "reason": run.reason} for run in made.runs],
        "waiting": [{"kind": one.kind, "name": one.name, "reason": one.reason} for one in made.waiting],
        "errors": [_problem_json(problem, root) for problem in made.errors],
    }
    if made.rebuild is not None:
        body["rebuild"] = {
            "streams": list(made.rebuild.streams),
            "messages": made.rebuild.messages,
            "bytes": made.rebuild.size,
            "because": list(made.rebuild.because),
        }
    if made.backfills:
        body["backfills"] = [_backfill_json(one) for one in made.backfills]
    if made.blocked is not None:
        body["prune"] = _prune_json(made.blocked, root)
    if made.exports is not None:
        body["exports"] = [_export_json(one) for one in made.exports]
    body |= more
    body["digest"] = plan_digest(body)
    return body


def plan_digest(body: Mapping[str, Any]) -> str:
    """Over everything in a plan's JSON but the field that holds it: the first 32 hexadecimal digits of SHA-256 over its
    canonical JSON (RFC 8785)."""
    return canonical_digest({name: value for name, value in body.items() if name != "digest"})


def _action_json(action: Action, root: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "verb": str(action.verb),
        "kind": action.kind,
        "name": action.name,
        "path": join(root, action.path),
        "reason": action.reason,
        "changes": [{"field": one.field, "before": one.before, "after": one.after} for one in action.changes],
        "resetsCursor": action.resets_cursor,
    }
    if action.renamed_from:
        body["renamedFrom"] = action.renamed_from
    if action.message:
        body["message"] = action.message
    if action.risk is not None:
        body["risk"] = str(action.risk)
    return body


def _prune_json(prune: Pruning, root: str) -> dict[str, Any]:
    return {
        "reason": prune.reason,
        "digest": prune.digest,
        "command": prune.command,
        "jobs": prune.jobs,
        "allowed": prune.allowed,
        "spent": prune.spent,
        "maxDeletes": prune.budget.max_deletes,
        "maxPercent": prune.budget.max_percent,
        "deletions": [{"kind": one.kind, "name": one.name, "path": join(root, one.path)} for one in prune.doomed],
    }


def _backfill_json(one: PlannedBackfill) -> dict[str, Any]:
    found = one.estimate
    return {
        "name": one.name,
        "stream": one.stream,
        "messages": None if found is None else found.messages,
        "bytes": None if found is None else one.adds,
        "exact": found is not None and found.exact,
        "files": None if found is None else found.parts,
        "fileBytes": None if found is None else found.size,
        "unknown": one.unknown,
        "timed": one.timed,
        "rebuild": None if one.rebuild is None else {"messagesNow": one.rebuild[0], "messagesAfter": one.rebuild[1]},
        "maxMessages": one.limit,
        "waitsForApproval": one.waits or one.is_held,
        "approve": one.approve,
    }


def _export_json(export: PlannedExport) -> dict[str, Any]:
    body: dict[str, Any] = {"name": export.name, "audience": export.audience}
    if export.unknown:
        return body | {"unknown": export.unknown}
    return body | {
        "add": export.adds,
        "update": export.updates,
        "remove": export.removes,
        "omit": dict(export.omits),
        "omittedBefore": export.omitted_before,
        "requests": export.requests,
        "heldBy": list(export.held),
        "unsent": export.unsent,
        "messagesBehind": export.behind,
    }


def _problem_json(problem: Problem, root: str) -> dict[str, Any]:
    return {
        "path": root if problem.path == SOURCE_PATH else join(root, problem.path),
        "line": problem.line,
        "column": problem.column,
        "field": problem.field,
        "message": problem.message,
    }
