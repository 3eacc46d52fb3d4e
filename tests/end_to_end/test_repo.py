"""A daemon that follows a repository elsewhere: a push is made true, and whatever happens to the remote deletes nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end.daemon import Daemon, reconcile
from tests.ports import free_port
from tests.repo.remotes import HttpRemote, Upstream
from tests.web.test_live import until

TOKEN = "a-token-that-stands-nowhere"
SECRET = "the-secret-of-the-forge"


def specs(*jobs: str) -> str:
    """A stream and jobs that import into it."""
    documents = ["apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec: {}\n"]
    documents += [
        f"apiVersion: reconciler/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  provider: files\n  jobType: import-csv\n"
        "  config: {path: orders.csv, stream: orders}\n"
        for name in jobs
    ]
    return "---\n".join(documents)


class Site:
    """A folder with the operator's file, and a daemon in it that follows an upstream behind HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "site"
        self.folder.mkdir()
        (folder / "up").mkdir()
        self.upstream = Upstream(folder / "up")
        (self.folder / "orders.csv").write_text("id,amount\n1,2\n")
        (self.folder / "hook").write_text(SECRET)
        self.state = self.folder / ".reconciler"
        self.port = free_port()

    def settle(self, **more: Any) -> None:
        told = {"dataRoot": ".", "listen": f"127.0.0.1:{self.port}", "hooks": {"push": {"secret": {"file": "hook"}}}}
        (self.folder / "reconciler.yaml").write_text(json.dumps({**told, **more}))

    def reconcile(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return reconcile(*arguments, cwd=self.folder, env={"GIT_TOKEN": TOKEN})

    def daemon(self, *arguments: str) -> Daemon:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            return Daemon(Path("jobs.d"), *arguments, env={"GIT_TOKEN": TOKEN})
        finally:
            os.chdir(before)

    def push_hook(self, secret: str = SECRET) -> int:
        body = b'{"ref": "refs/heads/main"}'
        signature = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        url = f"http://127.0.0.1:{self.port}/hooks/push"
        return httpx.post(url, content=body, headers={"X-Hub-Signature-256": signature}, timeout=30).status_code

    def ready(self) -> dict[str, str]:
        found: dict[str, str] = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=30).json()
        return found

    def names(self) -> list[str]:
        listed = self.reconcile("list", "-o", "name")
        assert listed.returncode == 0, listed.stderr
        return listed.stdout.split()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_daemon_follows_a_repository_through_good_and_bad(site: Site) -> None:
    """Hours between fetches: what happens at once happens because of the hook."""
    first = site.upstream.publish({"orders.yaml": specs("one")})
    with HttpRemote(site.upstream.bare.parent) as remote:
        remote.ask_for("x-access-token", TOKEN)
        url = f"{remote.url}/jobs.git"
        site.settle(repo={"url": url, "interval": "1h", "credentials": {"token": {"env": "GIT_TOKEN"}}})
        with site.daemon() as daemon:
            daemon.wait_for(f"cloning {url}")
            daemon.wait_for(f"Watching jobs.d in the default branch of {url};")
            daemon.wait_for("one", "Completed")
            status = site.state / "status" / "one.status.yaml"
            until(lambda: f"revision: main@sha1:{first}" in status.read_text())
            assert "createdBy: Ann" in status.read_text()

            second = site.upstream.publish({"orders.yaml": specs("one", "two")}, author="Bob")
            assert site.push_hook("another") == 403
            assert site.push_hook() == 202
            daemon.wait_for("two", "Created", second[:12], "Bob")
            daemon.wait_for("two", "Completed")

            remote.status = 503
            assert site.push_hook() == 202
            line = daemon.wait_for(f"the last good revision stays, main@sha1:{second}: {url} cannot be fetched: ")
            assert "503" in line
            until(lambda: "specs" in site.ready())
            assert site.ready()["status"] == "ok"
            assert site.names() == ["one", "two"]
            why = site.reconcile("why", "one", "-o", "json")
            assert json.loads(why.stdout)["notes"] == [f"of the specs, {site.ready()['specs']}"]

            remote.status = 0
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("All specs are valid again.")
            until(lambda: site.ready() == {"status": "ok"})

            site.upstream.git("reset", "-q", "--hard", first)
            site.upstream.write({"orders.yaml": specs("one", "four")})
            forced = site.upstream.commit("other")
            site.upstream.push("--force")
            assert site.push_hook() == 202
            daemon.wait_for(
                f"history was rewritten: main went from {second[:12]} to {forced[:12]}, which does not contain it; "
                f"{forced[:12]} is desired now"
            )
            daemon.wait_for("four", "Created")
            assert daemon.terminate() == 0
        kept = [path for path in site.state.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
        assert not kept
        assert TOKEN not in "\n".join(daemon.lines)


def test_the_interval_alone_brings_what_is_new(site: Site) -> None:
    site.upstream.publish({"orders.yaml": specs("one")})
    site.settle()
    with site.daemon("--repo", site.upstream.url, "--branch", "main", "--path", "jobs.d", "--interval", "1s") as daemon:
        daemon.wait_for("one", "Completed")
        site.upstream.publish({"orders.yaml": specs("one", "two")})
        daemon.wait_for("two", "Completed")
        assert daemon.terminate() == 0
