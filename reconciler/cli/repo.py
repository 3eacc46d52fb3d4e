"""`--repo`, `--branch`, `--path` and `--interval`, and the section `repo:` of the operator's file, as one repository."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.controller.settings import Followed
from reconciler.core.duration import BadDuration, format_duration, parse_duration
from reconciler.core.remote import address_of, check_branch, prefix_of
from reconciler.core.words import DAY_MS, MINUTE_MS, SECOND_MS
from reconciler.errors import UsageError

DEFAULT_PATH: Final = "jobs.d"
SHORTEST_MS: Final = SECOND_MS
LONGEST_MS: Final = DAY_MS


def followed_of(url: str, options: Mapping[str, str], said: Mapping[str, Any], folder: Path) -> Followed:
    """The repository that is followed: what the options say wins over what the file says. A path as an option starts from
    the current directory, one in the file from its `folder`. The file's credentials are for the site of the file's URL.
    Raises UsageError."""
    declared = address_of(said["url"], str(folder)) if said else None
    address = address_of(url, os.getcwd()) if url else declared
    assert address is not None, "a repository is named"
    credentials = dict(said.get("credentials") or {})
    if credentials and declared is not None and address.site != declared.site:
        raise UsageError(f"--repo leads elsewhere than repo.url, {declared.url}, whose credentials it would be given")
    branch = options["--branch"] or said.get("branch", "")
    if branch:
        check_branch(branch)
    return Followed(
        address=address,
        branch=branch,
        prefix=prefix_of(options["--path"] or said.get("path", DEFAULT_PATH)),
        interval_ms=_interval_ms(options["--interval"]) if options["--interval"] else said.get("interval", MINUTE_MS),
        username=str(credentials.pop("username", "")),
        credentials=credentials,
    )


def _interval_ms(text: str) -> int:
    try:
        found = parse_duration(text)
    except BadDuration as error:
        raise UsageError(f"--interval: expected {error}, found '{text}'") from None
    if not SHORTEST_MS <= found <= LONGEST_MS:
        raise UsageError(
            f"--interval: expected a duration from {format_duration(SHORTEST_MS)} to {format_duration(LONGEST_MS)}, "
            f"found '{text}'"
        )
    return found
