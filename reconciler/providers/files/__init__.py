"""Files on this machine: CSV, NDJSON and Parquet onto a stream, and a stream into files."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from reconciler.core.provider import Context, JobType, Provider, TypeName, Unit
from reconciler.providers.files import config, exports, imports


def _job_type(
    name: str, type_: TypeName, title: str, model: type[config.Config], run: Callable[[Context], Iterator[Unit]]
) -> JobType:
    return JobType(
        name=name, type=type_, title=title, schema=config.schema(model), config=model.model_validate, run=run
    )


PROVIDER = Provider(
    name="files",
    title="Files on this machine",
    job_types=(
        _job_type("import-csv", "import", "Import CSV files", config.ImportCsv, imports.RUNS["csv"]),
        _job_type("import-ndjson", "import", "Import NDJSON files", config.ImportNdjson, imports.RUNS["ndjson"]),
        _job_type("import-parquet", "import", "Import Parquet files", config.ImportParquet, imports.RUNS["parquet"]),
        _job_type("export-csv", "export", "Export a stream as CSV", config.ExportCsv, exports.RUNS["csv"]),
        _job_type("export-ndjson", "export", "Export a stream as NDJSON", config.ExportNdjson, exports.RUNS["ndjson"]),
        _job_type(
            "export-parquet", "export", "Export a stream as Parquet", config.ExportParquet, exports.RUNS["parquet"]
        ),
    ),
)
