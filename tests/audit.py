"""Are there known vulnerabilities in what is installed here? `python -m tests.audit`

It asks pip-audit (`pip install -e '.[dev]'`), which asks PyPI. Exit code 1 where there are some. Where PyPI's data cannot be
reached, as behind a mirror that keeps packages alone, it says so, and that is no failure: what holds then is that every
requirement of pyproject.toml has a lower bound.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

COMMAND: Final = (
    sys.executable, "-m", "pip_audit", "--skip-editable", "--progress-spinner", "off", "--format", "json",
)  # fmt: skip
PATIENCE_S: Final = 300
SHOWN: Final = 5


def verdict(dependencies: Sequence[dict[str, Any]]) -> tuple[int, list[str]]:
    """The exit code and what to print, from the `dependencies` of pip-audit's JSON."""
    looked_up = [one for one in dependencies if "skip_reason" not in one]
    others = [one["name"] for one in dependencies if "skip_reason" in one]
    lines = [
        f"{one['name']} {one['version']}: {vulnerability['id']}, mended in {', '.join(vulnerability['fix_versions']) or 'no version'}"
        for one in looked_up
        for vulnerability in one["vulns"]
    ]
    found = len(lines)
    if not looked_up:
        lines.append(f"NOT AUDITED: the data of none of {len(others)} packages can be reached from here")
    else:
        lines.append(f"{len(looked_up)} packages audited, {found} known vulnerabilities")
        if others:
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            lines.append(f"not looked up: {', '.join(others[:SHOWN])}{more}")
    return (1 if found else 0), lines


def main() -> int:
    try:
        ended = subprocess.run(COMMAND, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        dependencies = json.loads(ended.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        print("NOT AUDITED: pip-audit is not installed, or its data cannot be reached from here")
        return 0
    code, lines = verdict(dependencies)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
