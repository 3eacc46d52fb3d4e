"""What the config models of http and of exports of audiences have in common: fields in camelCase as in specs, nothing
unknown, nothing null, nothing guessed."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel


class Strict(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_null(cls, values: Any) -> Any:
        """A field that is not set is left out."""
        if isinstance(values, dict) and (empty := sorted(str(name) for name, value in values.items() if value is None)):
            raise ValueError(f"{empty[0]} is null; leave it out instead")
        return values
