"""The planner: what is declared and what is known in, what is to be done out; pure, with `now` a part of its input.

It is given differences (design, section 5): pairs that are equal and whose time has not come change nothing, so that
planning the differing pairs equals planning the whole. Applying a plan and planning again at the same `now` is empty.

A rename is one job: a document that says `renamedFrom` and whose new name is unknown takes over what is known of the
old one, where no document declares the old one any more; chains of renames in one commit are followed. The pair of
every name that a `renamedFrom` names belongs to the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Final, Literal

from reconciler.clock import Now, iso
from reconciler.core.change import Change, asks, changed_fields, changes, resets_cursor
from reconciler.core.document import KINDS, Document, Kind
from reconciler.core.planned import Action, Plan, Verb, Waiting
from reconciler.core.prune import Doomed, Pruning, Purse, judge
from reconciler.core.rules import PURGE_AFTER_MS as PURGE_AFTER_MS
from reconciler.core.state import FINAL, Status
from reconciler.core.value import dataclass
from reconciler.core.words import DAY_MS, listed

Life = Literal["live", "purged", "orphaned", "archived", "deleted", "undeleted"]


#: What others need comes first, and goes last.
_KIND_RANK: Final[Mapping[str, int]] = {"Authorization": 0, "Stream": 1, "Audience": 2, "Job": 3}
_VERB_RANK: Final = {verb: number for number, verb in enumerate(Verb)}

#: Changed fields by which a job leaves a status for good, or for a pause.
_LEAVES: Final[Mapping[Status, frozenset[str]]] = {
    Status.FAILED: frozenset(
        {"provider", "jobType", "config", "schedule", "authorization", "retry", "timeout", "suspend"}
    ),
    Status.COMPLETED: frozenset({"provider", "jobType", "config", "schedule", "suspend"}),
    Status.PAUSED: frozenset({"suspend"}),
}

#: How a protected thing is deleted all the same.
_TO_DELETE: Final = (
    "to delete it, restore its file with deletionPolicy: delete, let that be applied, and remove it then"
)

#: How a purged job is brought back, by the status it was purged in.
_COMES_BACK: Final[Mapping[Status, str]] = {
    Status.FAILED: "change spec.rerun to run it again",
    Status.COMPLETED: "change spec.rerun to run it again",
    Status.PAUSED: "set spec.suspend to false to run it again",
}

# --- what goes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the record knows of a named thing.

    `spec` is normalised, as it was last made true. `status`, `since_ms` and `expired` are a job's. `life`: a `purged`
    thing is a tombstone, an `orphaned` one a kept cursor, an `archived` one a stream that holds messages, a `deleted` one
    a job that can be undeleted until `until_ms`, an `undeleted` one a job that waits for its spec; these are not there
    until they are declared again. `title`, `description` and `labels` only show what an edit changes; None where they
    were not looked up. `rows` are the rows landed or sent so far.
    """

    kind: Kind
    name: str
    path: str
    digest: str
    work_digest: str
    metadata_digest: str
    generation: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    deletion_policy: str = "delete"
    status: Status | None = None
    since_ms: int | None = None
    expired: bool = False
    life: Life = "live"
    title: str | None = None
    description: str | None = None
    labels: Mapping[str, str] | None = None
    rows: int = 0
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One name, as declared and as known. `invalid`: its spec is there but invalid, or no file declares it any more and its
    absence is not certain; so its job stays as it was, and nothing asks for anything."""

    declared: Document | None = None
    known: Known | None = None
    invalid: bool = False

    @property
    def key(self) -> tuple[Kind, str]:
        one = self.declared or self.known
        assert one is not None, "a pair has at least one side"
        return one.kind, one.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The planner's input.

    `hold_deletions` says why nothing may be deleted now, None where it may: a file cannot be parsed, or an invalid
    document has a name that nothing is known of, and so may be the renamed one. `resets` are, for a provider and job type,
    the config fields whose change drops the cursor. `references` are, for an authorization or stream that may be
    deleted, the jobs whose spec in the record refers to it. `left` says of jobs that were deleted what is left of them
    (their life). `purse` bounds what may be deleted; None bounds nothing.
    """

    pairs: Sequence[Pair] = ()
    hold_deletions: str | None = None
    resets: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    references: Mapping[tuple[Kind, str], Iterable[str]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)
    purse: Purse | None = None


