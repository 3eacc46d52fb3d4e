"""`import-json`: the records of JSON answers, page by page, onto a stream.

Several pages share one unit, bounded by rows, bytes and time; its cursor names the next page, so that an import that
was cut off goes on there. Neighbouring pages of one schema are a segment. See `progress.py` for what is new and what has
been seen.

The next pages are requested and parsed while those before them are written: which one is next, a page says itself. What has
been read ahead and is not in a unit yet is requested again by whoever goes on.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Final, NamedTuple

from reconciler.ahead import ahead
from reconciler.core.document import digest_of
from reconciler.core.provider import Block, Context, Reject, TimestampRule, Unit
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, RunError
from reconciler.providers.http.answers import failure
from reconciler.providers.http.authorize import credential_headers, redactor_of
from reconciler.providers.http.client import Answer, Client, label
from reconciler.providers.http.config import ImportJson
from reconciler.providers.http.pages import first_place, next_place, request_url, without_secrets
from reconciler.providers.http.progress import MAX_PAGES_KEPT, Progress, sift

#: A unit ends with the page that reaches one of these. Its rows fill most of a row group: smaller segments would soon be put
#: together, which costs half as much again as to write them.
UNIT_ROWS: Final = 100_000
UNIT_BYTES: Final = 32 * 1024 * 1024
UNIT_MS: Final = 10_000

#: So many pages are read ahead, and so many bytes of them, or one page.
PAGES_AHEAD: Final = 32
BYTES_AHEAD: Final = 8 * 1024 * 1024
#: How long the end of a run waits for a request whose answer nobody wants any more.
PATIENCE_S: Final = 1.0

_VALIDATOR: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,1022}\Z")


def run(context: Context) -> Iterator[Unit]:
    """Requests one page after the other from where the cursor stands. A page that fails leaves the pages before it
    committed."""
    config: ImportJson = context.config
    with Client(allow_private=config.allow_private_addresses, timeout_s=config.timeout_seconds) as client:
        yield from fetch(context, client)


def fetch(context: Context, client: Client) -> Iterator[Unit]:
    """The same through a client that is there."""
    importer = _Importer(context, context.config, client)
    pages = ahead(
        importer.pages(), PAGES_AHEAD, weigh=lambda page: len(page.answer.body), most=BYTES_AHEAD, patience_s=PATIENCE_S
    )
    with closing(pages):
        while not importer.finished:
            try:
                importer.land(next(pages))
            except RunError:
                if importer.has_unit:
                    yield importer.unit()
                raise
            if importer.is_full or (context.stopping() and not importer.finished):
                yield importer.unit()
    if importer.has_unit:
        yield importer.unit()


class _Page(NamedTuple):
    """One answer: its records, and how many it held; the place of the one that follows, None where there is none; the
    digest of its body; and how many of its records were read before, from its beginning."""

    url: str
    answer: Answer
    block: Block | None = None
    following: dict[str, Any] | None = None
    body: str = ""
    read: int = 0


class _Importer:
    def __init__(self, context: Context, config: ImportJson, client: Client) -> None:
        self._context = context
        self._config = config
        self._client = client
        self._private = {
            **config.headers,
            **credential_headers(context.method, context.credentials, config.api_key_header),
        }
        self._redactor = redactor_of(context.method, context.credentials)
        paging = config.pagination
        shape = digest_of([config.url, config.params, paging.model_dump() if paging else None])
        loaded = Progress.load(context.cursor)
        self._interrupted = loaded.open is not None
        self._progress = loaded.begin(shape, first_place(paging))
        self._began = self._progress
        self._visited: set[str] = set()
        self._limit: int | None = None  # how many records a page has, as far as that has shown
        self._omitted = context.omitted
        self.finished = False
        self._clear()

    def _clear(self) -> None:
        self._tables: list[Any] = []
        self._rejects: list[Reject] = []
        self._rows = self._bytes = self._pages = 0
        self._began_ms = self._context.now_ms()

    # --- requests, on a thread of their own: nothing here depends on what has landed meanwhile

    def pages(self) -> Iterator[_Page]:
        """The pages of the listing, from where the cursor stood, in their order."""
        assert self._began.open is not None
        place: dict[str, Any] | None = self._began.open.place
        count, last_body, fullest = self._began.open.count, "", None
        while place is not None:
            self._refuse_circles(place, count)
            page, found = self._page(place)
            if found and self._has_room_before(place, fullest):
                yield from self._grown(place)
            fullest = max(found, fullest or 0)
            if found and page.following is not None and page.body == last_body:
                raise Fatal(f"{label(page.answer.url)}: the pages go round in a circle: two in a row are the same")
            yield page
            place, count, last_body = page.following, count + 1, page.body

    def _page(self, place: dict[str, Any]) -> tuple[_Page, int]:
        """A page, and how many records it held."""
        url = request_url(self._config, place, self._began.since)
        answer = self._fetch(url)
        if answer.status == 304:
            return _Page(url, answer), 0
        block, found = self._block(answer)
        following = next_place(self._config, self._context.data, place, answer, found)
        if following is not None:
            following = without_secrets(following, self._redactor)
        body = hashlib.sha256(answer.body).hexdigest()[:16]
        if block is not None and not self._config.incremental and body not in self._began.pages:
            block = self._checked(block)
        return _Page(url, answer, block, following, body), found

    def _has_room_before(self, place: Mapping[str, Any], fullest: int | None) -> bool:
        """Whether the numbered page before may have got records since it was read, which would stand in no page that follows.
        `fullest` is the most that a page of this run has held: it is not known how many fit into one that another run has
        read."""
        paging = self._config.pagination
        if paging is None or not self._config.incremental or "before" not in place:
            return False
        most = self._limit or paging.size or fullest
        return most is None or bool(place["before"] < most)

    def _grown(self, place: dict[str, Any]) -> Iterator[_Page]:
        """The page before a place once more, where it holds more than it did."""
        page, found = self._page({"page": place["page"] - 1})
        if found <= place["before"]:
            self._limit = found  # the server gives no more at once
        else:
            yield page._replace(following={**place, "before": found}, read=place["before"])

    def _refuse_circles(self, place: dict[str, Any], count: int) -> None:
        mark = digest_of(place)
        if mark in self._visited:
            raise Fatal(f"{label(self._config.url)}: the pages go round in a circle: one leads back to an earlier one")
        self._visited.add(mark)
        paging = self._config.pagination
        if paging is not None and count >= paging.max_pages:
            raise Fatal(
                f"{label(self._config.url)}: the listing has not ended after maxPages ({paging.max_pages}) pages"
            )

    def _fetch(self, url: str) -> Answer:
        answer = self._client.request("GET", url, headers=self._conditions(url), private=self._private)
        if answer.status not in (200, 201, 203, 204, 206, 304) or (answer.status == 304 and not self._conditions(url)):
            raise failure("GET", answer, self._context.now_ms(), self._redactor)
        return answer

    def _conditions(self, url: str) -> dict[str, str]:
        """What makes the only request of a listing conditional (RFC 9110, 13): the validators of the same URL."""
        known = self._began.validators
        if self._config.pagination is not None or known.get("url") != digest_of(url):
            return {}
        names = (("If-None-Match", "etag"), ("If-Modified-Since", "modified"))
        return {header: known[name] for header, name in names if name in known}

    def _block(self, answer: Answer) -> tuple[Block | None, int]:
        """The records of an answer, and how many it held."""
        if answer.status == 204 or not answer.body.strip():
            return None, 0
        block = self._context.data.read_json(answer.body, self._config.records)
        return block, block.table.num_rows + len(block.rejects)

    # --- what is new in them

    def land(self, page: _Page) -> None:
        """Keeps what is new in a page. Nothing changes where it raises."""
        if page.answer.status == 304:
            self.finished = True
            self._progress = replace(self._progress, open=None)
            return
        self._land(page.block, page.answer.body, page.body, page.read)
        self._move(page.following, page.answer, page.url)

    def _land(self, block: Block | None, raw: bytes, body: str, read: int) -> None:
        listing = self._progress.open
        assert listing is not None
        if block is None or (not self._config.incremental and body in self._progress.pages):
            self._progress = replace(self._progress, open=replace(listing, pages=_kept(listing.pages, body)))
            return
        high, edge = listing.high, listing.edge
        if self._config.incremental:
            records = _good_records(block, raw, self._config.records)
            sifted = sift([record for _, record in records], self._config.incremental.field, self._progress)
            high, edge = sifted.high, sifted.edge
            new, bad = ([index for index in some if records[index][0] > read] for some in (sifted.new, sifted.bad))
            block = replace(block, rejects=tuple(one for one in block.rejects if one.line > read))
            block = self._checked(_only(block, new, [records[index] for index in bad], self._config.incremental.field))
        self._refuse_too_many(block.rejects)
        self._tables.append(block.table)
        page = f" (page {listing.count + 1})" if self._config.pagination else ""
        self._rejects += [replace(one, reason=one.reason + page) for one in block.rejects]
        self._rows += block.table.num_rows
        pages = () if self._config.incremental else _kept(listing.pages, body)
        self._progress = replace(self._progress, open=replace(listing, high=high, edge=edge, pages=pages))

    def _checked(self, block: Block) -> Block:
        """The block without the records of which the time cannot be read. Where all records of a page are looked at, that
        is done by the thread that reads ahead: each look is so short that two threads would mostly wait for each other."""
        rule = self._rule()
        return self._context.data.check_timestamps(block, rule) if rule and block.table.num_rows else block

    def _rule(self) -> TimestampRule | None:
        config = self._config
        if config.timestamp_field is None:
            return None
        written = config.timestamp_format or self._context.time_format(config.stream, config.timestamp_field)
        return TimestampRule(field=config.timestamp_field, format=written, is_optional=True)

    def _refuse_too_many(self, rejects: tuple[Reject, ...]) -> None:
        if rejects and self._omitted + len(self._rejects) + len(rejects) > self._config.max_rejects:
            raise Fatal(
                f"more than maxRejects ({self._config.max_rejects}) records are bad; "
                f"record {rejects[0].line} of the answer: {rejects[0].reason}"
            )

    def _move(self, following: dict[str, Any] | None, answer: Answer, url: str) -> None:
        listing = self._progress.open
        assert listing is not None
        self._bytes += len(answer.body)
        self._pages += 1
        if following is not None:
            self._progress = replace(self._progress, open=replace(listing, place=following, count=listing.count + 1))
            return
        self.finished = True
        self._progress = self._progress.finish()
        if self._config.pagination is None:
            self._progress = replace(self._progress, validators=_validators(answer, url, self._redactor))

    # --- units

    @property
    def is_full(self) -> bool:
        """Whether the unit has grown large enough, or old enough, to be committed before the next page."""
        old = self._pages > 0 and self._context.now_ms() - self._began_ms >= UNIT_MS
        return not self.finished and (self._rows >= UNIT_ROWS or self._bytes >= UNIT_BYTES or old)

    @property
    def has_unit(self) -> bool:
        """Whether something was found, or a listing that was cut off has come to its end. A listing that found nothing
        is no unit: what it learnt (new validators) is worth no line in the log."""
        return self._rows > 0 or bool(self._rejects) or (self.finished and self._interrupted)

    def unit(self) -> Unit:
        source, bad = label(self._config.url), len(self._rejects)
        made = Unit(
            cursor=self._progress.cursor(),
            rows=self._rows,
            omitted=bad,
            segments=self._context.data.stage(self._config.stream, self._tables, timestamp=self._rule()),
            rejects=(self._context.data.stage_rejects(source, self._rejects),) if bad else (),
            message=f"{self._pages} {'page' if self._pages == 1 else 'pages'} of {source}",
        )
        self._omitted += bad
        self._interrupted = self._progress.open is not None
        self._clear()
        return made


def _kept(pages: tuple[str, ...], body: str) -> tuple[str, ...]:
    return pages if body in pages or len(pages) >= MAX_PAGES_KEPT else (*pages, body)


def _good_records(block: Block, raw: bytes, path: str) -> list[tuple[int, Any]]:
    """The records that became rows, in the same order, as they came, each with its number in the answer from 1."""
    try:
        found: Any = json.loads(raw, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise Fatal(f"the answer cannot be read as JSON: {type(error).__name__}") from error
    for step in path.split(".") if path else ():
        found = found[step]
    bad = {reject.line for reject in block.rejects}
    everyone = enumerate(found if isinstance(found, list) else [found], 1)
    return [(number, record) for number, record in everyone if number not in bad]


def _only(block: Block, new: list[int], bad: list[tuple[int, Any]], path: str) -> Block:
    """The block with its new rows alone, and the records without a value to go on by among the rejects."""
    why = f"the record has no usable {path}, by which this import goes on"
    rejects = (Reject(number, why, json.dumps(record, ensure_ascii=False)) for number, record in bad)
    table = block.table.take(new) if new else block.table.slice(0, 0)
    return replace(block, table=table, rejects=(*block.rejects, *rejects))


def _validators(answer: Answer, url: str, redactor: Redactor) -> dict[str, str]:
    found = {"etag": answer.headers.get("etag", ""), "modified": answer.headers.get("last-modified", "")}
    usable = {name: value for name, value in found.items() if _VALIDATOR.match(value) and not redactor.shows_in(value)}
    return {"url": digest_of(url), **usable} if usable else {}
