"""Random lives of the ways in (`intake_walk`): what lies on a stream is what Python's csv and json modules read of what was sent,
each message once, and each bad row is named by its line.

`RECONCILE_INTAKE=1000 python -m pytest -n 0 -s tests/web/test_intake_walk.py` is the long form.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.data import delimited, fold
from reconciler.providers.files import imports
from tests.lives import Broken
from tests.seeds import seed
from tests.web.intake_walk import live, live_files

LIVES = int(os.environ.get("RECONCILE_INTAKE", "1"))


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are many, between which things die."""
    monkeypatch.setattr(fold, "UNIT_BYTES", 200)
    monkeypatch.setattr(fold, "BLOCK_BYTES", 100)
    monkeypatch.setattr(imports, "UNIT_PIECES", 2)


def test_what_is_sent_lands_as_python_reads_it_whatever_dies(tmp_path: Path) -> None:
    first = seed("RECONCILE_INTAKE")
    print(f"RECONCILE_SEED={first}")
    for number in range(first, first + LIVES):
        live(number, tmp_path / str(number), steps=20)


def test_files_land_as_python_reads_them_whatever_becomes_of_them_and_dies(tmp_path: Path) -> None:
    first = seed("RECONCILE_INTAKE")
    print(f"RECONCILE_SEED={first}")
    for number in range(first, first + 3 * LIVES):
        live_files(number, tmp_path / str(number))


def test_a_row_that_lands_otherwise_breaks_a_law_and_says_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "distinct", lambda names: [f"{name} " for name in names])
    with pytest.raises(Broken, match=r"(?s)seed 2: .*\.csv.* were due"):
        live_files(2, tmp_path)
