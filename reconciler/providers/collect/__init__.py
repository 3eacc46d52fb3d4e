"""Messages that others send to `reconcile --watch --listen`. There is nothing to run: a Job has no part in it, an
Authorization of this provider is a token that a sender may use. Whatever sends holds the token; the process that
listens resolves it itself (`reconciler.web.tokens`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.core.provider import Method, Provider, Secret
from reconciler.errors import Fatal

#: A token shorter than this is accepted, and `auth check` says that it is guessed easily.
SAFE_TOKEN: Final = 16


def check(method: str, credentials: Mapping[str, Secret], uses: Sequence[tuple[str, Mapping[str, Any]]]) -> str:  # noqa: ARG001
    """Whether the token can be one: nobody else is asked."""
    token = credentials["token"].reveal()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise Fatal("credentials.token: a token is printable ASCII without spaces; nothing else fits into a header")
    if len(token) < SAFE_TOKEN:
        return f"senders may use this token; one of fewer than {SAFE_TOKEN} characters is guessed easily"
    return "senders may use this token"


PROVIDER = Provider(
    name="collect",
    title="Messages sent to this machine over HTTP",
    methods=(
        Method(
            name="bearer",
            title="A token that senders show",
            fields={"token": "The token; 16 random characters or more are not guessed"},
        ),
    ),
    check=check,
)
