"""Puts together what follows a repository elsewhere, and what verifies commits, out of what the operator has settled.

Secrets are resolved at each fetch, so that one which is replaced counts from then on; a reference that leads nowhere is a
fetch that failed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reconciler.clock import Clock
from reconciler.controller.settings import Followed, Settings
from reconciler.core.provider import Secret
from reconciler.errors import Fatal, UsageError
from reconciler.repo.clone import CLONE_NAME, Clone, Remote
from reconciler.repo.following import CloneSource
from reconciler.repo.source import Source
from reconciler.repo.transport import Credentials, Transport
from reconciler.repo.verify import VerifiedSource, Verifier
from reconciler.secrets import resolve

#: Which credentials go with which way to a repository.
GOES_WITH: Final = {
    "token": ("https", "http"), "password": ("https", "http"), "bearer": ("https", "http"),
    "sshKey": ("ssh",), "knownHosts": ("ssh",),
}  # fmt: skip


def clone_source(settings: Settings, followed: Followed, notice: Callable[[str], None], *, fetches: bool) -> Source:
    """The clone in the state directory. Raises UsageError where the credentials are of another kind than the address, or
    nobody can be verified."""
    for name in sorted(followed.credentials):
        if followed.address.scheme not in GOES_WITH[name]:
            ways = GOES_WITH[name][0]
            raise UsageError(
                f"repo.credentials.{name} goes with {ways}, and {followed.address.url} is {_way(followed)}"
            )
    folder = Path(os.path.abspath(settings.state)) / CLONE_NAME
    transport = Transport(followed.address, folder, lambda: _credentials(settings, followed))
    remote = Remote(address=followed.address, branch=followed.branch, prefix=followed.prefix)
    refusal = _verifier(settings).refusal if settings.verify_keys else lambda _git_dir, _commit: ""
    clone = Clone(folder, remote, transport, refusal, Clock())
    name = f"{followed.address.url} {followed.branch}".rstrip()
    return CloneSource(clone, name, followed.interval_ms / 1000, notice, random.random, fetches=fetches)


def verified(source: Source, settings: Settings) -> Source:
    """The source, believed only where the operator's keys have signed. Raises UsageError where they are none."""
    return VerifiedSource(source, _verifier(settings))


def _verifier(settings: Settings) -> Verifier:
    return Verifier(settings.verify_keys, settings.folder, Clock())


def _way(followed: Followed) -> str:
    return "on this machine" if followed.address.scheme == "file" else f"reached over {followed.address.scheme}"


def _credentials(settings: Settings, followed: Followed) -> Credentials:
    """Raises Fatal, naming the field, where a secret cannot be had."""
    try:
        found = resolve(followed.credentials, base_dir=settings.folder, allow_exec=settings.allow_exec)
    except Fatal as error:
        raise Fatal(f"repo.{error}") from None
    for name in ("token", "password", "bearer"):
        value = found[name].reveal() if name in found else ""
        if not value.isprintable() or (name == "bearer" and any(one in value for one in '"\\')):
            raise Fatal(f"repo.credentials.{name}: the value holds a character that no such secret has")
    hosts: Secret | None = found.get("knownHosts")
    return Credentials(
        username=followed.username,
        password=found.get("token") or found.get("password"),
        bearer=found.get("bearer"),
        ssh_key=found.get("sshKey"),
        known_hosts="" if hosts is None else hosts.reveal(),
    )
