"""Enrichments from the command line: what they say is in the profiles, stays there when these are built anew, and nobody
is asked about twice, whatever is killed."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import entry
from tests.end_to_end.daemon import Daemon
from tests.end_to_end.world import column
from tests.servers import Play, Request, Server, as_json, serving

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {{name: visits}}
spec:
  identity: [{{key: email, from: mail, normalize: [trim, lower]}}]
  attributes: {{visits: {{merge: count}}}}
---
apiVersion: reconciler/v1
kind: Stream
metadata: {{name: facts}}
spec:
  columns: {{seats: integer}}
  timestamp: {{field: enriched_at}}
  identity: [{{key: email, from: email, normalize: [trim, lower]}}]
  attributes:
    company: {{from: company}}
    seats: {{from: seats}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: import-visits}}
spec: {{provider: files, jobType: import-csv, config: {{path: data/visits.csv, stream: visits}}}}
---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: say-seats}}
spec:
  provider: files
  jobType: enrich-join
  dependsOn: [import-visits]
  config:
    path: data/seats.csv
    key: {{column: email, identity: email}}
    stream: facts
---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: look-up}}
spec:
  provider: http
  jobType: enrich-lookup
  dependsOn: [import-visits, say-seats]
  retry: {{initial: 50ms, max: 200ms}}
  config:
    url: {url}/people?q={{value}}
    key: {{identity: email}}
    stream: facts
    attributes: {{company: employer.name}}
    requestsPerSecond: 1000
    allowPrivateAddresses: true
"""


def employer(request: Request) -> Play:
    return as_json({"employer": {"name": f"{request.query['q']} & Co."}})


class Team:
    """A root with the specs, and the API that is asked."""

    def __init__(self, root: Path, api: Server, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.api = root, api
        self._capsys = capsys
        (root / "data").mkdir(parents=True)
        (root / "specs.yaml").write_text(SPECS.format(url=api.url))

    def write(self, name: str, *lines: str) -> None:
        (self.root / "data" / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, *arguments: str) -> str:
        self._capsys.readouterr()
        ended = entry([*arguments, "--root", str(self.root)])
        out, err = self._capsys.readouterr()
        assert ended == 0, out + err
        return out + err

    def attributes(self, email: str) -> dict[str, Any]:
        told = json.loads(self.run("profile", f"email={email}", "-o", "json"))
        return {name: one["value"] for name, one in told["attributes"].items()}

    def asked(self) -> list[str]:
        return [request.query["q"] for request in self.api.requests]


@pytest.fixture
def team(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Team]:
    with serving(employer) as api:
        yield Team(tmp_path / "team", api, capsys)


def test_what_an_enrichment_says_is_in_the_profiles_and_outlives_a_rebuild(team: Team) -> None:
    team.write("visits.csv", "mail", "Ada@x.de", "ada@x.de ", "bo@x.de")
    team.write("seats.csv", "email,seats", "ADA@x.de,3", "nobody@x.de,9")
    team.run()
    known = team.attributes("ada@x.de")
    assert known == {"company": "ada@x.de & Co.", "seats": 3, "visits": 2}
    assert sorted(team.asked()) == ["ada@x.de", "bo@x.de"]

    team.run("rerun", "say-seats", "look-up")
    assert "nothing new" in team.run()
    team.write("seats.csv", "email,seats", "ADA@x.de,4", "nobody@x.de,9")
    team.run("rerun", "say-seats")
    assert "1 row is new or has changed" in team.run()
    team.run("rebuild")
    assert team.attributes("ada@x.de") == known | {"seats": 4}
    assert len(team.asked()) == 2


@pytest.mark.kill
def test_a_daemon_that_is_killed_asks_nobody_again_whose_answer_was_committed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = [f"p{number:02}@x.de" for number in range(24)]
    deadly = [0]  # the number of the request at which the daemon dies
    daemons: list[Daemon] = []

    def answer(request: Request) -> Play:
        if len(api.requests) == deadly[0]:
            daemons[-1].process.kill()
        return employer(request)

    with serving(answer) as api:
        team = Team(tmp_path / "team", api, capsys)
        team.write("visits.csv", "mail", *people)
        team.write("seats.csv", "email,seats")
        specs = team.root / "specs.yaml"
        specs.write_text(
            specs.read_text()
            .replace("requestsPerSecond: 1000", "requestsPerSecond: 1000\n    concurrency: 1\n    maxRequestsPerRun: 8")
            .replace("  retry: {initial: 50ms", "  schedule: {continuous: true}\n  retry: {initial: 50ms")
        )
        for _ in range(2):
            deadly[0] = len(api.requests) + 5
            with Daemon(team.root) as daemon:
                daemons.append(daemon)
                assert daemon.process.wait(60) == -signal.SIGKILL
                daemon.kill()
            deadly[0] = 0
            committed, before = set(column(team.root / ".reconciler", "facts", "email")), len(api.requests)
            with Daemon(team.root) as daemon:
                daemons.append(daemon)
                daemon.wait_for("look-up", "Synced")
                daemon.kill()
            assert not committed & set(team.asked()[before:])
        with Daemon(team.root) as daemon:
            daemons.append(daemon)
            while len(column(team.root / ".reconciler", "facts", "email")) < len(people):
                daemon.wait_for("look-up", "Synced")
            assert daemon.terminate() == 0
    said = Counter(column(team.root / ".reconciler", "facts", "email"))
    assert said == Counter(people)
