"""How one answer leads to the next: pages by link, number, offset or cursor.

A place in a listing is a small JSON value, so that an import that was cut off goes on at its next page:
`{"url"}`, `{"page", "before"}`, `{"offset"}`, `{"token"}`, or `{}` for the only request of a listing without pages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from reconciler.core.provider import Data, Json
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal
from reconciler.providers.http.client import Answer, checked_url, label, origin
from reconciler.providers.http.config import ImportJson, Pagination

#: A cursor or a link longer than this is not kept.
MAX_TOKEN: Final = 8192

#: One link of a Link header (RFC 8288, 3): its target, and its parameters.
_LINK: Final = re.compile(r'<([^<>]*)>((?:\s*;\s*[!#$&+\-.^_`|~0-9A-Za-z*]+\s*(?:=\s*(?:"[^"]*"|[^\s",;]*))?)*)')
_REL: Final = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s",;]*))', re.IGNORECASE)


def first_place(pagination: Pagination | None) -> dict[str, Any]:
    if pagination is None:
        return {}
    match pagination.type:
        case "link":
            return {"url": None}
        case "page":
            return {"page": 1 if pagination.start is None else pagination.start}
        case "offset":
            return {"offset": pagination.start or 0}
        case "cursor":
            return {"token": None}


def request_url(config: ImportJson, place: Mapping[str, Any], since: Json) -> str:
    """The URL of a place. A link is requested as it came; the others are `url` with all parameters."""
    if place.get("url"):
        return str(place["url"])
    params: dict[str, Any] = dict(config.params)
    if config.incremental and since is not None:
        params[config.incremental.param] = since
    paging = config.pagination
    if paging is not None:
        if paging.size is not None and paging.size_param:
            params[paging.size_param] = paging.size
        params |= {
            paging.param or name: value
            for key, name in (("page", "page"), ("offset", "offset"), ("token", "cursor"))
            if (value := place.get(key)) is not None
        }
    return str(httpx.URL(checked_url(config.url)).copy_merge_params(params))


def next_place(
    config: ImportJson, data: Data, place: Mapping[str, Any], answer: Answer, records: int
) -> dict[str, Any] | None:
    """The place after an answer that held so many records; None at the end of the listing. Raises Fatal for a link
    that leaves the origin, and for a next place that is none. That of a numbered page says how many records were `before`
    it: the page before may have had room for more."""
    paging = config.pagination
    if paging is None:
        return None
    match paging.type:
        case "page":
            return {"page": place["page"] + 1, "before": records} if records else None
        case "offset":
            return {"offset": place["offset"] + records} if records else None
        case "cursor":
            token = data.pluck(answer.body, paging.cursor_path or "")
            return _token(answer, place, token)
        case "link":
            link = data.pluck(answer.body, paging.next_path) if paging.next_path else _link(answer)
            return _target(answer, link)


def without_secrets(place: Mapping[str, Any], redactor: Redactor) -> dict[str, Any]:
    """A place that the record may keep: some servers write the credential into the next page's address, where it is not
    needed, because it is in the header of every request."""
    text = place.get("url")
    if not isinstance(text, str) or not redactor.shows_in(text):
        return dict(place)
    url = httpx.URL(text)
    kept = [(name, value) for name, value in url.params.multi_items() if not redactor.shows_in(value)]
    return {**place, "url": str(url.copy_with(params=kept))}


def _token(answer: Answer, place: Mapping[str, Any], token: Json) -> dict[str, Any] | None:
    if token is None or token is False or token == "":
        return None
    if isinstance(token, bool) or not isinstance(token, str | int | float) or len(str(token)) > MAX_TOKEN:
        raise Fatal(
            f"{label(answer.url)}: the next cursor is neither a text nor a number of at most {MAX_TOKEN} characters"
        )
    if token == place.get("token"):
        raise Fatal(f"{label(answer.url)}: the pages go round in a circle: the next cursor is the one that was sent")
    return {"token": token}


def _target(answer: Answer, link: Json) -> dict[str, Any] | None:
    if link is None or link is False or link == "":
        return None
    if not isinstance(link, str) or len(link) > MAX_TOKEN:
        raise Fatal(f"{label(answer.url)}: the next link is not a URL of at most {MAX_TOKEN} characters")
    target = checked_url(link, base=answer.url)
    if origin(target) != origin(answer.url):
        raise Fatal(f"{label(answer.url)}: the next link leads to {label(target)}, another origin, and is not followed")
    return {"url": target}


def _link(answer: Answer) -> str | None:
    """The target of rel=next in the Link header."""
    header = answer.headers.get("link", "")
    if len(header) > 2 * MAX_TOKEN:
        raise Fatal(f"{label(answer.url)}: the Link header is longer than {2 * MAX_TOKEN} characters")
    for target, params in _LINK.findall(header):
        rel = _REL.search(params)
        if rel and "next" in (rel[1] or rel[2] or "").lower().split():
            return str(target)
    return None
