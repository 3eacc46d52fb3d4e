"""The mapped fields of members: from an attribute's or key's value to the JSON object that a destination is sent.

Values become text and JSON in SQL, over whole columns: decimals as text, times as ISO 8601 with Z, numbers and truth values
as they are, sets as arrays; what is empty is null. A decimal without places, such as a sum of integers, is a number where 64
bits hold it, as an integer is; beyond that it is text, which no reader rounds. Transforms are Python, and run over blocks of
the values of the fields that have one. A value of which nothing is left is null too; what is required, and then missing, leaves
its member out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from reconciler.core.document import canonical, digest_of
from reconciler.core.members import NOBODY_KNOWN, PROFILE_ID, MappedField
from reconciler.core.suggest import did_you_mean
from reconciler.core.transforms import BadTransform, Transform, parse_transforms
from reconciler.core.value import dataclass
from reconciler.data.names import sql_string
from reconciler.errors import Fatal

#: Raised when the same fields would be written as other JSON: every member is mapped again then.
FORM: Final = 1

#: How an untransformed value of each type is written as JSON, and as text for a transform; `{c}` is the column.
_AS_JSON: Final[Mapping[str, str]] = {
    "text": "to_json(nullif({c}, ''))::VARCHAR",
    "integer": "{c}::VARCHAR",
    "boolean": "{c}::VARCHAR",
    "double": "CASE WHEN isfinite({c}) THEN {c}::VARCHAR END",
    "decimal": "'\"' || {c}::VARCHAR || '\"'",
    "whole": "CASE WHEN {c} BETWEEN -9223372036854775808 AND 9223372036854775807 THEN {c}::VARCHAR "
    "ELSE '\"' || {c}::VARCHAR || '\"' END",
    "date": "CASE WHEN isfinite({c}) THEN '\"' || {c}::VARCHAR || '\"' END",
    "timestamp": "CASE WHEN isfinite({c}) THEN '\"' || replace({c}::VARCHAR, ' ', 'T') || 'Z\"' END",
    "list": "CASE WHEN len({c}) > 0 THEN to_json({c})::VARCHAR END",
}
_AS_TEXT: Final[Mapping[str, str]] = {
    "timestamp": "replace({c}::VARCHAR, ' ', 'T') || 'Z'",
    **dict.fromkeys(("text", "integer", "boolean", "double", "decimal", "whole", "date"), "{c}::VARCHAR"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field with what it is made of. `expression` is the SQL of its value in a view of profiles; `name` is the column
    that holds the value from then on."""

    field: MappedField
    name: str
    expression: str
    type: str
    transform: Transform
    identifies: bool

    @property
    def json(self) -> str:
        """The column that holds the value's JSON, once `as_json` was worked out."""
        return f"j{self.name}"

    @property
    def as_text(self) -> str:
        return _AS_TEXT[self.type].format(c=self.name)

    @property
    def as_json(self) -> str:
        """The SQL of the value's JSON, null where there is none; of the transformed text where there is a transform."""
        return _AS_JSON["text" if self.transform.steps else self.type].format(c=self.name)


@dataclass(frozen=True, slots=True)
class Mapped:
    """All fields of an export, and what of the profiles they need."""

    columns: tuple[Column, ...]
    attributes: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def shape(self) -> str:
        """Names the mapping: with another one, every member is mapped again."""
        fields = [
            [one.field.name, one.expression, one.type, one.transform.name, one.field.required, one.identifies]
            for one in self.columns
        ]
        return digest_of([FORM, fields])

    @property
    def transformed(self) -> tuple[Column, ...]:
        return tuple(one for one in self.columns if one.transform.steps)

    def json_sql(self) -> str:
        """The columns of the values' JSON, after which the others below can be worked out."""
        return ", ".join(f"{one.as_json} AS {one.json}" for one in self.columns)

    def payload_sql(self) -> str:
        """The JSON object of the fields, in the order of the spec."""
        members = [
            f"{sql_string(('{' if not number else ',') + canonical(one.field.name) + ':')} || coalesce({one.json}, 'null')"
            for number, one in enumerate(self.columns)
        ]
        return " || ".join([*members, "'}'"])

    def reason_sql(self) -> str:
        """Why a member cannot be sent; empty where it can."""
        needed = [one for one in self.columns if one.field.required]
        cases = [f"WHEN {one.json} IS NULL THEN {sql_string(f'no {one.field.name}')}" for one in needed]
        known_by = [one for one in self.columns if one.identifies]
        nothing = " AND ".join(f"{one.json} IS NULL" for one in known_by)
        names = ", ".join(one.field.name for one in known_by)
        return f"CASE {' '.join(cases)} WHEN {nothing} THEN {sql_string(f'no identifier ({names})')} ELSE '' END"

    def idents_sql(self) -> str:
        """A number for each identifier, null where it is missing: half of an MD5, because a ledger outlives any other
        hash."""
        numbers = [
            f"(md5_number({sql_string(one.field.name + ':')} || {one.json}) >> 64)::UBIGINT"
            for one in self.columns
            if one.identifies
        ]
        return f"[{', '.join(numbers)}]"

    def previous_sql(self, payload: str, idents: str) -> str:
        """The JSON object of the identifiers in an earlier payload, whose numbers were `idents`: those of this mapping, null
        where they were none, and those of the mapping that it came of."""
        known_by = [one.field.name for one in self.columns if one.identifies]
        members = [
            f"{sql_string(('{' if not number else ',') + canonical(name) + ':')} || "
            f"CASE WHEN {identified(payload, idents, sql_string(name))} THEN {value_of(payload, sql_string(name))} "
            "ELSE 'null' END"
            for number, name in enumerate(known_by)
        ]
        others = (
            f"array_to_string(list_transform(list_filter(json_keys({payload}), lambda k: k NOT IN "
            f"({', '.join(map(sql_string, known_by))}) AND {identified(payload, idents, 'k')}), "
            f"lambda k: ',' || to_json(k)::VARCHAR || ':' || {value_of(payload, 'k')}), '')"
        )
        return " || ".join([*members, others, "'}'"])


