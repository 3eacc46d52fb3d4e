"""Delivering notices: to Slack, to a webhook, by e-mail, and to forges as the status of a commit.

`deliver` is called in a process of its own, never by the loop. It raises RateLimited and Retriable where trying again may help,
Fatal where it will not; nothing that it says holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.core.notices import Notice, notice_of
from reconciler.core.provider import Secret


def deliver(
    channel: str, settings: Mapping[str, Any], secrets: Mapping[str, Secret], told: Sequence[Mapping[str, Any]]
) -> None:
    """`told` are notices as `packed` wrote them; for a forge one commit's outcome."""
    match channel:
        case "slack" | "webhook":
            from reconciler.notify import http

            http.WAYS[channel](settings, secrets, _notices(told))
        case "github" | "gitlab":
            from reconciler.notify import forges

            forges.WAYS[channel](settings, secrets, told[0])
        case "email":
            from reconciler.notify.mail import send_mail

            send_mail(settings, secrets, _notices(told))
        case other:
            raise AssertionError(f"there is no channel {other!r}")


def _notices(told: Sequence[Mapping[str, Any]]) -> list[Notice]:
    return [notice_of(one) for one in told]
