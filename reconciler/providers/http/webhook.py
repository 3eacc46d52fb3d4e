"""`export-webhook`: a stream's new messages, posted in order and in batches.

A batch's intent is committed before a byte of it leaves, its outcome afterwards, as a unit: both for a group of batches
at a time (`providers.groups`). What an earlier attempt left open is sent first, the same bytes under the same key; so a
message may arrive twice, but then under one key. Batches are sent one at a time, in order of position.

A batch refused for its content (400, 413, 422) is halved, down to the one message that is to blame, which is omitted
with the answer as its reason: k bad messages of n take about k log2 n requests. A refused message is committed as
omitted only once something else was accepted, or the end is reached: a receiver that refuses everything is an error of
the whole, not of the messages, and must not use up the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reconciler.core.provider import Context, Intent, Json, Reject, StreamReader, Unit
from reconciler.core.value import dataclass
from reconciler.errors import Fatal
from reconciler.providers.cursors import fields_of
from reconciler.providers.groups import Pace
from reconciler.providers.http.answers import excerpt, failure
from reconciler.providers.http.batches import Batch, again, halves, left_of, new_batches, unfinished
from reconciler.providers.http.client import Answer, Client
from reconciler.providers.http.config import ExportWebhook
from reconciler.providers.http.post import Post

#: So many messages refused in a row, with nothing accepted between, fail a run whose `maxRejects` is not set.
MAX_REFUSED_IN_A_ROW: Final = 25
#: Answers that refuse what a batch holds, not the request as such.
REFUSES_CONTENT: Final = frozenset({400, 413, 422})


def run(context: Context) -> Iterator[Unit]:
    """Sends what is open, then what is new. The cursor is `{"next": POSITION}`."""
    config: ExportWebhook = context.config
    with Client(allow_private=config.allow_private_addresses, timeout_s=config.timeout_seconds) as client:
        yield from deliver(context, client)


def deliver(context: Context, client: Client) -> Iterator[Unit]:
    """The same through a client that is there."""
    yield from _Sender(context, context.config, client).units()


@dataclass(frozen=True, slots=True)
class _Refused:
    """A message that was refused alone."""

    intent: Intent
    reject: Reject


class _Sender:
    def __init__(self, context: Context, config: ExportWebhook, client: Client) -> None:
        self._context = context
        self._config = config
        self._poster = Post(context, config, client)
        self._redactor = self._poster.redactor
        self._next = _position(context.cursor)
        self._omitted = context.omitted
        self._unfinished = unfinished(context.open_intents, config.stream)
        self._closing = [*self._unfinished.given_up, *self._unfinished.split]
        self._empty: dict[int, int] = {}  # from a position, up to one before which no message is left
        self._refused: list[_Refused] = []
        self._accepted: list[Batch] = []  # in order; whatever was refused before them is committed already
        self._pace = Pace(context.alive_ms)

    def units(self) -> Iterator[Unit]:
        """Everything. What was accepted is committed before an error ends the run."""
        try:
            yield from self._deliver(self._open_batches())
            yield from self._deliver_new()
        except Exception:
            yield from self._kept()
            raise
        if self._accepted or self._refused or self._closing:
            yield self._unit()

    # --- what there is to send

    def _open_batches(self) -> Iterator[Batch]:
        """The batches that earlier attempts left open."""
        for key in self._unfinished.given_up:
            self._context.log(f"batch {key} is given up: it is not of stream {self._config.stream}")
        if self._unfinished.again:
            reader = self._context.stream(self._config.stream)
            for intent in self._unfinished.again:
                batch = again(intent, reader)
                yield from self._left_of(intent, reader) if batch is None else [batch]

    def _left_of(self, intent: Intent, reader: StreamReader) -> list[Batch]:
        """A batch of which messages are gone can never be sent again as it was: what is left of it takes its place."""
        parts = left_of(intent, reader, self._context.run)
        self._context.log(f"batch {intent.key} is sent without people who are forgotten since it was made")
        self._context.intend([part.intent for part in parts])
        self._closing.append(intent.key)
        self._empty[parts[-1].intent.last + 1 if parts else intent.detail["begin"]] = intent.last + 1
        return parts

    def _new_groups(self) -> Iterator[list[Batch]]:
        """What is new on the stream, in groups that are intended together."""
        context, config = self._context, self._config
        group: list[Batch] = []
        reader = context.stream(config.stream)
        first = self._after(one.intent for one in self._refused)
        if first >= reader.end:
            return
        size = 0
        for batch in new_batches(context.run, context.job, reader, first, config.batch_size):
            group.append(batch)
            size += len(batch.body)
            if self._pace.is_full(len(group), size):
                yield group
                group, size = [], 0
        if group:
            yield group

    # --- sending it

    def _deliver_new(self) -> Iterator[Unit]:
        """One group after the other."""
        yield from self._kept()
        for group in self._new_groups():
            yield from self._begin(tuple(batch.intent for batch in group))
            self._pace.begin()
            yield from self._deliver(group)
            self._pace.end()
            if self._context.stopping():
                yield from self._kept()

    def _begin(self, intents: tuple[Intent, ...]) -> Iterator[Unit]:
        """Commits what is sent next, together with what was accepted before, if anything was."""
        if self._accepted:
            yield self._unit(intents)
        else:
            self._context.intend(intents)

    def _deliver(self, batches: Iterable[Batch]) -> Iterator[Unit]:
        """Sends batches in order, splitting what is refused. A run that is to stop does so at one of these units: what
        was intended stays open and is sent first next time."""
        parts: deque[Batch] = deque()
        coming = iter(batches)
        while (batch := parts.popleft() if parts else next(coming, None)) is not None:
            if self._pace.is_over or self._context.stopping():
                yield from self._kept()
            answer = self._post(batch)
            if 200 <= answer.status < 300:
                self._accepted.append(batch)
                self._pace.wait()
                if self._refused or self._closing:
                    yield self._unit()
                continue
            yield from self._kept()
            if answer.status not in REFUSES_CONTENT:
                raise failure("POST", answer, self._context.now_ms(), self._redactor)
            if len(batch.texts) > 1:
                parts.extendleft(reversed(self._halved(batch)))
            else:
                self._refuse(batch, answer)

    def _kept(self) -> Iterator[Unit]:
        """Commits what was accepted, if anything was."""
        if self._accepted:
            yield self._unit()

    def _post(self, batch: Batch) -> Answer:
        return self._poster.send("POST", self._config.url, batch.body, batch.intent.key)

    def _halved(self, batch: Batch) -> list[Batch]:
        parts = list(halves(batch, self._context.run))
        self._context.intend([part.intent for part in parts])
        self._closing.append(batch.intent.key)
        return parts

    def _refuse(self, batch: Batch, answer: Answer) -> None:
        """Holds a refused message until something shows that it alone is to blame. Raises Fatal over the limit."""
        reason = f"answered {answer.status}"
        if said := excerpt(answer, self._redactor):
            reason += f": {said}"
        self._refused.append(_Refused(batch.intent, Reject(batch.intent.first, reason, batch.texts[0])))
        limit, held = self._config.max_rejects, len(self._refused)
        if limit is not None and self._omitted + held > limit:
            raise Fatal(
                f"more than maxRejects ({limit}) messages were refused; the last one ({batch.intent.first}) {reason}"
            )
        if limit is None and held >= MAX_REFUSED_IN_A_ROW:
            raise Fatal(
                f"{held} messages in a row were refused, the last one ({batch.intent.first}) {reason}; "
                "set `maxRejects` where so many are to be omitted"
            )

    # --- what came of it

    def _unit(self, intends: tuple[Intent, ...] = ()) -> Unit:
        """The outcome of everything since the last unit: refused messages, split and abandoned batches, and the batches
        that were accepted."""
        refused, self._refused = self._refused, []
        accepted, self._accepted = self._accepted, []
        self._pace.commit()
        done = [*(one.intent for one in refused), *(batch.intent for batch in accepted)]
        self._next = self._after(done)
        closes, self._closing = [*self._closing, *(intent.key for intent in done)], []
        self._omitted += len(refused)
        rejects: tuple[str, ...] = ()
        if refused:
            rejects = (self._context.data.stage_rejects(self._config.stream, [one.reject for one in refused]),)
        return Unit(
            cursor=self._cursor(),
            rows=sum(len(batch.texts) for batch in accepted),
            omitted=len(refused),
            closes=tuple(closes),
            rejects=rejects,
            message=_message(accepted, refused),
            moved=bool(done),
            intends=intends,
        )

    def _after(self, intents: Iterable[Intent]) -> int:
        """The cursor after these intents."""
        cursor = self._empty.get(self._next, self._next)
        for intent in intents:
            cursor = _advanced(cursor, intent)
            cursor = self._empty.get(cursor, cursor)
        return cursor

    def _cursor(self) -> Json:
        return {"next": self._next}


def _advanced(cursor: int, intent: Intent) -> int:
    """The cursor after an intent. One that begins ahead of the cursor (left open from before a `restart`) or ends
    behind it moves nothing: what is between would be skipped."""
    return intent.last + 1 if intent.detail["begin"] <= cursor <= intent.last else cursor


def _position(cursor: Json) -> int:
    if cursor is None:
        return 0
    return int(fields_of(cursor, "export-webhook", {"next": int})["next"])


def _message(accepted: Sequence[Batch], refused: Sequence[_Refused]) -> str:
    said = [f"message {one.reject.line} was refused ({one.reject.reason})" for one in refused[:3]]
    if len(refused) > 3:
        said.append(f"{len(refused) - 3} more were refused")
    if accepted:
        first, last = accepted[0].intent, accepted[-1].intent
        keys = f"as {first.key}" if first is last else f"in {len(accepted)} batches, {first.key} to {last.key}"
        said.insert(0, f"messages {first.first} to {last.last} were accepted {keys}")
    return "; ".join(said)
