"""What a spec may say under `config` for `enrich-join`.

A changed key or stream drops the cursor: what was said before was said of others, or elsewhere. A changed choice of
columns does not: rows that say something else now are messages again, the others are not.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from reconciler.core import time_format
from reconciler.providers.files.config import IS_PATH, Config, Delimiter, Encoding, Quote, schema_of

_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_RESETS: Final[dict[str, Any]] = {"x-resetsCursor": True}


class Key(Config):
    column: str | None = Field(
        default=None,
        min_length=1,
        description="The column of the reference that holds the identifier; named as the identity unless set.",
        examples=["tailnum"],
    )
    identity: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=63,
        description="The identity key whose values those are; `stream` declares it with this column as its `from`.",
        examples=["tail"],
    )


class EnrichJoin(Config):
    path: str = Field(
        min_length=1,
        description="The reference: a file or a glob, relative to the spec's folder.",
        examples=["data/planes.csv", "data/regions-*.parquet"],
        json_schema_extra=IS_PATH,
    )
    format: Literal["csv", "ndjson", "parquet"] = Field(default="csv", description="How the reference is written.")
    stream: str = Field(
        pattern=_NAME, max_length=63, description="The stream that the messages land on.",
        examples=["planes"], json_schema_extra={"x-stream": "writes", **_RESETS},
    )  # fmt: skip
    key: Key = Field(
        description="How a row says whom it speaks of.",
        examples=[{"column": "tailnum", "identity": "tail"}],
        json_schema_extra=_RESETS,
    )
    columns: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The columns that become attributes, beside the key; all unless set.",
        examples=[["manufacturer", "model"]],
    )
    match: Literal["profiles", "all"] = Field(
        default="profiles",
        description="`profiles`: only rows whose key is an identifier of a profile. `all`: every row.",
    )
    timestamp_field: str | None = Field(
        default=None,
        min_length=1,
        description="The column that says since when a row is so; unless set, messages get a column `enriched_at` with the "
        "time of the run.",
        examples=["valid_from"],
    )
    timestamp_format: str | None = Field(
        default=None,
        pattern=time_format.PATTERN,
        description=time_format.DESCRIPTION,
        examples=["%d/%m/%Y %H:%M"],
    )
    delimiter: Delimiter = Field(default=",", description="Of CSV: the character between fields.")
    quote: Quote = Field(default='"', description="Of CSV: the character around fields; empty where none quotes.")
    encoding: Encoding = Field(default="utf-8", description="Of CSV and NDJSON: how the text is encoded.")
    compression: Literal["auto", "none", "gzip", "zstd"] = Field(
        default="auto", description="Of CSV and NDJSON; `auto` goes by the file's first bytes."
    )
    max_rejects: int = Field(
        default=0, ge=0, description="How many bad rows a run may leave out before it fails, over all its attempts."
    )

    @property
    def column(self) -> str:
        """The column that holds the identifier."""
        return self.key.column or self.key.identity


def enrich_schema() -> dict[str, Any]:
    """The JSON Schema of the config, with the key's inline."""
    made = schema_of(EnrichJoin)
    made.pop("$defs")
    of_key = {name: value for name, value in schema_of(Key).items() if name != "description"}
    made["properties"]["key"] = {**of_key, **{k: v for k, v in made["properties"]["key"].items() if k != "$ref"}}
    return made
