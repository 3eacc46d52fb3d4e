"""What is served, by path. Errors become JSON here, in one place."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from reconciler.runner.processes import start_ticks
from reconciler.web import bulk, hooks, live
from reconciler.web.answers import Answer, Gone, Refused, encoded, unable
from reconciler.web.describe import DOCUMENT
from reconciler.web.desk import Desk
from reconciler.web.express import Lane

#: The controller looks at everything at least once a minute; after this long without a look it is not well.
STALE_MS: Final = 150_000

_LIVE: Final = "/collect/json/"

Work = Callable[[str, Mapping[str, str], str, Receive], Awaitable[Answer]]
Lifespan = Callable[[Starlette], AbstractAsyncContextManager[None]]


class Endpoint:
    """An ASGI application of one path: `work` is given the stream (empty where the path names none), the headers, the query
    and the body."""

    def __init__(self, name: str, desk: Callable[[], Desk], work: Work) -> None:
        self._name = name
        self._desk = desk
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        clock = self._desk().clock
        began_ms = clock.now().alive_ms
        if scope["method"] != "POST":
            answer = Answer(405, {"error": "Only POST is answered here."}, {"Allow": "POST"})
        else:
            answer = await self._answer(scope, receive)
        seconds = (clock.now().alive_ms - began_ms) / 1000
        self._desk().metrics.answered(self._name, answer.status, seconds)
        if answer.status:
            await _send(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        try:
            return await self._work(scope["path_params"].get("stream", ""), headers, query, receive)
        except Refused as refused:
            return Answer(refused.status, refused.body, _leaving(refused.headers, headers))
        except Gone:
            return Answer(0, {})
        except OSError as error:
            failed = unable(f"The disk refuses: {error.strerror or type(error).__name__}.")
            return Answer(failed.status, failed.body, failed.headers)
        except Exception:
            traceback.print_exc(file=sys.stderr)
            return Answer(500, {"error": "This is a bug of reconcile; the log of the intake says more."})


#: A sender of more than this, of which not all was read, is told to go: reading the rest would serve nobody.
_WORTH_READING: Final = 1 << 20


def _leaving(said: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a refusal."""
    length = headers.get("content-length", "")
    small = length.isascii() and length.isdigit() and int(length) <= _WORTH_READING
    return {**said, **({} if small else {"Connection": "close"})}


async def _send(send: Send, answer: Answer) -> None:
    body = encoded(answer.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Front:
    """The ASGI application: live messages go straight to their endpoint, or do not come here at all: `lane`."""

    def __init__(self, lane: Lane, live_messages: Endpoint, others: Starlette) -> None:
        self.lane = lane
        self._live = live_messages
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = scope["path"].removeprefix(_LIVE) if scope["type"] == "http" else ""
        if stream and "/" not in stream:
            scope["path_params"] = {"stream": stream}
            await self._live(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def application(desk: Callable[[], Desk], checker: bulk.Checker, lifespan: Lifespan) -> Front:
    """The whole face. `desk` is there once `lifespan` has begun."""

    def bulk_work(format: Any) -> Work:
        return lambda stream, headers, query, receive: bulk.collect(
            desk(), checker, format, stream, headers, query, receive
        )

    async def push_work(_stream: str, headers: Mapping[str, str], _query: str, receive: Receive) -> Answer:
        return await hooks.pushed(desk(), headers, receive)

    async def healthz(_: Request) -> Response:
        failure = desk().commits.failure
        if failure:
            return JSONResponse({"status": "failing", "error": f"the journal cannot be written: {failure}"}, 503)
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        why, trouble = unready(desk()), await desk().senders.trouble()
        state = {"status": "not ready", "error": why} if why else {"status": "ok"}
        return JSONResponse(state | ({"specs": trouble} if trouble else {}), 503 if why else 200)

    async def metrics(_: Request) -> Response:
        desk().metrics.settle()
        text = await asyncio.to_thread(desk().metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4")

    async def openapi(_: Request) -> Response:
        return JSONResponse(DOCUMENT)

    others = Starlette(
        routes=[
            Route("/collect/bulk/csv/{stream}", Endpoint("bulk/csv", desk, bulk_work("csv"))),
            Route("/collect/bulk/json/{stream}", Endpoint("bulk/json", desk, bulk_work("json"))),
            Route("/hooks/push", Endpoint("hooks/push", desk, push_work)),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
        ],
        exception_handlers={HTTPException: _not_served},  # type: ignore[dict-item]
        lifespan=lifespan,
    )
    return Front(Lane(desk, "json"), Endpoint("json", desk, lambda *told: live.collect(desk(), *told)), others)


async def _not_served(request: Request, error: HTTPException) -> Response:
    """What Starlette itself refuses: a path or a method that is not there."""
    said = f"There is nothing at {request.url.path[:200]}; /openapi.json says what there is."
    body = {"error": said if error.status_code == 404 else f"{error.detail}."}
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


def unready(desk: Desk) -> str:
    """Why messages would wait long before they are on their streams; empty where they would not."""
    if desk.commits.failure:
        return f"the journal cannot be written: {desk.commits.failure}"
    beat = _heartbeat(desk)
    if beat is None:
        return "no controller has looked at its files yet"
    looked_ms, pid, ticks = beat
    if start_ticks(pid) != ticks:
        return f"the controller that last looked at its files (pid {pid}) is gone, and no other has looked yet"
    age_ms = desk.clock.now().wall_ms - looked_ms
    return f"the controller last looked at its files {age_ms // 1000} s ago" if age_ms > STALE_MS else ""


def heartbeat_ms(desk: Desk) -> int | None:
    """When a controller last looked, in wall time."""
    beat = _heartbeat(desk)
    return None if beat is None else beat[0]


def _heartbeat(desk: Desk) -> tuple[int, int, int] | None:
    """When a controller last looked, and which: its pid, and when that began."""
    try:
        looked_ms, pid, ticks = map(int, (desk.folder / "heartbeat").read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return looked_ms, pid, ticks
