"""`enrich-lookup`: an HTTP API is asked about each profile, and what it answers becomes messages.

An answer holds for `ttl`, also one that there is nothing (404, 410, or no such attribute): the job remembers whom it has
asked, and commits that with the messages, unit by unit, so a run that was cut off asks nobody of a committed unit again.
An answer that says what was said before is no message again.

A profile that the API refuses (400, 422 and the like) is omitted with its reason, and left alone for `ttl` too. One whose
request fails (no answer, 5xx, one that is too large or leads astray) is omitted, and asked for again in the next run. Both
may be the fault of the whole: where 25 are refused in a row, 5 fail in a row, or nothing else came of a run, it is an error
of the run instead. Those who had failed before come last and show nothing of the whole: where 5 of them fail again in a
row, the others wait for the next run. Each attempt of a run begins with others, so that a few who always fail keep nobody
waiting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import takewhile
from typing import Any, Final

from reconciler.clock import iso
from reconciler.core.document import digest_of
from reconciler.core.enrichment import ENRICHED_AT, Due, Enrichment
from reconciler.core.provider import Context, Json, Reject, Staged, TimestampRule, Unit
from reconciler.core.value import dataclass
from reconciler.errors import Fatal, Retriable, RunError
from reconciler.providers.cursors import fields_of, texts_of
from reconciler.providers.http.answers import excerpt, failure
from reconciler.providers.http.authorize import credential_headers, redactor_of
from reconciler.providers.http.client import label
from reconciler.providers.http.enrich_config import EnrichLookup
from reconciler.providers.http.lookups import Lookup, Lookups, can_stand_in_url

#: A unit ends with the lookup that reaches one of these.
UNIT_LOOKUPS: Final = 500
UNIT_MS: Final = 10_000
#: So many refused in a row fail a run whose `maxRejects` is not set.
MAX_REFUSED_IN_A_ROW: Final = 25
#: So many requests that fail one after the other are the server's failure.
MAX_FAILED_IN_A_ROW: Final = 5

#: Answers that say that there is nothing.
NOTHING: Final = frozenset({204, 404, 410})
#: Answers that refuse the value, not the request as such.
REFUSES_VALUE: Final = frozenset({400, 406, 413, 414, 416, 422, 431, 451})

#: What the memory holds in the place of a digest where nothing was said.
_NOTHING: Final = 0
_REFUSED: Final = 1


def run(context: Context) -> Iterator[Unit]:
    """The units of a run. The cursor is `{"memory": [<files of the job's own>]}`."""
    config: EnrichLookup = context.config
    if config.column in config.attributes:
        raise Fatal(f"attributes: {config.column!r} is the column that holds the identifier")
    hands = context.enrichment()
    cursor = fields_of(context.cursor or {"memory": []}, "enrich-lookup", {})
    memory = texts_of(cursor.get("memory"), "enrich-lookup")
    due = hands.due(
        config.stream, config.column, config.key.identity, memory,
        before_ms=context.now_ms() - config.ttl_ms, limit=config.max_requests_per_run, attempt=context.attempt,
    )  # fmt: skip
    if due.values:
        yield from _Run(context, config, hands, memory, due).units()


@dataclass
class _Batch:
    """What the next unit is made of."""

    began_ms: int
    lookups: int = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    entries: list[tuple[str, int, int]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Held:
    """One of whom nothing came, held back until something shows that it alone is to blame."""

    number: int
    lookup: Lookup
    reason: str
    refused: bool
    error: RunError | None = None


class _Run:
    def __init__(
        self, context: Context, config: EnrichLookup, hands: Enrichment, memory: tuple[str, ...], due: Due
    ) -> None:
        self._context = context
        self._config = config
        self._hands = hands
        self._memory = memory
        self._due = due
        self._redactor = redactor_of(context.method, context.credentials)
        self._omitted = context.omitted
        self._asked = 0
        self._is_alive = False  # the other side has answered about somebody
        self._failed_again = 0  # in a row
        self._held: list[_Held] = []
        self._error: RunError | None = None
        self._batch = _Batch(context.now_ms())

    def units(self) -> Iterator[Unit]:
        """Commits what was answered before an error is raised."""
        config, context = self._config, self._context
        private = {
            **config.headers,
            **credential_headers(context.method, context.credentials, config.api_key_header),
        }
        coming = self._coming()
        with Lookups(config, private, context.now_ms) as lookups:
            while not self._is_over():
                for found in lookups.results(coming, self._goes_on):
                    self._take(found)
                if self._is_over():
                    self._conclude()
                if self._batch.entries or self._batch.rejects:
                    yield self._unit()
                self._batch = _Batch(context.now_ms())
        if self._error is not None:
            raise self._error

    # --- asking

    def _is_over(self) -> bool:
        return self._error is not None or self._has_tried() or self._asked == len(self._due.values)

    def _has_tried(self) -> bool:
        """Whether so many of those who had failed before failed again that the others are left to the next run."""
        return self._failed_again >= MAX_FAILED_IN_A_ROW

    def _coming(self) -> Iterator[tuple[str, int]]:
        for value, said in self._due.values:
            self._asked += 1
            if can_stand_in_url(value):
                yield value, said
            else:
                lookup = Lookup(value, said, None, None, self._context.now_ms())
                self._omit(_Held(self._asked, lookup, "the identifier cannot stand in a URL", refused=True))

    def _goes_on(self) -> bool:
        """Whether one more may be asked about in this unit; the first one always."""
        batch = self._batch
        old = self._context.now_ms() - batch.began_ms >= UNIT_MS
        full = batch.lookups >= UNIT_LOOKUPS or old or self._context.stopping()
        return self._error is None and not self._has_tried() and (not full or not batch.lookups)

    def _take(self, found: Lookup) -> None:
        """An error of the whole ends the asking; what was begun is taken all the same."""
        self._batch.lookups += 1
        try:
            self._judge(found)
        except RunError as error:
            self._error = self._error or error

    def _judge(self, found: Lookup) -> None:
        answer, error = found.answer, found.error
        if answer is not None and (answer.status in NOTHING or 200 <= answer.status < 300):
            try:
                self._answered(found, {} if answer.status in NOTHING else self._attributes(answer.body))
            except Retriable as not_json:
                self._hold(found, str(not_json), refused=False)
        elif answer is not None and answer.status in REFUSES_VALUE:
            said = excerpt(answer, self._redactor)
            self._hold(found, f"answered {answer.status}" + (f": {said}" if said else ""), refused=True)
        else:
            if answer is not None:
                error = failure(self._config.method, answer, self._context.now_ms(), self._redactor)
                if not isinstance(error, Retriable):
                    raise error
            assert error is not None, "a lookup has an answer or an error"
            self._hold(found, str(error), refused=False, error=error)

    def _attributes(self, body: bytes) -> dict[str, Json]:
        """The attributes that an answer has. Raises Retriable for a body that is not JSON."""
        if not body.strip():
            return {}
        found = {name: self._context.data.pluck(body, path) for name, path in self._config.attributes.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _answered(self, found: Lookup, attributes: dict[str, Json]) -> None:
        self._is_alive = True
        self._failed_again = 0
        self._let_go()
        digest = int(digest_of(attributes)[:16], 16) if attributes else _NOTHING
        if attributes and digest != found.said:
            own = {self._config.column: found.value, ENRICHED_AT: iso(found.at_ms)}
            self._batch.messages.append({**own, **attributes})
        self._batch.entries.append((found.value, digest, found.at_ms))

    # --- those of whom nothing came

    def _hold(self, found: Lookup, reason: str, *, refused: bool, error: RunError | None = None) -> None:
        """Raises where the whole is to blame."""
        if not refused and found.value in self._due.failed:
            self._failed_again += 1
            self._omit(_Held(self._asked, found, reason, refused))
            self._within_limit(reason)
            return
        self._held.append(_Held(self._asked, found, reason, refused, error))
        self._is_alive = self._is_alive or refused
        failed = _last_in_a_row(self._held, refused=False)
        if failed >= MAX_FAILED_IN_A_ROW:
            raise _of_the_whole(error, f"{failed} lookups in a row failed, the last one: {reason}")
        self._within_limit(reason)

    def _within_limit(self, reason: str) -> None:
        limit, omitted = self._config.max_rejects, self._omitted + len(self._batch.rejects) + len(self._held)
        if limit is not None and omitted > limit:
            raise Fatal(f"more than maxRejects ({limit}) profiles were omitted; the last one: {reason}")
        refused = _last_in_a_row(self._held, refused=True)
        if limit is None and refused >= MAX_REFUSED_IN_A_ROW:
            raise Fatal(
                f"{refused} profiles in a row were refused, the last one: {reason}; "
                "set `maxRejects` where so many are to be omitted"
            )

    def _let_go(self) -> None:
        """Omits those that were held back."""
        held, self._held = self._held, []
        for one in held:
            self._omit(one)

    def _omit(self, one: _Held) -> None:
        text = json.dumps({self._config.column: one.lookup.value}, ensure_ascii=False)
        self._batch.rejects.append(Reject(one.number, one.reason, text))
        value, said, at_ms = one.lookup.value, one.lookup.said, one.lookup.at_ms
        self._batch.entries.append((value, _REFUSED, at_ms) if one.refused else (value, said, -at_ms))

    def _conclude(self) -> None:
        """The end of the asking: those held back are to blame, unless nothing came of the run but failures."""
        if self._error is None and self._held and not self._is_alive:
            last = self._held[-1]
            self._error = _of_the_whole(last.error, f"nobody could be looked up; the last one: {last.reason}")
        if self._error is None:
            self._let_go()

    # --- units

    def _unit(self) -> Unit:
        batch, data, config = self._batch, self._context.data, self._config
        segments: tuple[Staged, ...] = ()
        if batch.messages:
            block = data.read_json(json.dumps(batch.messages).encode(), "")
            batch.rejects += block.rejects
            segments = data.stage(config.stream, block.table, timestamp=TimestampRule(field=ENRICHED_AT))
        if batch.entries:
            self._memory = self._hands.remember([self._hands.entries(batch.entries)], self._memory)
        self._omitted += len(batch.rejects)
        rows = sum(segment.rows for segment in segments)
        return Unit(
            cursor={"memory": list(self._memory)},
            rows=rows,
            omitted=len(batch.rejects),
            segments=segments,
            rejects=(data.stage_rejects(label(config.url), batch.rejects),) if batch.rejects else (),
            message=self._message(rows),
            moved=any(at_ms > 0 for _, _, at_ms in batch.entries),
            keeps=self._memory,
        )

    def _message(self, rows: int) -> str:
        batch = self._batch
        looked_up = sum(at_ms > 0 for _, _, at_ms in batch.entries)
        parts = [f"{looked_up} {'profile' if looked_up == 1 else 'profiles'} looked up, {rows} with news"]
        if batch.rejects:
            parts.append(f"{len(batch.rejects)} omitted")
        left = self._due.left + len(self._due.values) - self._asked
        if left and self._is_over():
            parts.append(f"{left} left for the next run")
        return "; ".join(parts)


def _of_the_whole(error: RunError | None, text: str) -> RunError:
    """The error of a run of which nothing came: trying again helps as little, or waits as long, as with the last one."""
    if isinstance(error, Fatal):
        return Fatal(text)
    return Retriable(text, retry_after_s=error.retry_after_s if isinstance(error, Retriable) else None)


def _last_in_a_row(held: Sequence[_Held], *, refused: bool) -> int:
    """How many at the end are of one sort."""
    return sum(1 for _ in takewhile(lambda one: one.refused is refused, reversed(held)))
