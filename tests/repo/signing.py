"""Real keys of GPG and SSH, and commits that are signed with them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

from tests.programs import program
from tests.repo.worktree import WorkTree

#: When a key that has expired was made and used.
LONG_AGO = "20200101T000000!"


def ran(*command: str, stdin: str = "", **environment: str) -> str:
    done = subprocess.run(
        command, input=stdin, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Signers:
    """Keys in a folder of the test's: `gpg_key` and `ssh_key` make them, `commit` signs with them."""

    def __init__(self, folder: Path) -> None:
        self._programs = {name: program(name) for name in ("gpg", "ssh-keygen")}
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.home = Path(tempfile.mkdtemp(prefix="gpg-"))  # short: gpg's agent listens to a socket in it
        weakref.finalize(self, shutil.rmtree, self.home, ignore_errors=True)

    def gpg(self, *arguments: str, stdin: str = "") -> str:
        return ran(self._programs["gpg"], "--batch", "--quiet", "--homedir", str(self.home), *arguments, stdin=stdin)

    def gpg_key(self, name: str, *options: str, expires: str = "0") -> str:
        """The public key, armored."""
        made = (
            "--passphrase",
            "",
            "--quick-gen-key",
            f"{name} <{name.lower()}@example.com>",
            "ed25519",
            "sign",
            expires,
        )
        self.gpg(*options, *made)
        return self.gpg("--armor", "--export", f"{name.lower()}@example.com")

    def revoked(self, name: str) -> str:
        """The public key of a name, taken back."""
        (file,) = [one for one in (self.home / "openpgp-revocs.d").iterdir() if self._fingerprint(name) in one.name]
        self.gpg("--import", stdin=file.read_text().replace(":-----BEGIN", "-----BEGIN"))
        return self.gpg("--armor", "--export", f"{name.lower()}@example.com")

    def _fingerprint(self, name: str) -> str:
        listed = self.gpg("--with-colons", "--list-keys", f"{name.lower()}@example.com").splitlines()
        return next(line.split(":")[9] for line in listed if line.startswith("fpr"))

    def ssh_key(self, name: str) -> str:
        """The public key, as one line."""
        ran(
            self._programs["ssh-keygen"],
            "-q",
            "-t",
            "ed25519",
            "-N",
            "",
            "-C",
            f"{name}@example.com",
            "-f",
            str(self.folder / name),
        )
        return (self.folder / f"{name}.pub").read_text()

    def commit(self, tree: WorkTree, *, gpg: str = "", ssh: str = "", faked: str = "", author: str = "Ann") -> str:
        """A signed commit of what is in the work tree."""
        program = self.folder / "program"
        program.write_text(
            f'#!/bin/sh\nexec gpg --homedir "{self.home}" {f"--faked-system-time {faked}" if faked else ""} "$@"\n'
        )
        program.chmod(0o700)
        key = f"{gpg.lower()}@example.com" if gpg else str(self.folder / f"{ssh}.pub")
        settings = {"gpg.format": "openpgp" if gpg else "ssh", "gpg.program": str(program), "user.signingkey": key}
        tree.git("add", "-A")
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        tree.git(*options, "commit", "-q", "--allow-empty", "-S", "-m", "signed", author=author)
        return tree.git("rev-parse", "HEAD")

    def close(self) -> None:
        """The agent that gpg started goes with its folder."""
        ran("gpgconf", "--homedir", str(self.home), "--kill", "all")