# --- planning -------------------------------------------------------------------------------------------------------


def plan(difference: Difference, now: Now) -> Plan:
    """The ordered actions that make the declared true; what cannot be done now waits, with its reason."""
    renames = renamed(difference.pairs)
    taken = {(known.kind, known.name) for known in renames.values()}
    there = {pair.key for pair in difference.pairs if pair.known is not None and (pair.declared or pair.invalid)}
    actions: list[Action] = []
    waiting: list[Waiting] = []
    gone: list[Known] = []
    for pair in difference.pairs:
        known = renames.get(pair.key, None if pair.key in taken else pair.known)
        if pair.invalid:
            continue
        if pair.declared is None:
            gone.extend([known] if known is not None and known.life in ("live", "purged") else [])
        elif known is None or known.life not in ("live", "purged"):
            old = pair.declared.kind, pair.declared.renamed_from
            if old in there and old not in taken:
                waiting.append(_not_yet(pair.declared))
            elif known is None and _left_of(old, difference) == "undeleted":
                waiting.append(_not_back(pair.declared))
            else:
                actions.append(_create(pair.declared, known, _left_of(old, difference), difference))
        else:
            made, waits = _edit(pair.declared, known, difference, now)
            actions.extend(made)
            waiting.extend(waits)
    deletions, kept = _delete(gone, difference)
    prune = _over_budget(gone, deletions, actions, difference)
    if prune is not None and not prune.is_approved:
        deletions, kept = [], [*kept, *_blocked(prune)]
    order = {key: number for number, key in enumerate(renames)}
    return Plan(
        actions=tuple(sorted((*actions, *deletions), key=lambda action: _order(action, order))),
        waiting=tuple(sorted((*waiting, *kept), key=lambda one: (_KIND_RANK[one.kind], one.name, one.reason))),
        prune=prune,
    )


def differing(pairs: Iterable[Pair], now: Now) -> tuple[Pair, ...]:
    """The pairs that can make a plan: those that differ, those whose time has come, tombstones (of which the plan must
    speak), and every pair on a chain of renames."""
    pairs = tuple(pairs)
    chained = {(pair.declared.kind, pair.declared.renamed_from) for pair in pairs if pair.declared}
    return tuple(pair for pair in pairs if pair.key in chained or differs(pair, now))


def differs(pair: Pair, now: Now) -> bool:
    """Whether a pair, by itself, can make a plan."""
    declared, known = pair.declared, pair.known
    if declared is None or known is None or known.life != "live" or _is_purge_due(known, now):
        return True
    return (declared.digest, declared.metadata_digest, declared.path) != (
        known.digest,
        known.metadata_digest,
        known.path,
    )


def renamed(pairs: Iterable[Pair]) -> dict[tuple[Kind, str], Known]:
    """For each document that is a rename, what is known under its old name; the end of a chain of renames first, so
    that every new name is free when its turn comes."""
    by_key = {pair.key: pair for pair in pairs}
    found: dict[tuple[Kind, str], Known] = {}
    taken: set[tuple[Kind, str]] = set()
    for key in sorted(by_key):
        if _is_free(by_key[key].known) and not by_key[key].invalid:
            chain = _chain(by_key, key)
            sources = {(known.kind, known.name) for known in chain.values()}
            if not sources & taken:
                found.update(chain)
                taken |= sources
    return found


def _is_free(known: Known | None) -> bool:
    """Whether a renamed thing may take this name: also that of a kept cursor, which then gives way."""
    return known is None or known.life in ("orphaned", "deleted")


def _chain(by_key: Mapping[tuple[Kind, str], Pair], key: tuple[Kind, str]) -> dict[tuple[Kind, str], Known]:
    """The renames that lead to a new name: `c` was `b`, and, where another document is `b` now, `b` was `a`. Empty
    where the chain does not end in a name that no document declares."""
    chain: dict[tuple[Kind, str], Known] = {}
    while True:
        declared = by_key[key].declared
        source = None if declared is None else by_key.get((declared.kind, declared.renamed_from))
        if source is None or source.known is None or source.invalid or source.key in chain or source.key == key:
            return {}
        chain[key] = source.known
        if source.declared is None:
            return chain
        key = source.key


