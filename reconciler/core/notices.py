"""What is told to people who look elsewhere: a chat, a mailbox, a webhook, the commit on a forge.

A *trouble* is something wrong that lasts (a Failed job, an invalid spec, deletions that are blocked). It is told when it begins
and when it is over, so a notice is one of either. Notices of one rule go out together: what begins and ends before they do is not
told at all, and nobody is told twice what they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from reconciler.clock import iso
from reconciler.core.value import dataclass
from reconciler.core.words import SECOND_MS
from reconciler.errors import SOURCE_PATH

#: Notices of a rule are gathered for so long, unless the rule says otherwise.
DEFAULT_BATCH_MS: Final = 30 * SECOND_MS
#: So many notices are told of in one message; how many more there are is said.
MOST: Final = 50

ChannelName = Literal["slack", "webhook", "email"]


class What(StrEnum):
    """The kinds of notices, as a rule's `on` names them."""

    FAILED = "Failed"
    PRUNE_BLOCKED = "PruneBlocked"
    INVALID_SPEC = "InvalidSpec"
    RECOVERED = "Recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something wrong that lasts. `path` is relative to the root, with `:line:column` of a spec. `person` and `commit` are of
    the change that led to it, where that is known."""

    what: What
    kind: str
    name: str
    path: str
    message: str
    since_ms: int
    person: str = ""
    commit: str = ""

    @property
    def file(self) -> str:
        """The file of an invalid spec, without the place in it."""
        return self.path.rsplit(":", 2)[0]

    @property
    def is_of_source(self) -> bool:
        """Whether no specs can be had, or none of the newest commit, rather than that one of them is invalid."""
        return self.what is What.INVALID_SPEC and self.path.partition(":")[0] == SOURCE_PATH

    @property
    def key(self) -> str:
        """Names it for as long as it lasts, whatever its message."""
        place = self.path.partition(":")[0] if self.what is What.INVALID_SPEC else ""
        return "/".join([self.what, self.kind, self.name, place])


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """That a trouble has begun, or (`recovered`) is over."""

    trouble: Trouble
    at_ms: int
    recovered: bool = False
    id: int = 0

    @property
    def what(self) -> What:
        return What.RECOVERED if self.recovered else self.trouble.what

    @property
    def subject(self) -> str:
        """`Job export-orders`, or the file that is meant where nothing has a name."""
        one = self.trouble
        if one.is_of_source:
            return "the newest specs"
        return f"{one.kind} {one.name}".strip() if one.name else one.path or "the plan"

    def to_json(self) -> dict[str, Any]:
        one = self.trouble
        return {
            "event": str(self.what),
            "of": str(one.what),
            "kind": one.kind,
            "name": one.name,
            "path": one.path,
            "message": one.message,
            "since": iso(one.since_ms),
            "at": iso(self.at_ms),
            "author": one.person,
            "commit": one.commit,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyRule:
    """Who is told of what. `settings` are the channel's, with references to secrets in `credentials`."""

    name: str
    channel: ChannelName
    on: tuple[str, ...] = tuple(What)
    jobs: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    batch_ms: int = DEFAULT_BATCH_MS
    settings: Mapping[str, Any] = field(default_factory=dict)
    credentials: Mapping[str, Any] = field(default_factory=dict)

    def wants(self, notice: Notice, labels: Mapping[str, str]) -> bool:
        """A rule that names jobs or labels is told of those alone."""
        trouble = notice.trouble
        if str(notice.what) not in self.on or str(trouble.what) not in self.on:
            return False
        if self.jobs and not (trouble.kind == "Job" and any(fnmatchcase(trouble.name, glob) for glob in self.jobs)):
            return False
        return all(labels.get(label) == value for label, value in self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatusRule:
    """Where the outcome of a commit is reported. `forge` is github or gitlab."""

    forge: Literal["github", "gitlab"]
    settings: Mapping[str, Any]
    credentials: Mapping[str, Any]


def rules_of(values: Iterable[Mapping[str, Any]]) -> tuple[NotifyRule, ...]:
    """The rules in the normalised `notify` of the operator's file."""
    return tuple(_rule(one) for one in values)


def _rule(values: Mapping[str, Any]) -> NotifyRule:
    channel: ChannelName = next(one for one in ("slack", "webhook", "email") if values.get(one))
    settings, credentials = split(values[channel])
    return NotifyRule(
        name=values["name"],
        channel=channel,
        on=tuple(values.get("on", What)),
        jobs=tuple(values.get("jobs", ())),
        labels=tuple(sorted(values.get("labels", {}).items())),
        batch_ms=values.get("batch", DEFAULT_BATCH_MS),
        settings=settings,
        credentials=credentials,
    )


def commit_statuses_of(values: Mapping[str, Any]) -> tuple[CommitStatusRule, ...]:
    """The forges in the normalised `commitStatus` of the operator's file."""
    found = []
    for forge in ("github", "gitlab"):
        if values.get(forge):
            settings, credentials = split(values[forge])
            found.append(CommitStatusRule(forge=forge, settings=settings, credentials=credentials))
    return tuple(found)


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A channel's plain settings, and its references to secrets."""
    references = {name: one for name, one in values.items() if isinstance(one, Mapping) and _is_reference(one)}
    return {name: one for name, one in values.items() if name not in references}, references


def _is_reference(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)) in ("env", "file", "exec")


