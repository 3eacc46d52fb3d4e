"""What a spec may say under `config` of `files: export-audience`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from reconciler.core.members import Spares
from reconciler.providers.files.config import EXPORT_PATH, IS_PATH, NEW_NEEDS_RUN, Delimiter
from reconciler.providers.mirror.config import MirrorConfig
from reconciler.providers.schemas import schema_of


class ExportAudience(MirrorConfig):
    path: str = Field(
        min_length=1,
        pattern=EXPORT_PATH,
        description="The file (no glob), relative to the spec's folder; `{run}` stands for the run's number",
        examples=["out/big-spenders.csv", "out/changes-{run}.ndjson.gz"],
        json_schema_extra=IS_PATH,
    )
    format: Literal["csv", "ndjson", "parquet"] = Field(
        description="How the file is written; in CSV and Parquet every field is text"
    )
    only: Literal["all", "new"] = Field(
        "all",
        description="All members, in a file that is replaced whenever one came, changed or left, and written again where "
        "it is gone (with `backfill: false` there is none until then); or what each run has changed, with an `action` column "
        "(then `path` holds `{run}`)",
    )
    compression: Literal["auto", "none", "gzip", "zstd"] = Field(
        "auto", description="`auto` goes by the path's ending, `.gz` or `.zst`, and is zstd inside Parquet"
    )
    delimiter: Delimiter = Field(",", description="The character between the fields of CSV")
    quote: Literal['"', "'", "`"] = Field('"', description="The character around fields of CSV that need it")
    header: bool = Field(True, description="Whether the first row of CSV holds the fields' names")

    def spares(self) -> Spares:
        """A file of all members is written anew, one line each; who reads a file of changes looks them up."""
        return "never" if self.only == "all" else "at once"


def audience_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the model."""
    return schema_of(ExportAudience) | NEW_NEEDS_RUN
