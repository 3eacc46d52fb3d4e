"""What a spec may say under `config` for each job type of `files`; the JSON Schemas are made from these models.

An import's cursor is kept for each file, so a changed `path` drops nothing. What changes the meaning of content that
has landed already does: the plan says so. A changed `timestampField` holds for what lands from then on.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from reconciler.core import time_format

_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_RESETS: Final[dict[str, Any]] = {"x-resetsCursor": True}
IS_PATH: Final[dict[str, Any]] = {"x-path": True}
#: No glob, and no placeholder but `{run}`: another one would be a name that nobody meant.
EXPORT_PATH: Final = r"^([^*?\[\]{}]|\{run\})+$"

Encoding = Literal[
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "iso-8859-2", "iso-8859-15",
    "cp1250", "cp1251", "cp1252", "shift_jis", "euc-kr", "gb18030", "big5",
]  # fmt: skip
#: Any printable ASCII character or a tab, but none that may be a quote.
Delimiter = Annotated[str, Field(pattern=r"^[\t !#-&(-_a-~]$")]
Quote = Literal['"', "'", "`", ""]


class Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class _Import(Config):
    path: str = Field(
        min_length=1,
        description="A file or a glob, relative to the spec's folder.",
        examples=["data/orders-*.csv.gz"],
        json_schema_extra=IS_PATH,
    )
    stream: str = Field(
        pattern=_NAME, max_length=63, description="The stream that the messages land on.",
        examples=["orders"], json_schema_extra={"x-stream": "writes", **_RESETS},
    )  # fmt: skip
    timestamp_field: str | None = Field(
        default=None,
        min_length=1,
        description="The column that holds a message's own time.",
        examples=["ordered_at"],
    )
    timestamp_format: str | None = Field(
        default=None,
        pattern=time_format.PATTERN,
        description=time_format.DESCRIPTION,
        examples=["%d/%m/%Y %H:%M"],
    )
    max_rejects: int = Field(
        default=0, ge=0, description="How many bad rows a run may leave out before it fails, over all its attempts."
    )


class _TextImport(_Import):
    encoding: Encoding = Field(default="utf-8", description="How the text is encoded.", json_schema_extra=_RESETS)
    compression: Literal["auto", "none", "gzip", "zstd"] = Field(
        default="auto", description="`auto` goes by the file's first bytes."
    )


class ImportCsv(_TextImport):
    delimiter: Delimiter = Field(default=",", description="The character between fields.", json_schema_extra=_RESETS)
    quote: Quote = Field(
        default='"', description="The character around fields; empty where none quotes.", json_schema_extra=_RESETS
    )
    header: bool = Field(
        default=True,
        description="Whether the first row holds the columns' names. An empty name becomes `column<index>`, a repeated one "
        "gets `_1`, `_2` and so on.",
        json_schema_extra=_RESETS,
    )
    columns: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The columns' names where there is no header, or in the place of those in it.",
        examples=[["order_id", "ordered_at", "amount"]],
        json_schema_extra=_RESETS,
    )


class ImportNdjson(_TextImport):
    pass


class ImportParquet(_Import):
    pass


class _Export(Config):
    stream: str = Field(
        pattern=_NAME, max_length=63, description="The stream that is exported.",
        examples=["orders"], json_schema_extra={"x-stream": "reads", **_RESETS},
    )  # fmt: skip
    path: str = Field(
        min_length=1,
        pattern=EXPORT_PATH,
        description="The file (no glob), relative to the spec's folder; `{run}` stands for the run's number.",
        examples=["out/orders.parquet", "out/orders-{run}.csv.gz"],
        json_schema_extra=IS_PATH,
    )
    only: Literal["all", "new"] = Field(
        default="all", description="The whole stream, or what is new since the last run (then `path` holds `{run}`)."
    )
    meta: bool = Field(
        default=False,
        description="Whether to add `_timestamp`, `_received`, `_job`, `_run` and `_unit` of each message.",
    )


class _TextExport(_Export):
    compression: Literal["auto", "none", "gzip", "zstd"] = Field(
        default="auto", description="`auto` goes by the path's ending: `.gz` or `.zst`."
    )


class ExportCsv(_TextExport):
    delimiter: Delimiter = Field(default=",", description="The character between fields.")
    quote: Literal['"', "'", "`"] = Field(default='"', description="The character around fields that need it.")
    header: bool = Field(default=True, description="Whether the first row holds the columns' names.")


class ExportNdjson(_TextExport):
    pass


class ExportParquet(_Export):
    compression: Literal["auto", "none", "gzip", "zstd", "snappy"] = Field(
        default="auto", description="How pages are compressed; `auto` is zstd."
    )


#: An export of what is new must not replace an earlier one's file.
NEW_NEEDS_RUN: Final = {
    "if": {"properties": {"only": {"const": "new"}}, "required": ["only"]},
    "then": {"properties": {"path": {"pattern": r"\{run\}"}}},
}


def schema_of(model: type[Config]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model, in the names that specs use."""
    made = model.model_json_schema(by_alias=True)
    made.pop("title", None)
    made["properties"] = {name: _property(found) for name, found in made["properties"].items()}
    return made | (NEW_NEEDS_RUN if issubclass(model, _Export) else {})


def _property(made: dict[str, Any]) -> dict[str, Any]:
    """A property without what pydantic adds: its generated title, and null where leaving it out says the same."""
    made = {name: value for name, value in made.items() if name != "title"}
    choices = [choice for choice in made.pop("anyOf", []) if choice != {"type": "null"}]
    if choices:
        made |= choices[0]
        made.pop("default", None)
    return made
