"""Worlds that are lived through in every run of the suite: a few by number, and those in which something was found.

`python -m tests.simulation --seeds 1000` is the long form.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.simulation.__main__ import main
from tests.simulation.laws import Broken
from tests.simulation.mirrors import STRANGERS
from tests.simulation.parts import FIRST
from tests.simulation.world import World, live

#: Worlds in which a law was broken once, by what was mended then.
FOUND = {
    17: "an invalid job was deleted at once when its file was empty for a moment while somebody mended it",
    27: "the same, of an import",
    8: "messages were on the disk and told to be refused, because the journal behind them could not be closed on a full disk",
    29: "what a full disk had refused and not let go stood in a journal before what was accepted later",
    388: "after its dependency had succeeded and the clock was set back, a job ran again and again for that success",
}

#: The same, of worlds that take longer than a suite has time for: RECONCILE_WORLDS=long has them lived through too.
FOUND_IN_LONG = {
    143: "an upload was accepted, and told to be refused because its idempotency key could not be noted in a second place",
    523: "a daemon that began after a spec was renamed and suspended started a due run of it before a second look",
    526: "whoever was to be tried again by a purged job woke it, and the daemon turned round and round",
    718: "a due run of a job that a commit had taken out was started before the deletion",
    615: "the approval of what had waited of a deleted job woke it, and the daemon turned round and round",
    464: "of two spellings of one key in a reference, all of which lands, the later word was not said again",
    45: "records that filled up the last page of a listing, while an import of it was cut off behind that page, were never read",
}
FOUND |= FOUND_IN_LONG if os.environ.get("RECONCILE_WORLDS") == "long" else {}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_law_holds_in_a_world(seed: int) -> None:
    world = live(seed)
    assert world.lives > 2


def test_every_law_holds_in_a_world_with_people_whom_a_job_mirrors() -> None:
    world = live(53)
    assert any("receiver.test/mirror-0 answers 200 to add" in line for line in world.trace)


def test_every_law_holds_in_a_world_that_reads_an_api() -> None:
    assert any("feed.test/feed-0?" in line for line in live(3).trace)


def test_every_law_holds_in_a_world_that_joins_a_reference_shows_tokens_and_renames_exports() -> None:
    world = live(406)
    assert {type(part).__name__ for part in world.parts} == {
        "Outboxes",
        "References",
        "Refusals",
        "Renames",
        "Tokens",
        "Truth",
    }
    for what in ("start join-0", "renamed from mirror-0", "renew: "):
        assert any(what in line for line in world.trace)


def test_every_law_holds_in_a_world_whose_specs_lie_in_a_work_tree_of_git() -> None:
    world = live(704)
    assert world.is_tracked
    assert any(" delete " in line for line in world.trace)


def test_a_world_before_those_that_may_have_more_has_not(tmp_path: Path) -> None:
    for seed in (FIRST - 1, 404):
        (tmp_path / str(seed)).mkdir()
        assert bool(World(seed, tmp_path / str(seed)).parts) == (seed >= FIRST)


def test_a_name_that_no_sync_of_its_folder_has_seen_breaks_a_law(tmp_path: Path) -> None:
    synced = World(10, tmp_path).synced
    (tmp_path / "data/streams").mkdir(parents=True)
    (tmp_path / "data/streams/one").write_text("1")
    with pytest.raises(Broken, match="streams/one is named, and was never synced"):
        synced.require_there(tmp_path / "data", "streams/one")
    synced.sync(tmp_path / "data/streams/one")
    synced.sync(tmp_path / "data")
    with pytest.raises(Broken, match="one is named, and streams was not synced with it"):
        synced.require_there(tmp_path / "data", "streams/one")
    synced.sync(tmp_path / "data/streams")
    synced.require_there(tmp_path / "data", "streams/one")


@pytest.mark.parametrize(
    ("action", "keys", "wrong"),
    [
        ("add", ("1-0-0-a", "1-0-0-b"), "1-0-0-b says again what is known"),
        ("remove", ("1-0-0-a",), "were there before us, and are gone"),
    ],
)
def test_a_mirror_that_says_a_thing_twice_or_removes_a_stranger_breaks_a_law(
    tmp_path: Path, action: str, keys: Sequence[str], wrong: str
) -> None:
    mirrors = World(10, tmp_path).mirrors
    body = json.dumps({"action": action, "members": [dict(STRANGERS["stranger-0@example.org"])]})
    body = body.replace("stranger", "somebody") if action == "add" else body
    *earlier, last = ({"Idempotency-Key": key} for key in keys)
    for headers in earlier:
        mirrors.take("receiver.test/mirror-0", "POST", headers, body.encode())
    with pytest.raises(Broken, match=wrong):
        mirrors.take("receiver.test/mirror-0", "POST", last, body.encode())


@pytest.mark.parametrize("seed", sorted(FOUND), ids=lambda seed: f"{seed}: {FOUND[seed]}")
def test_what_a_world_has_found_stays_mended(seed: int) -> None:
    live(seed)


def test_a_seed_is_the_same_world_in_another_process_whatever_order_its_sets_have() -> None:
    digests = set()
    for hashes in ("1", "2"):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "1"],
            env={"PYTHONHASHSEED": hashes, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        digests.add(ended.stdout.rpartition("digest ")[2].split()[0])
    assert len(digests) == 1


def test_a_broken_law_is_told_with_its_seed_and_the_last_of_what_happened(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.simulation.world.MAX_TURNS", 10)
    assert main(["--seeds", "1", "--trace", "3"]) == 1
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 3 + 2
    assert "seed 0 broke a law: the loop turns and turns" in said
    assert "again: python -m tests.simulation --seed 0 --trace 0" in said
