"""Random lives of enrichments (`enrich_walk`): what a reference says of people lands once and at its time, nobody is asked for
while an answer holds, and nothing is said twice, whatever dies.

`RECONCILE_ENRICHMENTS=1000 python -m pytest -n 0 -s tests/providers/test_enrich_walk.py` is the long form.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from reconciler.data.hands import open_data
from reconciler.providers.files import enrich_join
from reconciler.providers.http import enrich_lookup
from tests.lives import Broken
from tests.providers import enrich_walk, enrich_world
from tests.providers.enrich_walk import JoinWalk, LookupWalk, live
from tests.seeds import seed

LIVES = int(os.environ.get("RECONCILE_ENRICHMENTS", "3"))


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are many, between which a run dies."""
    monkeypatch.setattr(enrich_world, "open_data", partial(open_data, block_bytes=60))
    monkeypatch.setattr(enrich_join, "UNIT_BYTES", 1)
    monkeypatch.setattr(enrich_lookup, "UNIT_LOOKUPS", 2)


@pytest.mark.parametrize("kind", [JoinWalk, LookupWalk])
def test_an_enrichment_says_each_thing_once_whatever_dies(
    tmp_path: Path, kind: type[JoinWalk] | type[LookupWalk]
) -> None:
    first = seed("RECONCILE_ENRICHMENTS")
    print(f"RECONCILE_SEED={first}")
    for number in range(first, first + LIVES):
        live(kind, number, tmp_path / str(number))


def test_a_row_that_is_said_otherwise_breaks_a_law_and_says_what_came_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrich_walk, "normalized", str.strip)  # as if case mattered
    with pytest.raises(Broken, match=r"(?s)seed 1: .* landed"):
        live(JoinWalk, 1, tmp_path, steps=20)
