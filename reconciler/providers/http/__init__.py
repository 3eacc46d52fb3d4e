"""The http provider: JSON answers onto a stream, and a stream's messages to a webhook.

What every spec needs (schemas, methods) is here; httpx is imported when something is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.core.provider import Context, JobType, Provider, Secret, Unit
from reconciler.providers.http.authorize import METHODS
from reconciler.providers.http.config import ExportAudience, ExportWebhook, ImportJson, schema_of
from reconciler.providers.http.enrich_config import EnrichLookup, lookup_schema


def _import_json(context: Context) -> Iterator[Unit]:
    from reconciler.providers.http.import_json import run

    return run(context)


def _export_webhook(context: Context) -> Iterator[Unit]:
    from reconciler.providers.http.webhook import run

    return run(context)


def _export_audience(context: Context) -> Iterator[Unit]:
    from reconciler.providers.http.export_audience import run

    return run(context)


def _enrich_lookup(context: Context) -> Iterator[Unit]:
    from reconciler.providers.http.enrich_lookup import run

    return run(context)


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
            schema=schema_of(ImportJson),
            config=ImportJson.model_validate,
            run=_import_json,
            authorization="optional",
        ),
        JobType(
            name="export-webhook",
            type="export",
            title="Post a stream's messages to a webhook",
            schema=schema_of(ExportWebhook),
            config=ExportWebhook.model_validate,
            run=_export_webhook,
            authorization="optional",
        ),
        JobType(
            name="export-audience",
            type="export",
            title="Keep an audience's members at an HTTP endpoint",
            schema=schema_of(ExportAudience),
            config=ExportAudience.model_validate,
            run=_export_audience,
            authorization="optional",
        ),
        JobType(
            name="enrich-lookup",
            type="enrichment",
            title="Attributes from an HTTP API",
            schema=lookup_schema(),
            config=EnrichLookup.model_validate,
            run=_enrich_lookup,
            authorization="optional",
            reads_profiles=True,
        ),
    ),
    check=_check,
)
