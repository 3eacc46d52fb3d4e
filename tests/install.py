"""The product as others install it: a copy of the repository's files, and pip told to use what is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[1]

#: What is built from; the rest of the repository is no part of the package.
_PARTS: Final = ("pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml", "reconciler")

#: pip builds the package itself and takes everything else from the environment of the tests: nothing is downloaded.
#: (Of pip's variables that begin with NO, 0 is "do not".)
OFFLINE: Final = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PYTHONPATH": sysconfig.get_path("purelib"),
}
IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))
}


def copy_of_the_package(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for part in _PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return folder


def git(folder: Path, *arguments: str) -> str:
    """What git prints, without the settings of whoever runs the tests."""
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], env={**os.environ, **IDENTITY, **quiet},
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def commit_all(folder: Path, message: str) -> str:
    """The new commit's hash."""
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")
