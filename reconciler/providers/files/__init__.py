"""Files on this machine: CSV, NDJSON and Parquet onto a stream, a stream into files, and references that say more of
profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reconciler.core.provider import Context, Estimate, JobType, Prospect, Provider, TypeName, Unit
from reconciler.providers.files import config, enrich_join, estimate, export_audience, exports, imports
from reconciler.providers.files.audience_config import ExportAudience, audience_schema
from reconciler.providers.files.enrich_config import EnrichJoin, enrich_schema


def _job_type(
    name: str,
    type_: TypeName,
    title: str,
    model: type[config.Config],
    run: Callable[[Context], Iterator[Unit]],
    estimate: Callable[[Prospect], Estimate] | None = None,
) -> JobType:
    schema = config.schema(model)
    return JobType(
        name=name, type=type_, title=title, schema=schema, config=model.model_validate, run=run, estimate=estimate
    )


PROVIDER = Provider(
    name="files",
    title="Files on this machine",
    job_types=(
        _job_type(
            "import-csv", "import", "Import CSV files", config.ImportCsv, imports.RUNS["csv"], estimate.ESTIMATES["csv"]
        ),
        _job_type(
            "import-ndjson",
            "import",
            "Import NDJSON files",
            config.ImportNdjson,
            imports.RUNS["ndjson"],
            estimate.ESTIMATES["ndjson"],
        ),
        _job_type(
            "import-parquet",
            "import",
            "Import Parquet files",
            config.ImportParquet,
            imports.RUNS["parquet"],
            estimate.ESTIMATES["parquet"],
        ),
        _job_type("export-csv", "export", "Export a stream as CSV", config.ExportCsv, exports.RUNS["csv"]),
        _job_type("export-ndjson", "export", "Export a stream as NDJSON", config.ExportNdjson, exports.RUNS["ndjson"]),
        _job_type(
            "export-parquet", "export", "Export a stream as Parquet", config.ExportParquet, exports.RUNS["parquet"]
        ),
        JobType(
            name="export-audience",
            type="export",
            title="Keep an audience's members in a file",
            schema=audience_schema(),
            config=ExportAudience.model_validate,
            run=export_audience.run,
        ),
        JobType(
            name="enrich-join",
            type="enrichment",
            title="Attributes from a reference file",
            schema=enrich_schema(),
            config=EnrichJoin.model_validate,
            run=enrich_join.run,
            reads_profiles=True,
        ),
    ),
)
