"""What others have built for the same work, each in an environment of its own, made with pip when it is first asked for.

    python -m tests.benchmarks.rivals          installs all of them ahead

They stay in the cache folder, so that the next run of the benchmarks finds them. One that cannot be had makes its row say
so. Environments of their own, because they want other versions of what we use, and each other's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from tests.benchmarks.rows import Unavailable

WANTED: Final = {
    "dlt": ("dlt[filesystem,parquet]==1.*",),
    "ingestr": ("ingestr==0.15.*", "setuptools<80"),
    "drt-core": ("drt-core[duckdb]==1.2.*",),
    "huey": ("huey==3.*",),
    "celery": ("celery==5.*",),
}


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "reconcile-benchmarks")


def rival(name: str) -> Path:
    """The folder of its programs. Raises Unavailable, with what pip said, where it cannot be had."""
    place = cache() / name
    wanted = WANTED[name]
    ready = place / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(wanted):
        venv.create(place, with_pip=True, clear=True)
        pip: list[str | Path] = [place / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise Unavailable(f"{name} cannot be installed: {said}")
        ready.write_text("\n".join(wanted))
    return place / "bin"


def version(name: str, package: str = "") -> str:
    """Which version it is, in a few words."""
    program = f"from importlib.metadata import version; print(version({(package or name)!r}))"
    done = subprocess.run([rival(name) / "python", "-c", program], capture_output=True, text=True, check=True)
    return f"{name} {done.stdout.strip()}"


def main() -> int:
    missing = 0
    for name in WANTED:
        try:
            print(version(name))
        except Unavailable as problem:
            missing += 1
            print(problem)
    return int(missing > 0)


if __name__ == "__main__":
    sys.exit(main())
