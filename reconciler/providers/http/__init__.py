"""The http provider: JSON answers onto a stream, and a stream's messages to a webhook.

What every spec needs (schemas, methods) is here; models and httpx are imported when something is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.core.provider import JobType, Provider, Secret
from reconciler.providers.http.authorize import METHODS
from reconciler.providers.shipped import later, schemas

_SCHEMAS: Final = schemas("http")


def _check(method: str, credentials: Mapping[str, Secret], uses: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    from reconciler.providers.http.check import check

    return check(method, credentials, uses)


PROVIDER: Final = Provider(
    name="http",
    title="HTTP APIs and webhooks",
    methods=METHODS,
    job_types=(
        JobType(
            name="import-json",
            type="import",
            title="Import JSON from an HTTP API",
            schema=_SCHEMAS["import-json"],
            config=later("http.config:ImportJson.model_validate"),
            run=later("http.import_json:run"),
            authorization="optional",
        ),
        JobType(
            name="export-webhook",
            type="export",
            title="Post a stream's messages to a webhook",
            schema=_SCHEMAS["export-webhook"],
            config=later("http.config:ExportWebhook.model_validate"),
            run=later("http.webhook:run"),
            authorization="optional",
        ),
        JobType(
            name="export-audience",
            type="export",
            title="Keep an audience's members at an HTTP endpoint",
            schema=_SCHEMAS["export-audience"],
            config=later("http.config:ExportAudience.model_validate"),
            run=later("http.export_audience:run"),
            authorization="optional",
        ),
        JobType(
            name="enrich-lookup",
            type="enrichment",
            title="Attributes from an HTTP API",
            schema=_SCHEMAS["enrich-lookup"],
            config=later("http.enrich_config:EnrichLookup.model_validate"),
            run=later("http.enrich_lookup:run"),
            authorization="optional",
            reads_profiles=True,
        ),
    ),
    check=_check,
)
