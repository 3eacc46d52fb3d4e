"""The audit of dependencies says what it found, and what it could not look up; every requirement has a lower bound."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.audit import verdict

SAFE = {"name": "click", "version": "8.3", "vulns": []}
WEAK = {"name": "httpx", "version": "0.1", "vulns": [{"id": "PYSEC-2021-1", "fix_versions": ["0.23"]}]}
LOST = {"name": "duckdb", "skip_reason": "Dependency not found on PyPI and could not be audited: duckdb (2.0)"}


@pytest.mark.parametrize(
    ("dependencies", "code", "says"),
    [
        ([SAFE], 0, ["1 packages audited, 0 known vulnerabilities"]),
        (
            [SAFE, WEAK, LOST],
            1,
            [
                "httpx 0.1: PYSEC-2021-1, mended in 0.23",
                "2 packages audited, 1 known vulnerabilities",
                "not looked up: duckdb",
            ],
        ),
        ([LOST], 0, ["NOT AUDITED: the data of none of 1 packages can be reached from here"]),
    ],
    ids=["safe", "weak", "unreachable"],
)
def test_the_audit_fails_for_a_known_vulnerability_and_says_what_it_could_not_look_up(
    dependencies: list[dict[str, object]], code: int, says: list[str]
) -> None:
    assert verdict(dependencies) == (code, says)


def test_every_requirement_of_the_product_has_a_lower_bound() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["listen"]]
    assert not [one for one in wanted if not re.search(r">=\d", one)]
