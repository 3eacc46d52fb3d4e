"""`POST /hooks/push`: a forge says that a repository was pushed to, so that the controller looks at once.

Nothing that the request says is believed or even read: it only wakes. The sender proves that it knows the secret, with the
HMAC-SHA256 of the body as it came (GitHub, Bitbucket, Gitea, Forgejo, Gogs) or by sending the secret itself (GitLab). No
body is held in memory.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from reconciler.data.journal import PUSHES
from reconciler.web.answers import Answer, Refused
from reconciler.web.body import Receive, declared, pieces, too_large
from reconciler.web.commits import wake
from reconciler.web.desk import Desk

#: Who signs how: the header, and what stands before the digits.
#: https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
#: https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
#: https://docs.gitea.com/usage/webhooks and https://forgejo.org/docs/latest/user/webhooks/
SIGNED: Final = (
    ("x-hub-signature-256", "sha256="),
    ("x-hub-signature", "sha256="),
    ("x-forgejo-signature", ""),
    ("x-gitea-signature", ""),
    ("x-gogs-signature", ""),
)
#: https://docs.gitlab.com/user/project/integrations/webhooks/
TOKEN: Final = "x-gitlab-token"

_WHAT: Final = "The body of a push hook"
_KNOWN: Final = ", ".join([*(name for name, _ in SIGNED), TOKEN])


async def pushed(desk: Desk, headers: Mapping[str, str], receive: Receive) -> Answer:
    """202 once the controller has been told. Raises Refused: 404 where no such hook is declared, 401 without a signature,
    403 with a wrong one, 413 with too large a body."""
    secret = await desk.senders.push_secret()
    if secret is None:
        raise Refused(404, "No push hook is declared; hooks.push.secret in reconciler.yaml declares one.")
    if not secret:
        raise Refused(
            503, "The secret of the push hook cannot be had; the log of the intake says why.", retry_after_s=60
        )
    signatures = list(_signatures(headers))
    if not signatures and TOKEN not in headers:
        raise Refused(401, f"The request is not signed; one of these headers is needed: {_KNOWN}.")
    digest = await _digest(desk, headers, receive, secret)
    right = [hmac.compare_digest(one.encode("utf-8", "replace"), digest) for one in signatures]
    right.append(_is_same(headers.get(TOKEN, "").encode("utf-8", "replace"), secret))
    if not any(right):
        raise Refused(403, "The request is not signed with the secret of the push hook.")
    note(desk.folder)
    return Answer(202, {"status": "ok"})


def _signatures(headers: Mapping[str, str]) -> Iterator[str]:
    """The signatures that the sender gives, as hexadecimal digits."""
    for name, mark in SIGNED:
        said = headers.get(name, "").strip().lower()
        if said.startswith(mark) and len(said) > len(mark):
            yield said.removeprefix(mark)


async def _digest(desk: Desk, headers: Mapping[str, str], receive: Receive, secret: bytes) -> bytes:
    """The HMAC of the body in hexadecimal digits. Raises Refused, Gone."""
    limit = desk.limits.hook_bytes
    declared(headers, limit, _WHAT)
    made, size = hmac.new(secret, digestmod=hashlib.sha256), 0
    async for piece in pieces(receive, desk.limits.body_s):
        size += len(piece)
        if size > limit:
            raise too_large(limit, _WHAT)
        made.update(piece)
    return made.hexdigest().encode()


def _is_same(token: bytes, secret: bytes) -> bool:
    """In a time that depends on neither, their lengths included."""
    return hmac.compare_digest(hashlib.sha256(token).digest(), hashlib.sha256(secret).digest())


def note(folder: Path) -> None:
    """Adds a push to those that were noted, and wakes the controller."""
    descriptor = os.open(folder / PUSHES, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"\n")
    finally:
        os.close(descriptor)
    wake(folder)