def _order(action: Action, renames: Mapping[tuple[Kind, str], int]) -> tuple[int, int, int, str, int]:
    """Moves first, then what others need before what needs it; deletions last and the other way round."""
    rank = _KIND_RANK[action.kind]
    if action.verb is Verb.MOVE:
        return 0, rank, renames.get((action.kind, action.name), len(renames)), action.name, 0
    if action.verb is Verb.DELETE:
        return 2, -rank, 0, action.name, 0
    return 1, rank, 0, action.name, _VERB_RANK[action.verb]


# --- one document ---------------------------------------------------------------------------------------------------


def _left_of(old: tuple[Kind, str], difference: Difference) -> str:
    """What is left of the job that a document was before, where that was deleted."""
    kind, name = old
    return difference.left.get(name, "") if kind == "Job" else ""


def _create(declared: Document, known: Known | None, left: str, difference: Difference) -> Action:
    goes_on = known is not None and known.life in ("orphaned", "undeleted")
    resetting = known is not None and goes_on and _resets(declared, known, difference.resets)
    if known is None:
        reason = f"declared in {declared.path}" + _of_old(declared.renamed_from, left)
    elif resetting:
        reason = "declared again, as other work than that of which the cursor was kept; it begins anew"
    elif known.life in ("orphaned", "undeleted"):
        reason = "declared again; it goes on from the cursor that was kept"
    elif known.life == "deleted":
        reason = "declared again; it begins anew"
    else:
        reason = "declared again; the messages it held are still there"
    return Action(
        verb=Verb.CREATE,
        kind=declared.kind,
        name=declared.name,
        path=declared.path,
        reason=reason,
        resets_cursor=resetting,
        message=_what_comes_back(declared, known, resetting=resetting) if known else "",
    )


def _of_old(name: str, left: str) -> str:
    if left:
        return f"; it begins anew, for {name}, its old name, was deleted before"
    return f"; nothing is known of {name}, its old name" if name else ""


def _what_comes_back(declared: Document, known: Known, *, resetting: bool) -> str:
    if resetting:
        return _lands_twice(declared, known)
    return _could_go_on(known) if known.life == "deleted" else ""


def _could_go_on(known: Known) -> str:
    until = f", until {iso(known.until_ms)[:16]}Z" if known.until_ms is not None else ""
    return f"`reconcile undelete {known.name}` before that brings its cursor and history back{until}"


def _not_yet(declared: Document) -> Waiting:
    """A document that says it is a renamed one waits while the old name is declared too: made anew beside the old one,
    it would do all its work again."""
    reason = f"renamed from {declared.renamed_from}, which is still declared; remove the one or the renamedFrom"
    return Waiting(declared.kind, declared.name, reason)


def _not_back(declared: Document) -> Waiting:
    """So does one whose old name was undeleted and waits for its spec."""
    reason = f"renamed from {declared.renamed_from}, which was undeleted; restore that spec first, and rename it then"
    return Waiting(declared.kind, declared.name, reason)


def _edit(declared: Document, known: Known, difference: Difference, now: Now) -> tuple[list[Action], list[Waiting]]:
    actions = [
        *_move(declared, known),
        *_update(declared, known, difference.resets),
        *_rerun(declared, known),
        *_suspend(declared, known),
    ]
    stays = not _leaves(declared, known, now)
    if known.life == "purged" and known.status in FINAL and stays:
        reason = f"purged after {PURGE_AFTER_MS // DAY_MS} days as {known.status}; {_COMES_BACK[known.status]}"
        return actions, [Waiting(declared.kind, declared.name, reason)]
    if stays and _is_purge_due(known, now):
        actions.append(_purge(declared, known))
    return actions, []


def _move(declared: Document, known: Known) -> Iterator[Action]:
    reasons = []
    if declared.name != known.name:
        reasons.append(f"renamed from {known.name}")
    if declared.path != known.path:
        reasons.append(f"moved from {known.path}")
    if reasons:
        yield Action(
            verb=Verb.MOVE,
            kind=declared.kind,
            name=declared.name,
            path=declared.path,
            reason=" and ".join(reasons),
            renamed_from=known.name if declared.name != known.name else "",
            message=_stays_behind(known) if declared.kind == "Stream" and declared.name != known.name else "",
        )


