"""Die while profiles are built and an audience is mirrored: at deeds of the controller spread over a whole pass, and then the
world must be as if nothing had happened. `RECONCILE_DEEDS=1 pytest -s` dies at each deed; the suite at every 40th or so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.record.store import Record
from reconciler.runner.local import LocalRunner
from tests.end_to_end.inprocess import Fuse, World
from tests.end_to_end.world import is_sound, rows_of
from tests.servers import Server, serving

STRIDE = int(os.environ.get("RECONCILE_DEEDS", "47"))

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: people}
spec:
  columns: {score: integer}
  identity: [{key: user, from: id}, {key: email, from: email, normalize: [lower]}]
  attributes: {score: {from: score, merge: max}, seen: {merge: count}}
---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: high}
spec: {where: "score >= 5"}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-people}
spec: {provider: files, jobType: import-csv, config: {path: "in/*.csv", stream: people}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: high-to-receiver}
spec:
  provider: http
  jobType: export-audience
  dependsOn: [import-people]
  config:
    audience: high
    url: URL/members
    allowPrivateAddresses: true
    batchSize: 2
    fields: {user: {from: user}, score: {from: score}}
"""


def world_of(root: Path, url: str, runner: LocalRunner) -> World:
    (root / "in").mkdir(parents=True)
    (root / "in" / "1.csv").write_text("id,email,score\n" + "".join(f"{i},,{i}\n" for i in range(10)))
    (root / "in" / "2.csv").write_text("id,email,score\n3,C@x.org,\n,c@X.org,7\n")  # 3 is high by a second identifier
    (root / "jobs.yaml").write_text(SPECS.replace("URL", url))
    return World(root, runner)


def membership(receiver: Server) -> dict[str, int]:
    """What a receiver that takes each key once holds."""
    taken: dict[str, int] = {}
    seen: set[str] = set()
    for request in receiver.processed:
        if request.key not in seen:
            seen.add(request.key)
            assert request.json["action"] == "add"
            for one in request.json["members"]:
                assert one["user"] not in taken, "added twice under two keys"
                taken[one["user"]] = one["score"]
    return taken


def converged(world: World, receiver: Server) -> None:
    assert is_sound(world.state)
    assert membership(receiver) == {"3": 7, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9}
    statuses = rows_of(world.state, "SELECT status, count(*) FROM job GROUP BY status")
    assert statuses == [("Completed", 2)], (world.root / "high-to-receiver.log").read_text()
    assert rows_of(world.state, "SELECT count(*) FROM intent") == [(0,)]
    with Record.reading(world.state) as record:
        profiles = record.profiles.current()
        assert (profiles.facts["profiles"], profiles.built) == (10, {"people": 12})
        named = record.streams.named_files() | record.profiles.named_files()
        assert record.profiles.sizes("high")[-1].size == 6
    data = world.state / "data"
    assert {path.relative_to(data).as_posix() for path in data.rglob("*.parquet")} <= named


@pytest.mark.timeout(3_600)
def test_profiles_and_members_survive_a_controller_that_dies_at_any_deed(quick_path: Path, runner: LocalRunner) -> None:
    number, came_through = int(os.environ.get("RECONCILE_FROM", "5")), None
    while came_through is None:
        with serving() as receiver:
            world = world_of(quick_path / str(number), receiver.url, runner)
            fuse = Fuse(number)
            came_through = world.live(fuse)
            for _ in range(3):
                assert world.live() is not None
            try:
                converged(world, receiver)
            except AssertionError as error:
                raise AssertionError(f"died at deed {number}, {fuse.deeds[-1]}: {error}") from error
        number += STRIDE
    print(f"died at every {STRIDE}th of {number} deeds")
    assert number > 100
