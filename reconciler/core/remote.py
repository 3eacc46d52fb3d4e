"""The address of a repository that is cloned, and the names of what is wanted from it, checked before git sees them.

What an address may be is a table: https and ssh; a path or `file:` for a repository on this machine; http and git, which
anyone on the way could change, only to this machine. An address never holds a secret, no part of one is an option to git
or ssh, and none names a helper (`ext::`), which would be a command to run.
"""

from __future__ import annotations

import ipaddress
import os.path
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

from reconciler.core.value import dataclass
from reconciler.errors import UsageError

#: What git speaks with others, and whether only with this machine.
SCHEMES: Final = {"https": False, "ssh": False, "file": False, "http": True, "git": True}
#: An address has so many characters at most.
MAX_ADDRESS: Final = 2_000
MAX_NAME: Final = 200

_HELPER: Final = re.compile(r"[A-Za-z0-9+.-]*::")
_SCP: Final = re.compile(r"(?:(?P<user>[^@/:\s]+)@)?(?P<host>\[[^]/\s]+\]|[^:/\s]+):(?P<path>.+)")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
#: What no branch's name holds (git-check-ref-format).
_NO_BRANCH: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[/.]$|\.lock(/|$)|(^|/)\.|^@$|^HEAD$")


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is what git is given; `host`, with its port, is empty for a repository on this machine's disk."""

    url: str
    scheme: str
    host: str = ""

    @property
    def site(self) -> str:
        """Whom credentials are for: scheme, host and port."""
        return f"{self.scheme}://{self.host}"


def address_of(text: str, folder: str) -> Address:
    """The address that a text names; a relative path starts from `folder`. Raises UsageError, in which no secret is
    repeated."""
    if not text or len(text) > MAX_ADDRESS or not text.isprintable() or text != text.strip():
        raise UsageError(f"the repository's URL is empty, longer than {MAX_ADDRESS:,} characters, or not printable")
    if text.startswith("-"):
        raise UsageError("the repository's URL begins with '-' and looks like an option")
    if _HELPER.match(text):
        raise UsageError(
            "the repository's URL names a git helper ('::'), which is a command to run; it is not accepted"
        )
    if "://" in text:
        return _of_url(text)
    scp = _SCP.fullmatch(text)
    if scp is None:
        return Address(os.path.normpath(os.path.join(folder, text)), "file")
    _check_host(scp["host"].strip("[]"), scp["user"])
    if scp["path"].startswith("-"):
        raise UsageError("the path in the repository's URL begins with '-' and looks like an option")
    return Address(text, "ssh", scp["host"])


def _of_url(text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError("the repository's URL cannot be read: its host or port is malformed") from error
    scheme = parts.scheme
    if scheme not in SCHEMES:
        raise UsageError(
            f"repositories are not cloned over '{scheme}'; use https, ssh, or the path of one on this machine"
        )
    _check_parts(parts, scheme)
    if scheme == "file":
        return Address(text, scheme)
    host = parts.hostname or ""
    _check_host(host, parts.username)
    if SCHEMES[scheme] and not is_loopback(host):
        raise UsageError(
            f"'{scheme}' is neither private nor signed: anyone on the way could change what is desired; use https or ssh"
        )
    shown = f"[{host}]" if ":" in host else host
    return Address(text, scheme, shown if port is None else f"{shown}:{port}")


def _check_parts(parts: SplitResult, scheme: str) -> None:
    if parts.password is not None or (parts.username is not None and scheme != "ssh"):
        raise UsageError(
            "the repository's URL holds a user or a secret; take it out, and refer to it in repo.credentials "
            "(reconciler.yaml), for example token: {env: GIT_TOKEN}"
        )
    if parts.query or parts.fragment:
        raise UsageError(
            "the repository's URL has a query or a fragment; git takes neither, and a secret may stand in it"
        )
    if scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
        raise UsageError("a file: URL is file:/// and an absolute path")
    if not parts.path.strip("/"):
        raise UsageError("the repository's URL names no repository: its path is missing")


def _check_host(host: str, user: str | None) -> None:
    if not _HOST.fullmatch(host) or (user is not None and not _USER.fullmatch(user)):
        raise UsageError("the repository's URL cannot be read: its host or user is malformed")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_branch(name: str) -> None:
    """Raises UsageError where a text cannot be a branch's name."""
    if not name or len(name) > MAX_NAME or _NO_BRANCH.search(name):
        raise UsageError(f"'{name[:MAX_NAME]}' is no name of a branch")


def prefix_of(path: str) -> str:
    """The folder of the specs within the repository as a prefix of git's paths: empty for the whole of it, or ending in a
    slash. Raises UsageError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or ".git" in parts or not path.isprintable():
        raise UsageError(f"'{path}' is no folder within the repository; write it from the top, for example jobs.d")
    return "".join(f"{part}/" for part in parts)
