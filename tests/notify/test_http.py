"""What Slack, webhooks and forges are sent is what their makers document, and what their answers mean."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest

from reconciler.core.notices import Notice, Trouble, What, packed
from reconciler.core.provider import Secret
from reconciler.errors import Fatal, RateLimited, Retriable, RunError
from reconciler.notify import deliver
from reconciler.notify.excerpts import MAX_READ
from reconciler.notify.http import SLACK_BLOCKS, SLACK_TEXT, slack_body
from tests.servers import Play, Request, Server

SHA = "7638417db6d59f3c431d3e1f261cc637155684cd"


def notice(name: str = "export-vip", message: str = "no more") -> Notice:
    trouble = Trouble(what=What.FAILED, kind="Job", name=name, path="crm.yaml", message=message, since_ms=1_000)
    return Notice(trouble=trouble, at_ms=2_000)


def test_slack_is_sent_text_and_blocks() -> None:
    with Server([Play(body=b"ok")]) as server:
        deliver("slack", {}, {"url": Secret(f"{server.url}/services/T0/B0/x")}, [packed(notice())])
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/services/T0/B0/x")
    assert request.headers["content-type"] == "application/json"
    body = request.json
    assert body["text"] == "reconcile: 1 failed"
    assert [block["type"] for block in body["blocks"]] == ["header", "section"]
    assert body["blocks"][0]["text"] == {"type": "plain_text", "text": "reconcile: 1 failed"}
    assert body["blocks"][1]["text"]["type"] == "mrkdwn"


def test_slack_s_limits_hold_and_nothing_that_a_spec_says_is_markup() -> None:
    hostile = "<!channel> <@U1> <http://x|y> & *bold* _it_ `code` @here " + "x" * 10_000
    body = slack_body([notice(f"job-{number}", hostile) for number in range(80)])
    assert len(body["blocks"]) <= SLACK_BLOCKS
    for block in body["blocks"][1:-1]:
        text = block["text"]["text"]
        assert len(text) <= SLACK_TEXT
        assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", text)
        assert "*bold*" not in text
    assert body["blocks"][-1]["text"]["text"].startswith("and 32 more")


def test_a_webhook_is_signed_and_has_a_key_that_stays_the_same() -> None:
    with Server() as server:
        for _ in range(2):
            secrets = {"secret": Secret("s3cret"), "token": Secret("t0ken")}
            deliver("webhook", {"url": f"{server.url}/in"}, secrets, [packed(notice())])
    first, second = server.requests
    assert first.key == second.key
    assert first.headers["authorization"] == "Bearer t0ken"
    assert first.headers["x-signature"] == "sha256=" + hmac.new(b"s3cret", first.raw, hashlib.sha256).hexdigest()
    assert first.json["source"] == "reconcile"
    assert first.json["notices"] == [
        {
            "event": "Failed", "of": "Failed", "kind": "Job", "name": "export-vip", "path": "crm.yaml", "message": "no more",
            "since": "1970-01-01T00:00:01.000Z", "at": "1970-01-01T00:00:02.000Z", "author": "", "commit": "",
        }
    ]  # fmt: skip


OUTCOME = {"commit": SHA, "branch": "main", "state": "failure", "description": "x" * 300}


def github(request: Request) -> Play:
    """The documented request of `POST /repos/{owner}/{repo}/statuses/{sha}`, or the answer GitHub has for another."""
    body = request.json
    fits = (
        request.path == f"/repos/acme/jobs/statuses/{SHA}"
        and request.headers["accept"] == "application/vnd.github+json"
        and request.headers["authorization"] == "Bearer t0ken"
        and request.headers["x-github-api-version"] == "2022-11-28"
        and set(body) <= {"state", "target_url", "description", "context"}
        and body["state"] in ("error", "failure", "pending", "success")
        and len(body["description"]) <= 140
    )
    return Play(201, b"{}") if fits else Play(422, b'{"message":"Validation Failed"}')


def test_github_is_told_of_a_commit() -> None:
    with Server(github) as server:
        settings = {"repository": "acme/jobs", "apiUrl": server.url, "targetUrl": "https://ops.example/reconcile"}
        deliver("github", settings, {"token": Secret("t0ken")}, [OUTCOME])
    (request,) = server.processed
    assert (request.json["state"], request.json["context"]) == ("failure", "reconcile")
    assert request.json["target_url"] == "https://ops.example/reconcile"


def gitlab(request: Request) -> Play:
    """The documented request of `POST /projects/:id/statuses/:sha`."""
    body = request.json
    fits = (
        request.path == f"/api/v4/projects/acme%2Fjobs/statuses/{SHA}"
        and request.headers["private-token"] == "t0ken"
        and set(body) <= {"state", "ref", "name", "target_url", "description", "coverage", "pipeline_id"}
        and body["state"] in ("pending", "running", "success", "failed", "canceled", "skipped")
        and len(body["description"]) <= 255
    )
    return Play(201, b"{}") if fits else Play(400, b'{"error":"state does not have a valid value"}')


def test_gitlab_is_told_of_a_commit() -> None:
    with Server(gitlab) as server:
        deliver("gitlab", {"project": "acme/jobs", "url": server.url}, {"token": Secret("t0ken")}, [OUTCOME])
    (request,) = server.processed
    assert (request.json["state"], request.json["ref"], request.json["name"]) == ("failed", "main", "reconcile")


def test_gitlab_that_says_so_already_is_told() -> None:
    said = b'{"message":"Cannot transition status via :drop from :failed"}'
    with Server([Play(400, said)]) as server:
        deliver("gitlab", {"project": "7", "url": server.url}, {"token": Secret("t0ken")}, [OUTCOME])


@pytest.mark.parametrize(
    ("play", "error", "wait_s"),
    [
        (Play(404, b"no_service"), Fatal, None),
        (Play(401), Fatal, None),
        (Play(302, headers={"Location": "http://127.0.0.1:1/"}), Fatal, None),
        (Play(429, headers={"Retry-After": "30"}), RateLimited, 30),
        (Play(403, headers={"X-RateLimit-Remaining": "0"}), RateLimited, None),
        (Play(403, headers={"Retry-After": "60"}), RateLimited, 60),
        (Play(403), Fatal, None),
        (Play(503, b"rollup_error"), Retriable, None),
        (Play(drop=True), Retriable, None),
    ],
)
def test_what_an_answer_means(play: Play, error: type[RunError], wait_s: float | None) -> None:
    with Server([play]) as server, pytest.raises(error) as caught:
        deliver("slack", {}, {"url": Secret(f"{server.url}/services/s3cret")}, [packed(notice())])
    assert getattr(caught.value, "retry_after_s", None) == wait_s
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("before", [0, 150, 190, 199, MAX_READ - 8, MAX_READ - 4, 2 * MAX_READ])
@pytest.mark.parametrize("channel", ["slack", "webhook", "github", "gitlab"])
def test_no_part_of_a_secret_is_repeated_wherever_the_answer_is_cut(channel: str, before: int) -> None:
    secret = "ghp-S3cr3tValue0123456789"
    blank = b"x" if before < 200 else b" "
    with Server(lambda _: Play(500, blank * before + secret.encode() + b"." * 100)) as server:
        secrets = {
            "slack": {"url": Secret(f"{server.url}/{secret}")},
            "webhook": {"token": Secret(secret), "secret": Secret("another")},
        }.get(channel, {"token": Secret(secret)})
        settings = {"url": server.url, "apiUrl": server.url, "repository": "acme/jobs", "project": "7"}
        told = [OUTCOME] if channel in ("github", "gitlab") else [packed(notice())]
        with pytest.raises(Retriable) as caught:
            deliver(channel, settings, secrets, told)
    assert str(caught.value).startswith("answered 500")
    assert not any(secret[:length] in str(caught.value) for length in range(4, len(secret)))


def test_an_address_that_is_none_is_fatal() -> None:
    with pytest.raises(Fatal, match="the address is not one that can be asked"):
        deliver("slack", {}, {"url": Secret("hooks.slack.example")}, [packed(notice())])