def _stays_behind(known: Known) -> str:
    return (
        f"the messages of {known.name}, if any, stay under that name: they are kept, but say nothing of anybody any more, "
        f"and nothing reads them under the new one"
    )


def _update(declared: Document, known: Known, resets: Mapping[tuple[str, str], frozenset[str]]) -> Iterator[Action]:
    fields = _updated_fields(declared, known)
    edited = _metadata_changes(declared, known)
    if not fields and declared.metadata_digest == known.metadata_digest:
        return
    resetting = _resets(declared, known, resets)
    yield Action(
        verb=Verb.UPDATE,
        kind=declared.kind,
        name=declared.name,
        path=declared.path,
        reason=_update_reason(fields, edited),
        changes=(*_spec_changes(declared, known, fields), *edited),
        resets_cursor=resetting,
        message=_lands_twice(declared, known) if resetting else "",
        is_export=_is_export(declared),
    )


def _resets(declared: Document, known: Known, resets: Mapping[tuple[str, str], frozenset[str]]) -> bool:
    """Whether the cursor of a job means nothing under its new spec."""
    job_type = (declared.spec.get("provider", ""), declared.spec.get("jobType", ""))
    return declared.kind == "Job" and resets_cursor(known.spec, declared.spec, resets.get(job_type, frozenset()))


def _rerun(declared: Document, known: Known) -> Iterator[Action]:
    restart = asks(known.spec, declared.spec, "restart")
    asked = [name for name in ("rerun", "restart") if asks(known.spec, declared.spec, name)]
    if asked:
        yield Action(
            verb=Verb.RERUN,
            kind=declared.kind,
            name=declared.name,
            path=declared.path,
            reason=f"{listed([f'spec.{name}' for name in asked])} changed",
            changes=_spec_changes(declared, known, asked),
            resets_cursor=restart,
            message=_lands_twice(declared, known) if restart else "",
        )


def _suspend(declared: Document, known: Known) -> Iterator[Action]:
    before, after = bool(known.spec.get("suspend")), bool(declared.spec.get("suspend"))
    if before != after:
        yield Action(
            verb=Verb.PAUSE if after else Verb.RESUME,
            kind=declared.kind,
            name=declared.name,
            path=declared.path,
            reason=f"spec.suspend is {'true' if after else 'false'}",
            changes=(Change("spec.suspend", before, after),),
        )


def _purge(declared: Document, known: Known) -> Action:
    return Action(
        verb=Verb.PURGE,
        kind=declared.kind,
        name=declared.name,
        path=declared.path,
        reason=f"{known.status} for {PURGE_AFTER_MS // DAY_MS} days, since {iso(known.since_ms or 0)}",
    )


def _is_purge_due(known: Known, now: Now) -> bool:
    if known.life != "live" or known.status not in FINAL or known.since_ms is None:
        return False
    return now.wall_ms - known.since_ms >= PURGE_AFTER_MS


def _leaves(declared: Document, known: Known, now: Now) -> bool:
    """Whether the edit takes the job out of the status it is in (design, section 3)."""
    if known.status not in FINAL:
        return True
    changed = set(changed_fields(known.spec, declared.spec))
    if known.status is not Status.PAUSED and any(asks(known.spec, declared.spec, one) for one in ("rerun", "restart")):
        return True
    if known.status is Status.COMPLETED and known.expired:
        expires_at_ms = declared.spec.get("expiresAt")
        if expires_at_ms is None or expires_at_ms > now.wall_ms:
            return True
        changed.discard("schedule")
    return bool(changed & _LEAVES[known.status])


def _updated_fields(declared: Document, known: Known) -> list[str]:
    """The top-level fields that differ and that no verb of their own speaks of; a `rerun` or `restart` that was only
    taken away asks for nothing, and so is an update too."""
    spoken = {"suspend", *(one for one in ("rerun", "restart") if asks(known.spec, declared.spec, one))}
    return [one for one in changed_fields(known.spec, declared.spec) if one not in spoken]


