"""What a plan was made from, so that it can be said later whether all of that still stands.

A plan follows from the specs, the record, the settings and the program. Its `basis` names each by a digest or a number, and
in detail what the plan touches; none of it is a time, so that two plans of the same state are equal byte for byte. Beyond
what it touches, anything that was recorded since makes a plan stale too: the record counts its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from posixpath import join
from typing import Any, Final

from reconciler.core.canonical_json import canonical_json
from reconciler.core.value import dataclass

#: How many things that happened since are named.
NAMED: Final = 5

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A document that the plan touches, as the specs have it. `path` is relative to the root."""

    kind: str
    name: str
    path: str
    digest: str
    metadata_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the record holds of a thing that the plan touches. `status`, `last_run` and `state` (a digest of the whole of a
    job's life, its cursor and its totals) are a job's."""

    kind: str
    name: str
    path: str
    life: str
    generation: int
    digest: str
    status: str | None = None
    last_run: int | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """`record` is its id, empty where nothing was recorded yet, and `events` the number of its last event. `specs` is a
    digest of everything declared, `policy` one of the policy; `settings` are those that shape a plan (JSON-able)."""

    program: str
    providers: str
    record: str
    events: int
    specs: str
    settings: Mapping[str, Any]
    policy: str = ""
    declared: tuple[Declared, ...] = ()
    observed: tuple[Observed, ...] = ()

    def to_json(self, root: str) -> dict[str, Any]:
        """As a plan has it: paths are `<root>/<path>`, with `root` as the user gave it."""
        return {
            "program": self.program,
            "providers": self.providers,
            "record": {"id": self.record, "events": self.events} if self.record else None,
            "specs": self.specs,
            "settings": dict(self.settings),
            "policy": self.policy,
            "declared": [_declared_json(one, root) for one in self.declared],
            "observed": [_observed_json(one, root) for one in self.observed],
        }


def _declared_json(one: Declared, root: str) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "name": one.name,
        "path": join(root, one.path),
        "digest": one.digest,
        "metadataDigest": one.metadata_digest,
    }


def _observed_json(one: Observed, root: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": one.kind,
        "name": one.name,
        "path": join(root, one.path),
        "life": one.life,
        "generation": one.generation,
        "digest": one.digest,
    }
    if one.status is not None:
        body |= {"status": one.status, "lastRun": one.last_run, "state": one.state}
    return body


# --- what has moved -------------------------------------------------------------------------------------------------


def moved(saved: Mapping[str, Any], fresh: Mapping[str, Any], happened: Sequence[str] = ()) -> list[str]:
    """What has moved between two plans, as JSON; each a clause without a full stop, the most telling first. Empty where all
    that `saved` would do is what would be done now.

    Time alone moves nothing: a run that has become due since, or a purge, is no part of the saved plan and stays undone.
    The basis of `fresh` also tells of all that `saved` touches. `happened` are the events since, in words.
    """
    before, after = saved["basis"], fresh["basis"]
    another = list(_another(before, after))
    if another:
        return another
    found = [*_revision(saved, fresh), *_touched(before, after, _waits(fresh))]
    if before["specs"] != after["specs"]:
        found += list(_newly_touched(saved, fresh))
        if not found:
            found.append("other specs have changed")
    found += list(_happened(before, after, happened))
    old, new = before["settings"], after["settings"]
    if names := sorted(one for one in {*old, *new} if old.get(one) != new.get(one)):
        found.append(f"settings have changed: {', '.join(names)}")
    if before["policy"] != after["policy"]:
        found.append("the policy has changed")
    return found or list(_consequences(saved, fresh))


def _another(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Another record or program: then no detail means anything."""
    old, new = before["record"], after["record"]
    if old is None and new is not None:
        yield "nothing was recorded when it was made, and something is now"
    elif old is not None and (new is None or old["id"] != new["id"]):
        found = "an empty one" if new is None else new["id"]
        yield f"it was made for another record ({old['id']}; this is {found})"
    if before["program"] != after["program"]:
        yield f"it was made by reconcile {before['program']}, and this is {after['program']}"
    elif before["providers"] != after["providers"]:
        yield "other providers, or other versions of them, are installed"


def _revision(saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    if saved["revision"] != fresh["revision"]:
        yield f"the revision moved from {saved['revision'] or 'no commit'} to {fresh['revision'] or 'no commit'}"


def _waits(fresh: Mapping[str, Any]) -> dict[Key, str]:
    return {(one["kind"], one["name"]): one["reason"] for one in fresh["waiting"]}


def _touched(before: Mapping[str, Any], after: Mapping[str, Any], waits: Mapping[Key, str]) -> Iterator[str]:
    """What the saved plan touches: first its specs, then what the record holds of it."""
    for section, words in (("declared", _spec_words), ("observed", _record_words)):
        old, new = _by_key(before[section]), _by_key(after[section])
        for key in touched_keys(before):
            was, now = old.get(key), new.get(key)
            if was is None and now is not None and key in waits:  # what was gone is not surely so
                yield f"{' '.join(key)}: {waits[key]}"
            elif was != now:
                yield words(" ".join(key), was, now)


def _spec_words(what: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    if was is None or now is None:
        one = was or now or {}
        return f"{one['path']}: {what} is declared {'now' if was is None else 'no more'}"
    if was["path"] != now["path"]:
        return f"{now['path']}: {what} has moved here from {was['path']}"
    return f"{now['path']}: {what} has changed"


def _record_words(what: str, was: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str:
    if was is None:
        return f"{what} is in the record now"
    return f"{what} is not in the record any more" if now is None else f"{what} {_went_on(was, now)}"


def _newly_touched(saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    """What would be done now to things that the saved plan does not touch."""
    known = set(touched_keys(saved["basis"]))
    acting = [one for one in fresh["actions"] if one["verb"] != "purge"]
    fresh_keys = {(one["kind"], one["name"]) for one in (*acting, *fresh["waiting"])} - known
    declared, observed = _by_key(fresh["basis"]["declared"]), _by_key(fresh["basis"]["observed"])
    for key in sorted(fresh_keys):
        now, what = declared.get(key), " ".join(key)
        if now is not None:
            yield f"{now['path']}: {what} {'has changed' if key in observed else 'is declared now'}"
        elif key in observed:
            yield f"{observed[key]['path']}: {what} is declared no more"


def touched_keys(basis: Mapping[str, Any]) -> list[Key]:
    """The kind and name of everything that a plan touches, sorted."""
    return sorted({(one["kind"], one["name"]) for one in (*basis["declared"], *basis["observed"])})


def _went_on(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if was["generation"] != now["generation"]:
        return f"is at generation {now['generation']}, and was at {was['generation']}"
    if was["life"] != now["life"]:
        return f"is {now['life']}, and was {was['life']}"
    if was.get("status") != now.get("status"):
        return f"is {now.get('status')}, and was {was.get('status')}"
    if was.get("lastRun") != now.get("lastRun"):
        return f"has run since (run {now.get('lastRun')})"
    return "has moved on in the record"


def _happened(before: Mapping[str, Any], after: Mapping[str, Any], happened: Sequence[str]) -> Iterator[str]:
    if before["record"] == after["record"]:
        return
    more = " and more" if len(happened) > NAMED else ""
    yield f"since then the record says: {', '.join(happened[:NAMED]) or 'something that is gone again'}{more}"


def _consequences(saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    """Where all it was made from is the same, and yet it would not be done: what time, or files that no spec declares, have
    brought about."""
    waits = _waits(fresh)
    said, made = ({canonical_json(action) for action in one["actions"]} for one in (saved, fresh))
    for action in saved["actions"]:
        if canonical_json(action) not in made:
            key = (action["kind"], action["name"])
            because = f": {waits[key]}" if key in waits else ""
            yield f"{action['verb']} {key[0]} {key[1]} would not be done so now{because}"
    waited = _waits(saved)  # what time has let go since stays undone
    for action in fresh["actions"]:
        new = canonical_json(action) not in said and (action["kind"], action["name"]) not in waited
        if new and action["verb"] != "purge":
            yield f"{action['verb']} {action['kind']} {action['name']} would be done too: {action['reason']}"
    due = {run["name"] for run in fresh["runs"]}
    for run in saved["runs"]:
        if run["name"] not in due:
            yield f"the run of {run['name']} is not due any more"
    yield from _sections(saved, fresh)


#: What a plan tells of besides, and how a difference there is named.
_SECTIONS: Final = (
    ("backfills", "what backfill {} would add has changed"),
    ("exports", "what export {} would send has changed"),
)


def _sections(saved: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[str]:
    if saved.get("rebuild") != fresh.get("rebuild"):
        yield "what a rebuild of the profiles would read has changed"
    for section, words in _SECTIONS:
        before, after = _by_name(saved.get(section) or ()), _by_name(fresh.get(section) or ())
        for name in sorted(before):
            if before[name] != after.get(name):
                yield words.format(name)


def _by_key(entries: Iterable[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    return {(one["kind"], one["name"]): one for one in entries}


def _by_name(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {one["name"]: one for one in entries}
