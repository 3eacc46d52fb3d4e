"""The ways to authorize a request, and the headers that each of them makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reconciler.core.provider import Method, Secret
from reconciler.errors import Fatal

if TYPE_CHECKING:
    from reconciler.core.redact import Redactor

_SIGNING: Final = {
    "signingSecret": "The key of the HMAC-SHA256 signature that `signature` in a webhook's config asks for"
}

METHODS: Final = (
    Method(name="none", title="No authorization", optional=_SIGNING),
    Method(
        name="basic",
        title="User name and password",
        fields={"username": "The user's name", "password": "The user's password"},
        optional=_SIGNING,
    ),
    Method(
        name="bearer", title="Bearer token", fields={"token": "The token, without the word Bearer"}, optional=_SIGNING
    ),
    Method(
        name="api-key",
        title="API key in a header",
        fields={"key": "The key; the header is the job's `apiKeyHeader`, X-API-Key unless set"},
        optional=_SIGNING,
    ),
)


def credential_headers(method: str, credentials: Mapping[str, Secret], api_key_header: str) -> dict[str, str]:
    """The headers that authorize a request. Raises Fatal where a credential is missing or a name cannot be encoded."""
    match method:
        case "" | "none":
            return {}
        case "basic":
            user, password = _take(credentials, "username"), _take(credentials, "password")
            if ":" in user:
                raise Fatal("the credential `username` holds a colon, which basic authorization cannot carry")
            import base64  # here and below: this module is loaded with the catalogue

            pair = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
            return {"Authorization": f"Basic {pair}"}
        case "bearer":
            return {"Authorization": f"Bearer {_take(credentials, 'token')}"}
        case "api-key":
            return {api_key_header: _take(credentials, "key")}
    raise Fatal(f"unknown authorization method {method!r}")


def redactor_of(method: str, credentials: Mapping[str, Secret]) -> Redactor:
    """Takes out of an answer what it echoes of a request: the credentials, and what a header makes of them."""
    from reconciler.core.redact import Redactor

    values = credential_headers(method, credentials, "").values()
    return Redactor([*credentials.values(), *(Secret(value.rpartition(" ")[2]) for value in values)])


def _take(credentials: Mapping[str, Secret], name: str) -> str:
    if name not in credentials:
        raise Fatal(f"the credential `{name}` is missing")
    return credentials[name].reveal()
