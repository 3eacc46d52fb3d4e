"""How the fields of a member are written: what is exact as a number is one."""

from __future__ import annotations

import json
from decimal import Decimal

import pyarrow as pa
import pytest

from reconciler.core.members import MappedField
from reconciler.data.engine import query
from reconciler.data.mapping import Column, mapped


def written(type_: str, kind: pa.DataType, values: list[object], *transforms: str) -> list[str]:
    """The payloads of members with these values of an attribute of a type."""
    field = MappedField(name="value", source="value", transforms=transforms, identifier=True)
    found = mapped([field], {"value": type_}, ["email"])
    (column,) = found.columns
    assert isinstance(column, Column)
    inner = f"SELECT c0, {found.json_sql()} FROM given"
    table = query(f"SELECT {found.payload_sql()} AS c0 FROM ({inner})", given=pa.table({"c0": pa.array(values, kind)}))
    return table.column("c0").to_pylist()


WHOLE = pa.decimal128(38, 0)


@pytest.mark.parametrize(
    ("type_", "kind", "value", "expected"),
    [
        ("integer", pa.int64(), 2**63 - 1, "9223372036854775807"),
        ("decimal(38,0)", WHOLE, Decimal(7), "7"),
        ("decimal(38,0)", WHOLE, Decimal(-(2**63)), "-9223372036854775808"),
        ("decimal(38,0)", WHOLE, Decimal(2**63 - 1), "9223372036854775807"),
        ("decimal(38,0)", WHOLE, Decimal(2**63), '"9223372036854775808"'),
        ("decimal(38,0)", WHOLE, Decimal(-(10**30)), f'"-1{"0" * 30}"'),
        ("decimal(38,0)", WHOLE, None, "null"),
        ("decimal(38,2)", pa.decimal128(38, 2), Decimal("19.90"), '"19.90"'),
    ],
)
def test_a_whole_number_is_a_number_where_no_reader_rounds_it_and_a_decimal_is_text(
    type_: str, kind: pa.DataType, value: object, expected: str
) -> None:
    assert written(type_, kind, [value]) == [f'{{"value":{expected}}}']
    json.loads(f"[{expected}]")
