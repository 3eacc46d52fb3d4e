"""What a plan says in sentences."""

from __future__ import annotations

import pytest

from reconciler.cli.plan_words import export_words
from reconciler.core.planned import PlannedExport


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "1 was omitted before (`reconcile rejects e`); 1 row of an older plan is open; "
         "1 newer message is built first, and may change this"),
        (2000, "2,000 were omitted before (`reconcile rejects e`); 2,000 rows of an older plan are open; "
         "2,000 newer messages are built first, and may change this"),
    ],
)  # fmt: skip
def test_one_is_said_as_one(count: int, said: str) -> None:
    export = PlannedExport(name="e", audience="all", requests=1, omitted_before=count, unsent=count, behind=count)
    assert export_words(export) == f"add 0, change 0, remove 0 of all, in 1 request; {said}"
