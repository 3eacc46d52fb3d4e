"""A daemon that follows a branch: it wakes when the branch moves, and a newer commit wins over what is in flight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.end_to_end.daemon import Daemon
from tests.end_to_end.world import rows_of
from tests.repo.worktree import WorkTree
from tests.servers import Play, Request, as_json, serving

STREAM = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"
IMPORT = """\
apiVersion: reconciler/v1
kind: Job
metadata: {{name: import-orders}}
spec:
  provider: http
  jobType: import-json
  schedule: {{once: true}}
  config:
    url: {url}
    stream: orders
    allowPrivateAddresses: true
    pagination: {{type: link}}
"""


@pytest.fixture
def work(tmp_path: Path) -> WorkTree:
    return WorkTree(tmp_path / "clone")


def endless(request: Request) -> Play:
    """Under /endless each page leads to one more; under /good there is one."""
    if request.path == "/good":
        return as_json([{"id": "good"}])
    number = int(request.query.get("page", "0")) + 1
    link = f'</endless?page={number}>; rel="next"'
    return Play(body=json.dumps([{"id": number}]).encode(), headers={"Content-Type": "application/json", "Link": link})


def test_a_newer_commit_wins_over_the_run_that_an_older_one_asked_for(work: WorkTree, tmp_path: Path) -> None:
    with serving(endless) as server:
        work.write({"stream.yaml": STREAM, "job.yaml": IMPORT.format(url=f"{server.url}/endless")})
        work.commit()
        state = tmp_path / "state"
        with Daemon(work.root, "--source", "git:main", "--state", str(state), "--slots", "1") as daemon:
            daemon.wait_for("import-orders", "Started")
            work.write({"job.yaml": IMPORT.format(url=f"{server.url}/good")})
            fix = work.commit()
            daemon.wait_for("import-orders", "Updated", "spec.config changed", fix[:12])
            daemon.wait_for("import-orders", "Completed")
            assert daemon.terminate() == 0
    assert server.requests[-1].path == "/good"
    assert rows_of(state, "SELECT revision FROM resource WHERE name = 'import-orders'") == [(f"main@sha1:{fix}",)]


def test_the_daemon_wakes_when_the_branch_moves_and_says_when_it_is_gone(work: WorkTree, tmp_path: Path) -> None:
    work.write({"stream.yaml": STREAM})
    first = work.commit()
    work.git("checkout", "-q", "--detach")
    with Daemon(work.root, "--source", "git:main", "--state", str(tmp_path / "state")) as daemon:
        daemon.wait_for("Watching git:main, ")
        daemon.wait_for("stream/orders", "Created")
        work.write({"more.yaml": STREAM.replace("orders", "more")})
        second = work.commit()
        work.git("branch", "-q", "-f", "main", second)
        daemon.wait_for("stream/more", "Created")
        work.git("branch", "-q", "-D", "main")
        line = daemon.wait_for("error: the last good revision stays, ")
        assert f"main@sha1:{second}: there is no branch, tag or remote branch 'main'" in line
        work.git("branch", "-q", "main", first)
        daemon.wait_for("All specs are valid again.")
        assert daemon.terminate() == 0