def value_of(payload: str, name: str) -> str:
    """The SQL of a field's JSON in a payload."""
    return f"json_extract({payload}, '$.' || to_json({name})::VARCHAR)::VARCHAR"


def identified(payload: str, idents: str, name: str) -> str:
    """The SQL of whether a field of a payload was an identifier: its number is among these."""
    number = f"(md5_number({name} || ':' || {value_of(payload, name)}) >> 64)::UBIGINT"
    return f"coalesce(list_contains({idents}, {number}), false)"


def without_sql(payload: str, idents: str) -> str:
    """The SQL of a payload in which those fields are null that were identifiers of these numbers."""
    value = f"CASE WHEN {identified(payload, idents, 'k')} THEN 'null' ELSE {value_of(payload, 'k')} END"
    fields = f"list_transform(json_keys({payload}), lambda k: to_json(k)::VARCHAR || ':' || {value})"
    return f"'{{' || array_to_string({fields}, ',') || '}}'"


def mapped(fields: Sequence[MappedField], types: Mapping[str, str], keys: Sequence[str]) -> Mapped:
    """The mapping over attributes of these types and these identity keys. Raises Fatal for what does not exist."""
    columns = tuple(_column(one, number, types, keys) for number, one in enumerate(fields))
    if not any(one.identifies for one in columns):
        raise Fatal(NOBODY_KNOWN)
    sources = [_source(one, types, keys) for one in fields]
    return Mapped(
        columns,
        tuple(sorted({name for kind, name in sources if kind == "attribute"})),
        tuple(sorted({name for kind, name in sources if kind == "key"})),
    )


def _column(field: MappedField, number: int, types: Mapping[str, str], keys: Sequence[str]) -> Column:
    kind, name = _source(field, types, keys)
    type_ = _kind(types[name] if kind == "attribute" else "text")
    expression = {
        "attribute": quoted(f"attribute:{name}"),
        "key": f"{quoted(f'key:{name}')}[1]",
        "id": "id",
    }[kind]
    transform = _transform(field)
    if transform.steps and type_ not in _AS_TEXT:
        raise Fatal(f"field {field.name}: {field.source} is a set, which no transform takes")
    identifies = kind != "attribute" if field.identifier is None else field.identifier
    return Column(field, f"c{number}", expression, type_, transform, identifies)


def _kind(type_: str) -> str:
    """How values of a declared type are written."""
    return "whole" if type_.startswith("decimal(") and type_.endswith(",0)") else type_.partition("(")[0]


def _transform(field: MappedField) -> Transform:
    try:
        return parse_transforms(field.transforms)
    except BadTransform as error:
        raise Fatal(f"field {field.name}: {error}") from error


def _source(field: MappedField, types: Mapping[str, str], keys: Sequence[str]) -> tuple[str, str]:
    """Whether a field comes from an attribute, a key or the profile's id, and the name there."""
    if field.source == PROFILE_ID:
        return "id", ""
    kind, colon, name = field.source.partition(":")
    if not colon:
        kind, name = "", field.source
    found = [one for one, known in (("attribute", types), ("key", keys)) if kind in ("", one) and name in known]
    if len(found) == 2:
        raise Fatal(
            f"field {field.name}: {name!r} is an attribute and an identity key; write attribute:{name} or key:{name}"
        )
    if not found:
        known = {"attribute": sorted(types), "key": sorted(keys)}.get(kind, sorted({*types, *keys}))
        raise Fatal(f"field {field.name}: there is no attribute or identity key {name!r}{did_you_mean(name, known)}")
    return found[0], name


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def transformed(batch: pa.RecordBatch, columns: Sequence[Column]) -> pa.Table:
    """A block of ids and texts with each column's transform applied; null where nothing is left."""
    made: dict[str, Any] = {"id": batch.column("id")}
    for one in columns:
        apply = one.transform.apply
        texts = batch.column(one.name).to_pylist()
        made[one.name] = pa.array([(apply(text) or None) if text else None for text in texts], pa.string())
    return pa.table(made)
