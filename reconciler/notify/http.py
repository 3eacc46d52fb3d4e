"""Slack's incoming webhooks, and webhooks of one's own.

Slack: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and, for escaping and limits,
https://docs.slack.dev/messaging/formatting-message-text and https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from reconciler.core.document import canonical
from reconciler.core.notices import MOST, Notice, headline, line, plain_text
from reconciler.core.provider import Secret
from reconciler.notify.post import post

#: Slack takes so many characters in a section's text, in a header, and so many blocks.
SLACK_TEXT: Final = 3_000
SLACK_HEADER: Final = 150
SLACK_BLOCKS: Final = 50


def send_slack(settings: Mapping[str, Any], secrets: Mapping[str, Secret], notices: Sequence[Notice]) -> None:
    del settings
    post(secrets["url"].reveal(), canonical(slack_body(notices)).encode(), {}, secrets)


def slack_body(notices: Sequence[Notice]) -> dict[str, Any]:
    """`text` is what a notification shows, `blocks` what the channel shows."""
    head = headline(notices)
    room = min(MOST, SLACK_BLOCKS - 2)
    sections = [_section(_escaped(" ".join(line(one).split()))) for one in notices[:room]]
    if len(notices) > room:
        sections.append(_section(f"and {len(notices) - room} more; `reconcile list` and `reconcile validate` show all"))
    header = {"type": "header", "text": {"type": "plain_text", "text": head[:SLACK_HEADER]}}
    return {"text": _escaped(head), "blocks": [header, *sections]}


def _section(text: str) -> dict[str, Any]:
    cut = text if len(text) <= SLACK_TEXT else text[: SLACK_TEXT - 1] + "…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut, "verbatim": True}}


def _escaped(text: str) -> str:
    """Nothing that a spec says may mention anybody, link anywhere or format anything."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\u200b{one}" if one in "*_~`@" else one for one in text)


def send_webhook(settings: Mapping[str, Any], secrets: Mapping[str, Secret], notices: Sequence[Notice]) -> None:
    body = canonical(webhook_body(notices)).encode()
    headers = {"Idempotency-Key": hashlib.sha256(body).hexdigest()}
    if "secret" in secrets:
        digest = hmac.new(secrets["secret"].reveal().encode(), body, hashlib.sha256).hexdigest()
        headers["X-Signature"] = f"sha256={digest}"
    if "token" in secrets:
        headers["Authorization"] = f"Bearer {secrets['token'].reveal()}"
    post(settings["url"], body, headers, secrets)


def webhook_body(notices: Sequence[Notice]) -> dict[str, Any]:
    """`{"source": "reconcile", "text": …, "notices": [{"event", "of", "kind", "name", "path", "message", "since", "at",
    "author", "commit"}]}`."""
    text = f"{headline(notices)}\n{plain_text(notices)}"
    return {"source": "reconcile", "text": text, "notices": [one.to_json() for one in notices]}


WAYS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Secret], Sequence[Notice]], None]]] = {
    "slack": send_slack,
    "webhook": send_webhook,
}
