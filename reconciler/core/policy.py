"""What a platform team allows: rules over specs and over the actions of a plan, and windows in which nothing is applied.

A policy is plain values here; `policy_file.py` has the model of `policy.yaml`, `policy_judge.py` evaluates rules. A rule says of
what it `match`es either by an expression (CEL) that must be true, or by a JSON Schema that must be met. It fails closed: what
cannot be judged is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

from reconciler.core.value import dataclass

#: The file's name; it stands beside the root folder.
FILE_NAME: Final = "policy.yaml"
#: The days of a week, as a window names them.
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: Windows that touch are followed so many times to say when the last of them ends.
_LONGEST: Final = 32

Subject = Literal["spec", "plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What a rule is about: each field that is given must fit. `paths` are globs of paths relative to the root."""

    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    job_types: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()

    def fits(self, kind: str, name: str, path: str, spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
        return (
            (not self.kinds or kind in self.kinds)
            and _fits_any(name, self.names)
            and (not self.paths or any(_fits_path(path, glob) for glob in self.paths))
            and (not self.providers or spec.get("provider") in self.providers)
            and _fits_any(str(spec.get("jobType", "")), self.job_types)
            and all(labels.get(label) == value for label, value in self.labels)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `cel` or `schema`. `field` is where a violation of `cel` is shown."""

    name: str
    on: Subject = "spec"
    match: Match = Match()
    cel: str = ""
    schema: Mapping[str, Any] | None = None
    message: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When nothing is applied: on `days` (all, where none is named) between two minutes of the day, of `timezone`, and between
    two moments (epoch ms), as far as they are given."""

    name: str
    days: tuple[str, ...] = ()
    from_minute: int = 0
    to_minute: int = 24 * 60
    timezone: str = "UTC"
    after_ms: int | None = None
    before_ms: int | None = None

    def until(self, now_ms: int) -> int | None:
        """When the window that `now_ms` lies in ends; None outside."""
        if not (self.after_ms or 0) <= now_ms or (self.before_ms is not None and now_ms >= self.before_ms):
            return None
        if not self._is_daily:
            return self.before_ms
        end = self._daily_end(now_ms)
        if end is None:
            return None
        for _ in range(_LONGEST):
            later = self._daily_end(end)
            if later is None:
                break
            end = later
        return end if self.before_ms is None else min(end, self.before_ms)

    @property
    def _is_daily(self) -> bool:
        return bool(self.days) or (self.from_minute, self.to_minute) != (0, 24 * 60)

    def _daily_end(self, now_ms: int) -> int | None:
        from reconciler.core.rules import Quiet  # only where there is a window
        from reconciler.core.schedule import daily_windows

        quiet = Quiet(self.from_minute, self.to_minute, self.timezone)
        ends = [
            end
            for day, begin, end in daily_windows(quiet, now_ms)
            if begin <= now_ms < end and (not self.days or DAYS[day.weekday()] in self.days)
        ]
        return max(ends, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything that `policy.yaml` says."""

    rules: tuple[Rule, ...] = ()
    windows: tuple[Window, ...] = ()

    def on(self, subject: Subject) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.on == subject)

    def closed(self, now_ms: int) -> tuple[Window, int] | None:
        """The window after which things may be applied again, with its end: of those that are open now, or by the end of
        another one, the last; None where things may be applied."""
        last: tuple[Window, int] | None = None
        at_ms = now_ms
        for _ in range(_LONGEST):
            found = [(end, window.name, window) for window in self.windows if (end := window.until(at_ms)) is not None]
            if not found:
                break
            at_ms, _, window = max(found, key=lambda one: one[:2])
            last = window, at_ms
        return last


def policy_of(values: Mapping[str, Any]) -> Policy:
    """The policy in the normalised values of a valid file; an empty one where there are none."""
    return Policy(
        rules=tuple(_rule(one) for one in values.get("rules", ())),
        windows=tuple(_window(one) for one in values.get("windows", ())),
    )


def _rule(values: Mapping[str, Any]) -> Rule:
    return Rule(
        name=values["name"],
        on=values.get("on", "spec"),
        match=_match(values.get("match", {})),
        cel=values.get("cel", ""),
        schema=values.get("schema"),
        message=values.get("message", ""),
        field=values.get("field", ""),
    )


def _match(values: Mapping[str, Any]) -> Match:
    return Match(
        kinds=tuple(values.get("kind", ())),
        names=tuple(values.get("name", ())),
        paths=tuple(values.get("path", ())),
        providers=tuple(values.get("provider", ())),
        job_types=tuple(values.get("jobType", ())),
        labels=tuple(sorted(values.get("labels", {}).items())),
    )


def _window(values: Mapping[str, Any]) -> Window:
    return Window(
        name=values["name"],
        days=tuple(values.get("days", ())),
        from_minute=_minute(values.get("from", "00:00")),
        to_minute=_minute(values.get("to", "24:00")),
        timezone=values.get("timezone", "UTC"),
        after_ms=values.get("after"),
        before_ms=values.get("before"),
    )


def _minute(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _fits_any(text: str, globs: Iterable[str]) -> bool:
    globs = tuple(globs)
    return not globs or any(fnmatchcase(text, glob) for glob in globs)


def _fits_path(path: str, glob: str) -> bool:
    """`growth/**` is everything below a folder; `*` crosses no slash."""
    return _fits_parts(path.split("/"), glob.split("/"))


def _fits_parts(parts: list[str], globs: list[str]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return any(_fits_parts(parts[skipped:], globs[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], globs[0]) and _fits_parts(parts[1:], globs[1:])
