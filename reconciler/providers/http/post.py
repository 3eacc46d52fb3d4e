"""How a batch leaves: with the job's headers and credentials, its idempotency key, compressed and signed where that is asked
for."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from reconciler.core.provider import Context
from reconciler.errors import Fatal
from reconciler.providers.http.authorize import credential_headers, redactor_of
from reconciler.providers.http.batches import signature

if TYPE_CHECKING:
    from reconciler.providers.http.client import Answer, Client
    from reconciler.providers.http.config import Posting


class Post:
    """Sends bodies for one run. `redactor` takes out of answers what they echo of the request."""

    def __init__(self, context: Context, config: Posting, client: Client) -> None:
        self._config = config
        self._client = client
        self._private = {
            **config.headers,
            **credential_headers(context.method, context.credentials, config.api_key_header),
        }
        self.redactor = redactor_of(context.method, context.credentials)
        self._secret = _signing_secret(context) if config.signature else ""

    def send(self, method: str, url: str, body: bytes, key: str, *, whole: bool = False) -> Answer:
        """The answer, cut off where not `whole`. Raises as `Client.request` does."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self._config.compression == "gzip":
            body = gzip.compress(body, compresslevel=6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        if self._config.signature:
            headers[self._config.signature.header] = signature(body, self._secret)
        return self._client.request(method, url, headers=headers, private=self._private, content=body, whole=whole)


def _signing_secret(context: Context) -> str:
    if "signingSecret" not in context.credentials:
        raise Fatal("`signature` needs the credential `signingSecret` in the job's authorization")
    return context.credentials["signingSecret"].reveal()
