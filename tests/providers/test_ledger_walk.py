"""Random lives of an export of an audience (`ledger_walk`): after each run the destination holds the members of the audience,
as a page of plain Python works them out, what was said beforehand is what was done, and a second run has nothing to send.

`RECONCILE_LEDGERS=1000 python -m pytest -n 0 -s tests/providers/test_ledger_walk.py` is the long form.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lives import Broken
from tests.providers.ledger_walk import Walk, live
from tests.seeds import seed

LIVES = int(os.environ.get("RECONCILE_LEDGERS", "3"))


def test_the_destination_holds_the_members_whatever_became_of_them_of_the_spec_and_of_the_calls(tmp_path: Path) -> None:
    first = seed("RECONCILE_LEDGERS")
    print(f"RECONCILE_SEED={first}")
    for number in range(first, first + LIVES):
        live(number, tmp_path / str(number))


def test_a_destination_that_holds_another_one_breaks_a_law_and_says_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = Walk.settle_down

    def with_a_stray(walk: Walk) -> None:
        walk.there.entries["email", "stray@x.org"] = {"email": "stray@x.org"}
        settle(walk)

    monkeypatch.setattr(Walk, "settle_down", with_a_stray)
    with pytest.raises(Broken, match=r"(?s)run 1\.1: .*seed 2: .*stray@x\.org.* is still there"):
        live(2, tmp_path, steps=1)