def _update_reason(fields: Sequence[str], edited: Sequence[Change]) -> str:
    names = [f"spec.{name}" for name in fields] or [one.field for one in edited] or ["metadata"]
    return f"{listed(names)} changed"


def _spec_changes(declared: Document, known: Known, fields: Sequence[str]) -> tuple[Change, ...]:
    before = {name: known.spec[name] for name in fields if name in known.spec}
    after = {name: declared.spec[name] for name in fields if name in declared.spec}
    return changes(before, after)


def _metadata_changes(declared: Document, known: Known) -> tuple[Change, ...]:
    if declared.metadata_digest == known.metadata_digest or known.title is None:
        return ()
    before = {"title": known.title, "description": known.description or "", "labels": dict(known.labels or {})}
    after = {"title": declared.title, "description": declared.description, "labels": dict(declared.labels)}
    return changes(before, after, "metadata")


def _is_export(declared: Document) -> bool:
    return str(declared.spec.get("jobType", "")).startswith("export")


def _lands_twice(declared: Document, known: Known) -> str:
    word = "row" if known.rows == 1 else "rows"
    rows = f"the {known.rows:,} {word} of earlier runs" if known.rows else "the rows of earlier runs, if any,"
    stream = (declared.spec.get("config") or {}).get("stream")
    verb = "sent" if _is_export(declared) else "landed"
    where = f" on stream {stream}" if stream and verb == "landed" else ""
    return f"the cursor is dropped: {rows} may be {verb} a second time{where}"


# --- what no file declares ------------------------------------------------------------------------------------------


def _delete(gone: Sequence[Known], difference: Difference) -> tuple[list[Action], list[Waiting]]:
    actions: list[Action] = []
    waiting: list[Waiting] = []
    handled = {pair.key[1] for pair in difference.pairs if pair.key[0] == "Job" and pair.declared and not pair.invalid}
    for known in sorted(gone, key=lambda one: (-_KIND_RANK[one.kind], one.name)):
        keeps = _keeps(known, difference, handled)
        if keeps:
            waiting.append(Waiting(known.kind, known.name, keeps))
        else:
            actions.append(_deletion(known))
            handled |= {known.name} if known.kind == "Job" else set()
    return actions, waiting


def _keeps(known: Known, difference: Difference, handled: set[str]) -> str:
    """Why something that no file declares is not deleted; empty where it is. `handled` are the jobs that do not refer
    to it any more: those deleted before it, and those whose valid new spec cannot refer to what is not declared."""
    if known.deletion_policy == "protect":
        return f"no file declares it, but its deletionPolicy is protect; {_TO_DELETE}"
    if difference.hold_deletions is not None:
        return f"no file declares it, but nothing is deleted now: {difference.hold_deletions}"
    users = sorted(set(difference.references.get((known.kind, known.name), ())) - handled)
    return f"no file declares it, but {listed(users)} still {_refer(users)} to it" if users else ""


def _over_budget(
    gone: Sequence[Known], deletions: Sequence[Action], others: Sequence[Action], difference: Difference
) -> Pruning | None:
    """The deletions, where they need an approval."""
    if difference.purse is None or not deletions:
        return None
    digests = {(one.kind, one.name): one.digest for one in gone}
    doomed = [
        Doomed(kind=one.kind, name=one.name, path=one.path, digest=digests[one.kind, one.name]) for one in deletions
    ]
    created = sum(one.verb is Verb.CREATE and one.kind == "Job" for one in others)
    return judge(difference.purse, doomed, created)


def _blocked(prune: Pruning) -> list[Waiting]:
    reason = f"its deletion is blocked: {prune.reason}; `{prune.command}` approves exactly these"
    return [Waiting(one.kind, one.name, reason) for one in prune.doomed]


def _refer(users: Sequence[str]) -> str:
    return "refers" if len(users) == 1 else "refer"


def _deletion(known: Known) -> Action:
    orphan = known.kind == "Job" and known.deletion_policy == "orphan"
    return Action(
        verb=Verb.DELETE,
        kind=known.kind,
        name=known.name,
        path=known.path,
        reason="no file declares it",
        message="its cursor is kept (deletionPolicy: orphan)" if orphan else "",
    )


assert set(_KIND_RANK) == set(KINDS), "every kind has its place in the order"
