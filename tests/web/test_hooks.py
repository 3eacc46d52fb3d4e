"""The push hook over HTTP: only a sender that knows the secret wakes the controller."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.data.journal import PUSHES
from tests.web.served import Served

SECRET = "the-secret-of-the-forge"
BODY = b'{"ref": "refs/heads/main"}'


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    state = tmp_path_factory.mktemp("hooked")
    (state / "push").write_text(f"{SECRET}\n")
    (state / "intake").mkdir()
    os.mkfifo(state / "intake" / "wake")
    with Served(state) as process:
        process.declare(push={"folder": str(state), "secret": {"file": "push"}})
        yield process


def digits(body: bytes = BODY, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def noted(served: Served) -> int:
    pushes = served.folder / PUSHES
    return pushes.stat().st_size if pushes.exists() else 0


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": f"sha256={digits()}"},
        {"X-Hub-Signature": f"sha256={digits()}"},
        {"X-Hub-Signature-256": f"SHA256={digits().upper()}"},
        {"X-Gitea-Signature": digits()},
        {"X-Forgejo-Signature": digits()},
        {"X-Gogs-Signature": digits()},
        {"X-Gitlab-Token": SECRET},
    ],
    ids=["github", "bitbucket", "capitals", "gitea", "forgejo", "gogs", "gitlab"],
)
def test_a_push_that_is_signed_is_noted_and_wakes_the_controller(hooked: Served, headers: dict[str, str]) -> None:
    pipe = os.open(hooked.folder / "wake", os.O_RDONLY | os.O_NONBLOCK)
    try:
        before = noted(hooked)
        answer = hooked.client.post("/hooks/push", content=BODY, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"status": "ok"})
        assert noted(hooked) == before + 1
        assert os.read(pipe, 100) == b"w"
    finally:
        os.close(pipe)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": f"sha256={digits(b'{}')}"},
        {"X-Hub-Signature-256": f"sha256={digits(secret='another')}"},
        {"X-Hub-Signature-256": "sha256=\u00e9".encode("latin-1").decode("latin-1")},
        {"X-Gitea-Signature": SECRET},
        {"X-Gitlab-Token": "another"},
        {"X-Gitlab-Token": digits()},
        {"X-Gitlab-Token": ""},
    ],
    ids=["other-body", "other-secret", "no-digits", "secret-as-digits", "other-token", "digits-as-token", "no-token"],
)
def test_a_push_that_is_signed_wrongly_is_refused_and_counted(hooked: Served, headers: dict[str, str]) -> None:
    before = noted(hooked)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    answer = hooked.client.post("/hooks/push", content=BODY, headers=raw)
    assert (answer.status_code, answer.json()) == (
        403,
        {"error": "The request is not signed with the secret of the push hook."},
    )
    assert noted(hooked) == before
    metrics = hooked.client.get("/metrics").text
    assert 'reconcile_intake_requests_total{endpoint="hooks/push",status="403"}' in metrics


@pytest.mark.parametrize("headers", [{}, {"X-Hub-Signature": "sha1=abc"}, {"X-Hub-Signature-256": "sha256="}])
def test_a_push_without_a_signature_is_told_which_there_are(hooked: Served, headers: dict[str, str]) -> None:
    answer = hooked.client.post("/hooks/push", content=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"] == (
        "The request is not signed; one of these headers is needed: x-hub-signature-256, x-hub-signature, "
        "x-forgejo-signature, x-gitea-signature, x-gogs-signature, x-gitlab-token."
    )


def test_only_a_post_of_a_body_within_the_limit_is_answered(tmp_path: Path) -> None:
    (tmp_path / "push").write_text(SECRET)
    with Served(tmp_path, hook_bytes=100) as process:
        process.declare(push={"folder": str(tmp_path), "secret": {"file": "push"}})
        get = process.client.get("/hooks/push")
        assert (get.status_code, get.headers["Allow"]) == (405, "POST")
        large = b"x" * 101
        headers = {"X-Hub-Signature-256": f"sha256={digits(large)}"}
        announced = process.client.post("/hooks/push", content=large, headers=headers)
        in_pieces = process.client.post("/hooks/push", content=iter([large]), headers=headers)
        for answer in (announced, in_pieces):
            assert (answer.status_code, answer.json()) == (
                413,
                {"error": "The body of a push hook may have 100 bytes."},
            )
        assert noted(process) == 0


def test_without_a_declared_secret_there_is_no_hook(served: Served) -> None:
    answer = served.client.post("/hooks/push", content=BODY, headers={"X-Gitlab-Token": "x"})
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        "No push hook is declared; hooks.push.secret in reconciler.yaml declares one.",
    )


def test_a_secret_that_cannot_be_had_is_said_in_the_log_and_accepts_nobody(tmp_path: Path) -> None:
    with Served(tmp_path) as process:
        process.declare(push={"folder": str(tmp_path), "secret": {"file": "nowhere"}})
        answer = process.client.post("/hooks/push", content=BODY, headers={"X-Gitlab-Token": ""})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert answer.json()["error"] == ("The secret of the push hook cannot be had; the log of the intake says why.")
    log = (tmp_path / "log").read_text()
    assert "hooks.push: secret: the file nowhere cannot be read: No such file or directory\n" in log


def test_the_hook_is_described(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    assert set(document["paths"]["/hooks/push"]["post"]["responses"]) >= {"202", "401", "403", "404", "413"}
    assert json.dumps(document).count(SECRET) == 0
