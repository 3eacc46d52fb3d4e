"""`export-audience`: the members of an audience, posted in batches: who was added, who has changed, who was removed.

    {"job": "crm", "audience": "big-spenders", "action": "add", "members": [{"email": "…", "plan": "gold"}]}

A member of an `update` whose identifiers have changed also says by which it was known: `"previous": {"email": "…"}`. Everything
that all destinations have in common (ledger, guard, replays, the search for bad rows) is in `providers.mirror`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpcore

from reconciler.core.members import ACTIONS, Action, Rows
from reconciler.core.mirror import Replay
from reconciler.core.provider import Context, Json, Unit
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, RateLimited, Retriable
from reconciler.providers.http.answers import MAX_EXCERPT, excerpt, failure
from reconciler.providers.http.batches import MAX_BATCH_BYTES
from reconciler.providers.http.client import Answer, Client
from reconciler.providers.http.config import ErrorPointers, ExportAudience
from reconciler.providers.http.post import Post
from reconciler.providers.mirror.destination import Accepted, Batch, Refused, Reply, Unsent
from reconciler.providers.mirror.run import export
from reconciler.providers.mirror.sender import Sender

#: Answers that refuse what a batch holds, not the request as such.
REFUSES_CONTENT: Final = frozenset({400, 413, 422})


def run(context: Context) -> Iterator[Unit]:
    config: ExportAudience = context.config
    with Client(allow_private=config.allow_private_addresses, timeout_s=config.timeout_seconds) as client:
        yield from deliver(context, client)


def deliver(context: Context, client: Client) -> Iterator[Unit]:
    """The same through a client that is there."""
    receiver = _Receiver(context, context.config, client)
    yield from export(context, lambda progress: Sender(context, receiver, progress))


class _Receiver:
    """The destination that one job's config speaks of."""

    max_bytes = MAX_BATCH_BYTES

    def __init__(self, context: Context, config: ExportAudience, client: Client) -> None:
        self._context = context
        self._config = config
        self._post = Post(context, config, client)
        self.batch_size = config.batch_size
        self.max_rejects = config.max_rejects
        self.replays: Mapping[Action, Replay] = {one: Replay(getattr(config.replay, one)) for one in ACTIONS}

    def details(self, action: Action) -> Json:  # noqa: ARG002 - the protocol's
        return {"job": self._context.job, "audience": self._context.members.audience}

    def body(self, action: Action, details: Json, rows: Rows) -> bytes:
        members = rows.members
        if action == "update":
            members = [_with_previous(*pair) for pair in zip(rows.members, rows.previous, strict=True)]
        # The fields in one order: details that come back from the record have their names sorted.
        head = json.dumps(
            {"job": details["job"], "audience": details["audience"], "action": action},
            ensure_ascii=False, separators=(",", ":"),
        )  # fmt: skip
        return f'{head[:-1]},"members":[{",".join(members)}]}}'.encode("utf-8", "replace")

    def send(self, batch: Batch) -> Reply:
        config, action = self._config, batch.action
        method = getattr(config.methods, action)
        url = getattr(config.urls, action) or config.url
        whole = config.errors is not None
        try:
            answer = self._post.send(method, url, batch.body, batch.intent.key, whole=whole)
        except Fatal as error:
            return Unsent(error)
        except Retriable as error:
            if isinstance(error.__cause__, httpcore.ConnectError | httpcore.ConnectTimeout):
                return Unsent(error)
            raise
        return self._read(method, answer)

    def _read(self, method: str, answer: Answer) -> Reply:
        if 200 <= answer.status < 300:
            return Accepted(self._named(answer))
        if answer.status in REFUSES_CONTENT:
            said = excerpt(answer, self._post.redactor)
            return Refused(f"answered {answer.status}" + (f": {said}" if said else ""), self._named(answer))
        error = failure(method, answer, self._context.now_ms(), self._post.redactor)
        if isinstance(error, Fatal) or (isinstance(error, RateLimited) and answer.status == 429):
            return Unsent(error)
        raise error

    def _named(self, answer: Answer) -> dict[int, str]:
        errors = self._config.errors
        return {} if errors is None else named_rows(answer.body, errors, self._post.redactor)


def _with_previous(member: str, previous: str | None) -> str:
    return member if previous is None else f'{member[:-1]},"previous":{previous}}}'


def named_rows(body: bytes, errors: ErrorPointers, redactor: Redactor) -> dict[int, str]:
    """The rows that an answer names as bad, by index in the batch from 0, with what it says of each. What is not as the
    config says names nothing."""
    try:
        listed = _at(json.loads(body), errors.path)
    except (ValueError, RecursionError):
        return {}
    named = {}
    for one in listed if isinstance(listed, list) else []:
        index = _at(one, errors.index)
        if isinstance(index, str) and index.isascii() and index.isdecimal() and len(index) < 10:
            index = int(index)
        if isinstance(index, int) and not isinstance(index, bool):
            named[index - errors.first] = _said(_at(one, errors.message), redactor)
    return named


def _said(message: Any, redactor: Redactor) -> str:
    text = message if isinstance(message, str) else json.dumps(message)
    text = redactor.redact(text) if text != "null" else "refused"
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text[: MAX_EXCERPT - 1] + "…" if len(text) > MAX_EXCERPT else text or "refused"


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; the value itself for the empty path."""
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value
