"""Programs that pip cannot install and some tests need. `.ci/run` installs them, and under CI a missing one is a failure; on a
machine without them those tests are skipped, and say how to get what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

LANGUAGE_SERVER: Final = "yaml-language-server@1.25.0"
NODE_FOLDER: Final = Path(sys.prefix) / "node"

_WAYS: Final = {
    "yaml-language-server": f"with Node 20: npm install --prefix {NODE_FOLDER} {LANGUAGE_SERVER}",
    "sshd": "apt-get install openssh-server",
    "ssh-keygen": "apt-get install openssh-client",
    "gpg": "apt-get install gnupg",
    "gcc": "apt-get install gcc libc6-dev",
}


def program(name: str) -> str:
    """The path of a program; where it is missing the test is skipped, or has failed under CI."""
    folders = [str(NODE_FOLDER / "node_modules" / ".bin"), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        missing = f"{name} is missing; {_WAYS[name]}"
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    return found
