"""Notices by e-mail: one message, over SMTP with STARTTLS or TLS. A server's certificate is always verified."""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final

from reconciler.core.notices import Notice, headline, plain_text
from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor
from reconciler.errors import Fatal, Retriable
from reconciler.notify.excerpts import excerpt

TIMEOUT_S: Final = 20
#: The usual ports: of submission with STARTTLS, of submission over TLS, and without either.
PORTS: Final[Mapping[str, int]] = {"starttls": 587, "tls": 465, "none": 25}


def send_mail(settings: Mapping[str, Any], secrets: Mapping[str, Secret], notices: Sequence[Notice]) -> None:
    message = message_of(settings, notices)
    security = settings.get("security", "starttls")
    port = settings.get("port", PORTS[security])
    try:
        with _connected(settings["host"], port, security) as server:
            if "password" in secrets:
                server.login(settings.get("username", settings["from"]), secrets["password"].reveal())
            server.send_message(message)
    except smtplib.SMTPAuthenticationError as error:
        raise Fatal("the server refuses user name and password") from error
    except smtplib.SMTPRecipientsRefused as error:
        codes = sorted({code for code, _ in error.recipients.values()})
        raise _by_code(codes[0], f"the server refuses the recipients ({', '.join(map(str, codes))})") from error
    except smtplib.SMTPResponseException as error:
        raise _by_code(
            error.smtp_code, f"the server answered {error.smtp_code}: {_shown(error.smtp_error, secrets)}"
        ) from error
    except smtplib.SMTPNotSupportedError as error:
        raise Fatal(f"the server cannot do what is asked: {error}") from error
    except ssl.SSLCertVerificationError as error:
        raise Fatal(f"the server's certificate is not to be trusted: {error.verify_message}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise Retriable(f"the server {settings['host']}:{port} cannot be reached: {type(error).__name__}") from error


def _connected(host: str, port: int, security: str) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if security == "tls":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_S, context=context)
    server = smtplib.SMTP(host, port, timeout=TIMEOUT_S)
    if security == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def message_of(settings: Mapping[str, Any], notices: Sequence[Notice]) -> EmailMessage:
    """The same notices make the same message, by its id: a server that has it need not show it twice."""
    text = plain_text(notices)
    newest = max(one.at_ms for one in notices)
    message = EmailMessage()
    message["Subject"] = headline(notices)
    message["From"] = settings["from"]
    message["To"] = ", ".join(settings["to"])
    message["Date"] = formatdate(newest / 1000)
    message["Message-ID"] = f"<{hashlib.sha256(f'{newest} {text}'.encode()).hexdigest()[:32]}@reconcile>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text + "\n")
    return message


def _by_code(code: int, message: str) -> Fatal | Retriable:
    return Retriable(message) if 400 <= code < 500 else Fatal(message)


def _shown(text: bytes | str, secrets: Mapping[str, Secret]) -> str:
    return excerpt(text if isinstance(text, bytes) else text.encode("utf-8", "replace"), Redactor(secrets))