# --- together -------------------------------------------------------------------------------------------------------


def to_tell(notices: Sequence[Notice], told: Mapping[str, Notice]) -> list[Notice]:
    """What of the gathered `notices` (oldest first) goes out: of each trouble the last word, unless that is what was told last
    of it (`told`, by key); and no recovery from what nobody was told of."""
    last = {one.trouble.key: one for one in notices}
    found = [one for key, one in last.items() if _is_news(one, told.get(key))]
    return sorted(found, key=lambda one: (one.recovered, one.at_ms, one.trouble.key))


def _is_news(notice: Notice, before: Notice | None) -> bool:
    if notice.recovered:
        return before is not None and not before.recovered
    return before is None or before.recovered or before.trouble.message != notice.trouble.message


# --- words ----------------------------------------------------------------------------------------------------------

_MARKS: Final[Mapping[What, str]] = {
    What.FAILED: "failed",
    What.PRUNE_BLOCKED: "deletions blocked",
    What.INVALID_SPEC: "invalid spec",
    What.RECOVERED: "recovered",
}
#: In their place, of what keeps the newest specs from being read.
_UNREAD: Final = "newest specs not read"

#: What is well again.
_OVER: Final[Mapping[What, str]] = {
    What.FAILED: "it succeeds again, or is gone",
    What.PRUNE_BLOCKED: "no deletion is blocked any more",
    What.INVALID_SPEC: "its spec is valid again, or is gone",
}
_READ: Final = "they are read again"


def headline(notices: Sequence[Notice]) -> str:
    """`reconcile: 2 failed, 1 recovered`."""
    marks = [_counted(what, sum(one.what is what and not _is_unread(one) for one in notices)) for what in What]
    return "reconcile: " + ", ".join(filter(None, [_UNREAD if any(map(_is_unread, notices)) else "", *marks]))


def _counted(what: What, count: int) -> str:
    """Deletions are blocked all together, however many they are."""
    if what is What.PRUNE_BLOCKED or not count:
        return _MARKS[what] if count else ""
    return f"{count} {_MARKS[what]}{'s' if what is What.INVALID_SPEC and count > 1 else ''}"


def _is_unread(notice: Notice) -> bool:
    return notice.trouble.is_of_source and not notice.recovered


def line(notice: Notice) -> str:
    """One notice in one line."""
    trouble = notice.trouble
    by = f" (by {trouble.person}{f', {trouble.commit[:12]}' if trouble.commit else ''})" if trouble.person else ""
    if notice.recovered:
        over, mark = (_READ, "not read") if trouble.is_of_source else (_OVER[trouble.what], _MARKS[trouble.what])
        return f"Recovered: {notice.subject}: {over} (since {iso(trouble.since_ms)} {mark})"
    where = f" at {trouble.path}" if trouble.path and trouble.name else ""
    return f"{trouble.what}: {notice.subject}{where}: {trouble.message}{by}"


def plain_text(notices: Sequence[Notice]) -> str:
    """All of them for a person, one a line."""
    lines = [" ".join(line(one).split()) for one in notices[:MOST]]
    if len(notices) > MOST:
        lines.append(f"and {len(notices) - MOST} more; `reconcile list` and `reconcile validate` show all")
    return "\n".join(lines)


def notice_of(value: Mapping[str, Any]) -> Notice:
    """The notice that `packed` wrote."""
    trouble = {**value["trouble"], "what": What(value["trouble"]["what"])}
    return Notice(trouble=Trouble(**trouble), **{name: one for name, one in value.items() if name != "trouble"})


def packed(notice: Notice) -> dict[str, Any]:
    """As JSON-able values."""
    return asdict(notice)
