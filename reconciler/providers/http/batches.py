"""What a webhook is sent: batches of messages, their bodies, keys and signatures.

A batch can be sent again after any crash, byte for byte: the texts of messages never change, and all else that its body
is made of stands in its intent.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from reconciler.core.provider import Intent, StreamReader
from reconciler.core.value import dataclass
from reconciler.errors import Fatal

#: A batch ends before it grows over this, before compression; a larger message goes alone.
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
#: How many messages are read from the stream at a time, where batches are smaller.
READ_ROWS: Final = 16_384


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages `first` to `last` as texts, and the intent that stands for them."""

    intent: Intent
    texts: tuple[str, ...]
    body: bytes


def body_of(job: str, stream: str, texts: Sequence[str]) -> bytes:
    head = f'{{"job":{_quoted(job)},"stream":{_quoted(stream)},"messages":['
    return (head + ",".join(texts) + "]}").encode("utf-8", "replace")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def key_of(run: int, job: str, stream: str, first: int, last: int, digest: str) -> str:
    """The Idempotency-Key of a batch: `RUN-FIRST-LAST-` and 24 digits that cover everything the batch is.

    Run ids never repeat, so that a job created anew or restarted sends the same messages under other keys; the digest
    of the body is in it, so that a key never stands for other bytes."""
    whole = json.dumps([run, job, stream, first, last, digest])
    return f"{run}-{first}-{last}-{hashlib.sha256(whole.encode()).hexdigest()[:24]}"


def make(run: int, job: str, stream: str, begin: int, first: int, texts: Sequence[str], parent: str = "") -> Batch:
    """A batch that has not been sent before. `begin` is the position after the batch before it (positions may have
    gaps); `parent` is the key of the batch that it is a part of."""
    body = body_of(job, stream, texts)
    digest = hashlib.sha256(body).hexdigest()
    last = first + len(texts) - 1
    detail: dict[str, Any] = {"job": job, "stream": stream, "begin": begin}
    if parent:
        detail["parent"] = parent
    key = key_of(run, job, stream, first, last, digest)
    return Batch(Intent(key=key, first=first, last=last, digest=digest, detail=detail), tuple(texts), body)


def again(intent: Intent, reader: StreamReader) -> Batch | None:
    """The batch of an intent, read anew; None where some of its messages are gone, whose people were forgotten. Raises
    Fatal where its bytes are not those that were promised."""
    texts: list[str] = []
    for _, some in reader.json_messages(intent.first, intent.last + 1):
        texts += some
    if len(texts) <= intent.last - intent.first:
        return None
    body = body_of(intent.detail["job"], intent.detail["stream"], texts)
    if hashlib.sha256(body).hexdigest() != intent.digest:
        raise Fatal(
            f"messages {intent.first} to {intent.last} of stream {reader.name} no longer read as they did when batch "
            f"{intent.key} was first sent, so it is not sent again; change `restart` to begin anew"
        )
    return Batch(intent, tuple(texts), body)


def left_of(intent: Intent, reader: StreamReader, run: int) -> list[Batch]:
    """What is left of a batch of which messages are gone: batches of neighbours, each with a key of its own."""
    begin, made = intent.detail["begin"], []
    messages = reader.json_messages(intent.first, intent.last + 1)
    for start, texts in _grouped(messages, intent.last - intent.first + 1):
        made.append(make(run, intent.detail["job"], reader.name, begin, start, texts, intent.key))
        begin = start + len(texts)
    return made


def new_batches(run: int, job: str, reader: StreamReader, first: int, size: int) -> Iterator[Batch]:
    """The messages from position `first` to the end of the stream, in batches of at most `size`."""
    begin = first
    for start, texts in _grouped(reader.json_messages(first, reader.end, rows=max(size, READ_ROWS)), size):
        yield make(run, job, reader.name, begin, start, texts)
        begin = start + len(texts)


def _grouped(lists: Iterable[tuple[int, list[str]]], size: int) -> Iterator[tuple[int, list[str]]]:
    """Regroups runs of neighbouring messages by number and bytes; a gap in the positions ends a group."""
    group: list[str] = []
    start = weight = 0
    for first, texts in lists:
        at = 0
        while at < len(texts):
            if group and (len(group) == size or first + at != start + len(group)):
                yield start, group
                group, weight = [], 0
            if not group:
                start = first + at
            some, more = _fitting(texts, at, size - len(group), MAX_BATCH_BYTES - weight)
            if not some and group:
                yield start, group
                group, weight = [], 0
                continue
            if not some:  # a message larger than a batch goes alone
                some, more = texts[at : at + 1], MAX_BATCH_BYTES
            group += some
            weight += more
            at = start + len(group) - first
    if group:
        yield start, group


def _fitting(texts: list[str], at: int, count: int, room: int) -> tuple[list[str], int]:
    """As many texts from `at` on, at most `count`, as have room, and their size in bytes. Whole slices are measured at
    once; one by one only where a slice does not fit."""
    some = texts[at : at + count]
    whole = _bytes("".join(some))
    if whole <= room:
        return some, whole
    taken = 0
    for number, text in enumerate(some):
        more = _bytes(text)
        if taken + more > room:
            return some[:number], taken
        taken += more
    return some, taken


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def halves(batch: Batch, run: int) -> tuple[Batch, Batch]:
    """The two parts of a refused batch, each with a key of its own."""
    intent, middle = batch.intent, len(batch.texts) // 2
    job, stream, begin = intent.detail["job"], intent.detail["stream"], intent.detail["begin"]
    cut = intent.first + middle
    return (
        make(run, job, stream, begin, intent.first, batch.texts[:middle], intent.key),
        make(run, job, stream, cut, cut, batch.texts[middle:], intent.key),
    )


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What earlier attempts left open: the intents to send again, by position; the keys of those that were refused and
    split, whose parts are among the others; and those that are given up, because the job no longer reads their stream
    or was of another job type."""

    again: list[Intent]
    split: list[str]
    given_up: list[str]


def unfinished(intents: Iterable[Intent], stream: str) -> Unfinished:
    ours = {one.key: one for one in intents if isinstance(one.detail, dict) and one.detail.get("stream") == stream}
    split = {one.detail.get("parent", "") for one in ours.values()}
    return Unfinished(
        again=sorted((one for key, one in ours.items() if key not in split), key=lambda one: (one.first, one.last)),
        split=[key for key in ours if key in split],
        given_up=[one.key for one in intents if one.key not in ours],
    )


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
