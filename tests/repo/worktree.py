"""A real git work tree in a folder of the test's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class WorkTree:
    def __init__(self, top: Path, root: str = "jobs.d") -> None:
        self.top = top
        self.root = top / root
        self.root.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, author: str = "Ann", at: int = 0) -> str:
        person = {"NAME": author, "EMAIL": f"{author.lower()}@example.com", "DATE": f"{1_700_000_000 + at} +0000"}
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in person.items()}
        done = subprocess.run(
            ["git", "-C", os.fspath(self.top), "-c", "protocol.file.allow=always", *arguments],
            env={**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")

    def commit(self, message: str = "change", *, author: str = "Ann", at: int = 0) -> str:
        self.git("add", "-A", author=author)
        self.git("commit", "-q", "--allow-empty", "-m", message, author=author, at=at)
        return self.git("rev-parse", "HEAD")


def spec(name: str, **config: str) -> str:
    """A small valid Stream; `config` goes into its labels."""
    labels = "".join(f"    {key}: '{value}'\n" for key, value in config.items())
    return (
        f"apiVersion: reconciler/v1\nkind: Stream\nmetadata:\n  name: {name}\n"
        + (f"  labels:\n{labels}" if labels else "")
        + "spec: {}\n"
    )
