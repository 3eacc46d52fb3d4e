"""The SQL of names and of whole results."""

from __future__ import annotations

from reconciler.core.language.types import Type


def column_sql(name: str) -> str:
    """A column's name, quoted."""
    return '"' + name.replace('"', '""') + '"'


def result_sql(sql: str, found: Type) -> str:
    """A whole expression: a double is finite, and a time lies between the years 1 and 9999; else it is NULL, because
    nothing that profiles are sent to can hold it. A double is no negative zero either (adding 0.0 makes one positive):
    it equals the other zero and is written otherwise, so which one a profile shows would depend on how it was built."""
    match found.kind:
        case "double":
            return f"CASE WHEN isfinite({sql}) THEN {sql} + 0.0::DOUBLE END"
        case "date":
            return f"CASE WHEN {sql} BETWEEN DATE '0001-01-01' AND DATE '9999-12-31' THEN {sql} END"
        case "timestamp":
            first, last = "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '9999-12-31 23:59:59.999999'"
            return f"CASE WHEN {sql} BETWEEN {first} AND {last} THEN {sql} END"
        case _:
            return sql
