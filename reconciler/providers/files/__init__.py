"""Files on this machine: CSV, NDJSON and Parquet onto a stream, a stream into files, and references that say more of
profiles. What runs, and the models of configs, are imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Literal

from reconciler.core.provider import Context, Estimate, JobType, Prospect, Provider, Unit
from reconciler.providers.shipped import later, schemas

_SCHEMAS: Final = schemas("files")

Kind = Literal["csv", "ndjson", "parquet"]


def _imports(kind: Kind) -> Callable[[Context], Iterator[Unit]]:
    def run(context: Context) -> Iterator[Unit]:
        from reconciler.providers.files.imports import RUNS

        return RUNS[kind](context)

    return run


def _estimates(kind: Kind) -> Callable[[Prospect], Estimate]:
    def estimate(prospect: Prospect) -> Estimate:
        from reconciler.providers.files.estimate import ESTIMATES

        return ESTIMATES[kind](prospect)

    return estimate


def _exports(kind: Kind) -> Callable[[Context], Iterator[Unit]]:
    def run(context: Context) -> Iterator[Unit]:
        from reconciler.providers.files.exports import RUNS

        return RUNS[kind](context)

    return run


def _import(kind: Kind, title: str, model: str) -> JobType:
    name = f"import-{kind}"
    return JobType(
        name=name,
        type="import",
        title=title,
        schema=_SCHEMAS[name],
        config=later(f"files.config:{model}.model_validate"),
        run=_imports(kind),
        estimate=_estimates(kind),
    )


def _export(kind: Kind, title: str, model: str) -> JobType:
    name = f"export-{kind}"
    config = later(f"files.config:{model}.model_validate")
    return JobType(name=name, type="export", title=title, schema=_SCHEMAS[name], config=config, run=_exports(kind))


PROVIDER = Provider(
    name="files",
    title="Files on this machine",
    job_types=(
        _import("csv", "Import CSV files", "ImportCsv"),
        _import("ndjson", "Import NDJSON files", "ImportNdjson"),
        _import("parquet", "Import Parquet files", "ImportParquet"),
        _export("csv", "Export a stream as CSV", "ExportCsv"),
        _export("ndjson", "Export a stream as NDJSON", "ExportNdjson"),
        _export("parquet", "Export a stream as Parquet", "ExportParquet"),
        JobType(
            name="export-audience",
            type="export",
            title="Keep an audience's members in a file",
            schema=_SCHEMAS["export-audience"],
            config=later("files.audience_config:ExportAudience.model_validate"),
            run=later("files.export_audience:run"),
        ),
        JobType(
            name="enrich-join",
            type="enrichment",
            title="Attributes from a reference file",
            schema=_SCHEMAS["enrich-join"],
            config=later("files.enrich_config:EnrichJoin.model_validate"),
            run=later("files.enrich_join:run"),
            reads_profiles=True,
        ),
    ),
)
