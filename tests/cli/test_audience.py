"""How `audience` and `profile` show values."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.cli.audience import plain


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal(3), 3),
        (Decimal(2**63 - 1), 2**63 - 1),
        (Decimal(2**63), "9223372036854775808"),
        (Decimal("20.00"), "20.00"),
        (Decimal("1E+2"), "100"),
        ([Decimal(1), "a", None], [1, "a", None]),
    ],
)
def test_a_whole_number_is_a_number_as_in_an_export_and_a_decimal_is_text(value: object, shown: object) -> None:
    assert plain(value) == shown
    assert type(plain(value)) is type(shown)
