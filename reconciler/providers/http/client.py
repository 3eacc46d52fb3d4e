"""One request, bounded in every direction: where it may go, how long it may take, how much it may answer.

Redirects are followed by hand, because each hop is judged like the first URL was: at most `MAX_REDIRECTS`, never from
https to http, a POST only by 307 and 308 (RFC 9110, 15.4), and what is private to the origin (credentials, and the
headers that the spec sets) does not go to another one. Proxies and `.netrc` of the environment are ignored: the guard
of `wire.py` judges the address that is connected to, which must be the destination's own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

import httpcore
import httpx

from reconciler.core.value import dataclass
from reconciler.errors import Fatal, Retriable
from reconciler.providers.http.transport import Transport, parsed_url
from reconciler.providers.http.wire import Deadline

MAX_REDIRECTS: Final = 5
#: Of an answer that is read whole, as it came and after decompression.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
#: Of an answer of which only the beginning matters.
MAX_REPLY_BYTES: Final = 64 * 1024
USER_AGENT: Final = "reconciler"

#: The name of a longer scheme is not repeated: a server may have sent what is none.
MAX_SCHEME: Final = 12

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE: Final = re.compile(r"[\x20-\x7e]*\Z")
_HOST: Final = re.compile(r"(?:[0-9A-Za-z_.-]+|[0-9A-Fa-f:.]+)\Z")
_REDIRECTS: Final = {301: False, 302: False, 303: False, 307: True, 308: True}  # status: allowed for a POST


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `headers` have lower-case names, `url` is where the last redirect led, `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


def label(url: str) -> str:
    """A URL as it may stand in a message: without its query, which may hold what is not for logs."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@lru_cache(maxsize=64)
def origin(url: str) -> tuple[str, str, int]:
    one = parsed_url(url)
    return one.scheme, one.host, one.port or {"http": 80, "https": 443}.get(one.scheme, 0)


@lru_cache(maxsize=64)
def checked_url(text: str, base: str = "") -> str:
    """An absolute http(s) URL without a fragment. Raises Fatal for anything else, for a user name or password in it,
    and for characters that a request line cannot carry."""
    try:
        url = parsed_url(base).join(text) if base else parsed_url(text)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise Fatal(f"not a URL that can be requested: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        scheme = repr(url.scheme or "no scheme") if len(url.scheme) <= MAX_SCHEME else "another scheme"
        raise Fatal(f"only http and https addresses are requested, found {scheme}")
    if url.port is not None and not 0 < url.port < 65536:
        raise Fatal(f"{label(str(url))}: there is no port {url.port}")
    if not _HOST.match(url.raw_host.decode("ascii", "replace")):
        raise Fatal("a URL's host is neither a name nor an address")  # it is not repeated: a server may have sent it
    if url.userinfo:
        raise Fatal(f"{label(str(url))}: a URL holds no user name or password; declare an Authorization")
    return str(url.copy_with(fragment=None) if "#" in text else url)


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that cannot smuggle in another one. Raises Fatal, without the value: it may be a credential."""
    for name, value in headers.items():
        if not _TOKEN.match(name):
            raise Fatal(f"{name[:40]!r} is not a header's name")
        if not _VALUE.match(value):
            raise Fatal(f"the value of the header {name} holds characters that a header cannot carry")
    return dict(headers)


class Client:
    """Sends requests for one run. `timeout_s` bounds a request whole, from the name's look-up to the last byte."""

    def __init__(self, *, allow_private: bool, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadline = Deadline()
        self._transport = Transport(self._deadline, allow_private=allow_private)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.close()

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        private: Mapping[str, str],
        content: bytes | None = None,
        whole: bool = True,
    ) -> Answer:
        """The answer, whatever its status, after redirects. `private` headers go to the URL's own origin alone. Where
        not `whole`, the body is cut off at `MAX_REPLY_BYTES`. Raises Retriable for every failure of the network, Fatal
        for an address, a redirect or an answer that is refused."""
        current = checked_url(url)
        home = origin(current)
        self._deadline.start(self._timeout_s)
        for _ in range(MAX_REDIRECTS + 1):
            mine = private if origin(current) == home else {}
            answer = self._once(method, current, checked_headers({**headers, **mine}), content, whole)
            target = _redirect(method, current, answer)
            if target is None:
                return answer
            current = target
        raise Fatal(f"{label(url)}: more than {MAX_REDIRECTS} redirects")

    def _once(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None, whole: bool) -> Answer:
        own = {"Accept": "application/json", "User-Agent": USER_AGENT, "Accept-Encoding": "gzip"}
        sent = [(name.encode("ascii"), value.encode("ascii")) for name, value in {**own, **headers}.items()]
        try:
            response = self._transport.send(method, url, sent, content)
            try:
                received = _headers(response)
                body = _body(response, received, label(url), whole)
            finally:
                response.close()
        except httpcore.TimeoutException as error:
            raise Retriable(f"{method} {label(url)}: no answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise Retriable(f"{method} {label(url)}: {str(error) or type(error).__name__}") from error
        return Answer(response.status, received, body, url)


def _headers(response: httpcore.Response) -> dict[str, str]:
    """By lower-case name; what came several times, joined by commas."""
    found: dict[str, str] = {}
    for raw_name, raw_value in response.headers:
        name, value = _decoded(raw_name).lower(), _decoded(raw_value)
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _redirect(method: str, url: str, answer: Answer) -> str | None:
    """Where the answer sends the request on to; None where it is the final one."""
    if answer.status not in _REDIRECTS or "location" not in answer.headers:
        return None
    if method not in ("GET", "HEAD") and not _REDIRECTS[answer.status]:
        raise Fatal(
            f"{method} {label(url)}: redirected with {answer.status}, which a {method} does not follow; use the new URL"
        )
    target = checked_url(answer.headers["location"], base=url)
    if url.startswith("https:") and target.startswith("http:"):
        raise Fatal(f"{label(url)}: redirected from https to http, which is not followed")
    return target


def _body(response: httpcore.Response, headers: Mapping[str, str], where: str, whole: bool) -> bytes:
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "x-gzip", "identity", ""):
        raise Fatal(f"{where}: the answer is encoded as {encoding[:20]!r}, which was not asked for")
    limit = MAX_ANSWER_BYTES if whole else MAX_REPLY_BYTES
    pieces = _pieces(response, limit)
    try:
        body = b"".join(_gunzip(pieces, limit) if encoding in ("gzip", "x-gzip") else pieces)
    except zlib.error as error:
        raise Retriable(f"{where}: the answer is not the gzip that it says it is") from error
    if len(body) > limit and whole:
        raise Fatal(f"{where}: the answer is larger than {limit // (1024 * 1024)} MiB")
    return body[:limit]


def _pieces(response: httpcore.Response, limit: int) -> Iterator[bytes]:
    """The body as it comes, to a little over the limit."""
    seen = 0
    for piece in response.iter_stream():
        yield piece
        seen += len(piece)
        if seen > limit:
            return


def _gunzip(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    """Decompresses to a little over the limit and no further, however well a bomb is packed."""
    decoder = zlib.decompressobj(wbits=31)
    made = 0
    for piece in pieces:
        rest = piece
        while rest:
            out = decoder.decompress(rest, limit + 1 - made)
            made += len(out)
            yield out
            if made > limit:
                return
            if decoder.eof:
                rest, decoder = decoder.unused_data, zlib.decompressobj(wbits=31)
            else:
                rest = decoder.unconsumed_tail
