"""The outcome of a commit, as GitHub and GitLab show it.

GitHub: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status
GitLab: https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler.core.document import canonical
from reconciler.core.provider import Secret
from reconciler.errors import Fatal
from reconciler.notify.post import post

GITHUB_URL: Final = "https://api.github.com"
GITLAB_URL: Final = "https://gitlab.com"
GITHUB_VERSION: Final = "2022-11-28"
CONTEXT: Final = "reconcile"
#: GitHub takes so many characters of a description, GitLab 255.
MAX_DESCRIPTION: Final = 140
_GITLAB_STATES: Final = {"success": "success", "failure": "failed", "pending": "pending"}


def tell_github(settings: Mapping[str, Any], secrets: Mapping[str, Secret], outcome: Mapping[str, Any]) -> None:
    owner, _, name = settings["repository"].partition("/")
    base = settings.get("apiUrl", GITHUB_URL).rstrip("/")
    body = {"state": outcome["state"], "description": _cut(outcome["description"]), "context": _context(settings)}
    if settings.get("targetUrl"):
        body["target_url"] = settings["targetUrl"]
    post(
        f"{base}/repos/{quote(owner, safe='')}/{quote(name, safe='')}/statuses/{outcome['commit']}",
        canonical(body).encode(),
        {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {secrets['token'].reveal()}",
            "X-GitHub-Api-Version": GITHUB_VERSION,
        },
        secrets,
    )


def tell_gitlab(settings: Mapping[str, Any], secrets: Mapping[str, Secret], outcome: Mapping[str, Any]) -> None:
    base = settings.get("url", GITLAB_URL).rstrip("/")
    body = {
        "state": _GITLAB_STATES[outcome["state"]],
        "description": _cut(outcome["description"]),
        "name": _context(settings),
    }
    if outcome["branch"] not in ("", "HEAD"):
        body["ref"] = outcome["branch"]
    if settings.get("targetUrl"):
        body["target_url"] = settings["targetUrl"]
    try:
        post(
            f"{base}/api/v4/projects/{quote(str(settings['project']), safe='')}/statuses/{outcome['commit']}",
            canonical(body).encode(),
            {"PRIVATE-TOKEN": secrets["token"].reveal()},
            secrets,
        )
    except Fatal as error:
        if "Cannot transition status" not in str(error):  # GitLab's way to say that it says so already
            raise


def _context(settings: Mapping[str, Any]) -> str:
    return str(settings.get("context", CONTEXT))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_DESCRIPTION else text[: MAX_DESCRIPTION - 1] + "…"


WAYS: Final[Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Secret], Mapping[str, Any]], None]]] = {
    "github": tell_github,
    "gitlab": tell_gitlab,
}
