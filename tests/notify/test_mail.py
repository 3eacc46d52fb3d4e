"""Notices by e-mail, to a real mail server on loopback."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from reconciler.core.notices import Notice, Trouble, What, packed
from reconciler.core.provider import Secret
from reconciler.errors import Fatal, Retriable
from reconciler.notify import deliver
from tests.servers import TLS_CERTIFICATE, TLS_KEY

NOTICE = packed(
    Notice(
        trouble=Trouble(
            what=What.FAILED,
            kind="Job",
            name="export-vip",
            path="crm.yaml",
            message="no more\r\nBcc: x@y.z",
            since_ms=1_000,
        ),
        at_ms=2_000,
    )
)


class Mailbox:
    """What arrived; refuses whom it is told to."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuse = ""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(envelope)
        return "250 Message accepted"


def login(_server: Any, _session: Any, _envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"ops", b"s3cret")
    return AuthResult(success=right, handled=right)


class AnyPort(Controller):
    """Listens on a port that the system chooses."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server(mailbox: Mailbox, **options: Any) -> Iterator[int]:
    controller = AnyPort(mailbox, hostname="127.0.0.1", port=0, **options)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop(no_assert=True)


def settings(port: int, **more: Any) -> dict[str, Any]:
    return {
        "host": "localhost",
        "port": port,
        "security": "none",
        "from": "reconcile@example.org",
        "to": ["ops@example.org"],
        **more,
    }


def test_a_message_arrives_and_nothing_in_a_spec_becomes_a_header() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        deliver("email", settings(port), {}, [NOTICE])
    (envelope,) = mailbox.mails
    assert envelope.rcpt_tos == ["ops@example.org"]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert (message["Subject"], message["From"], message["To"]) == (
        "reconcile: 1 failed", "reconcile@example.org", "ops@example.org",
    )  # fmt: skip
    assert message["Bcc"] is None
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().strip() == "Failed: Job export-vip at crm.yaml: no more Bcc: x@y.z"


@pytest.mark.filterwarnings("ignore:Session.login_data is deprecated")  # by the server's library itself
def test_starttls_and_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(TLS_CERTIFICATE))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_CERTIFICATE, TLS_KEY)
    mailbox = Mailbox()
    secured = {"tls_context": context, "authenticator": login, "auth_required": True}
    with mail_server(mailbox, **secured) as port:
        told = settings(port, security="starttls", username="ops")
        deliver("email", told, {"password": Secret("s3cret")}, [NOTICE])
        assert len(mailbox.mails) == 1
        with pytest.raises(Fatal, match="the server refuses user name and password"):
            deliver("email", told, {"password": Secret("wrong")}, [NOTICE])


def test_a_certificate_that_nobody_vouches_for_is_refused() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS_CERTIFICATE, TLS_KEY)
    mailbox = Mailbox()
    with mail_server(mailbox, tls_context=context) as port, pytest.raises(Fatal, match="not to be trusted"):
        deliver("email", settings(port, security="starttls"), {}, [NOTICE])
    assert mailbox.mails == []


def test_a_server_without_starttls_is_not_spoken_to_in_clear() -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port, pytest.raises(Fatal, match="the server cannot do what is asked"):
        deliver("email", settings(port, security="starttls"), {}, [NOTICE])
    assert mailbox.mails == []


@pytest.mark.parametrize(("refusal", "error"), [("550 no such user", Fatal), ("451 try later", Retriable)])
def test_what_a_refusal_means(refusal: str, error: type[Exception]) -> None:
    mailbox = Mailbox()
    mailbox.refuse = refusal
    with mail_server(mailbox) as port, pytest.raises(error, match="the server refuses the recipients"):
        deliver("email", settings(port), {}, [NOTICE])


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(Retriable, match="cannot be reached"):
        deliver("email", settings(1), {}, [NOTICE])
