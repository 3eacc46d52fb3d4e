"""`auth check`: asks the addresses of the jobs that use an authorization, in ways that change nothing there.

An import's URL is requested as a run would request it first; all others are asked with OPTIONS (RFC 9110, 9.3.7), which
tells at least whether they can be reached and whether the credentials are refused outright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.core.provider import Secret
from reconciler.errors import Retriable
from reconciler.providers.http.answers import failure
from reconciler.providers.http.authorize import credential_headers, redactor_of
from reconciler.providers.http.client import Client, label
from reconciler.providers.http.config import ExportAudience, ExportWebhook, ImportJson
from reconciler.providers.http.enrich_config import VALUE, EnrichLookup
from reconciler.providers.http.pages import first_place, request_url

#: So many different addresses are asked at most.
MAX_ASKED: Final = 10

#: What the config of each job type is.
_MODELS: Final[Mapping[str, type[ImportJson | ExportWebhook | ExportAudience | EnrichLookup]]] = {
    "import-json": ImportJson,
    "export-webhook": ExportWebhook,
    "export-audience": ExportAudience,
    "enrich-lookup": EnrichLookup,
}


def check(method: str, credentials: Mapping[str, Secret], uses: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """One line that says what was found. Raises Fatal where the credentials are refused, Retriable where an address
    cannot be reached."""
    credential_headers(method, credentials, "X-API-Key")
    asked: dict[tuple[str, str], str] = {}
    for job_type, config in uses:
        verb = "GET" if job_type == "import-json" else "OPTIONS"
        if (verb, config["url"]) not in asked and len(asked) < MAX_ASKED:
            asked[verb, config["url"]] = _ask(verb, method, credentials, _MODELS[job_type].model_validate(config))
    if not asked:
        return "the credentials are there; no job uses them, so there was no address to ask"
    return "; ".join(asked.values())


def _ask(
    verb: str, method: str, credentials: Mapping[str, Secret],
    model: ImportJson | ExportWebhook | ExportAudience | EnrichLookup,
) -> str:  # fmt: skip
    private = {**model.headers, **credential_headers(method, credentials, model.api_key_header)}
    url = str(model.url).replace(VALUE, "nobody")
    if isinstance(model, ImportJson):
        url = request_url(model, first_place(model.pagination), None)
    with Client(allow_private=model.allow_private_addresses, timeout_s=model.timeout_seconds) as client:
        answer = client.request(verb, url, headers={}, private=private, whole=False)
    refused = answer.status in (401, 403, 407) or (verb == "GET" and answer.status >= 400)
    if refused:
        raise failure(verb, answer, Clock().now().wall_ms, redactor_of(method, credentials))
    if answer.status >= 500 and answer.status != 501:
        raise Retriable(f"{verb} {label(url)}: answered {answer.status}")
    return f"{verb} {label(url)}: answered {answer.status}"
