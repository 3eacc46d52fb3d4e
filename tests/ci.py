"""What a CI system does with what `examples/ci` ships, as far as one machine can: the steps run in their order, by the shells that
the system uses, with the variables that it sets.

Of GitHub's expressions only what the action uses is known; everything else is an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.install import IDENTITY, OFFLINE

#: Where `reconcile` and `python` are found: what the tests run with.
PATH: Final = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
#: docs.github.com, "jobs.<job_id>.steps[*].shell".
SHELLS: Final = {
    "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"],
    "python": [sys.executable, "{0}"],
}
_EXPRESSION: Final = re.compile(r"\$\{\{ (.*?) \}\}")


@dataclass
class Step:
    outcome: str
    outputs: Mapping[str, str]
    said: str


@dataclass
class Action:
    """A composite action (docs.github.com, "Metadata syntax"), run step by step in a checkout."""

    path: Path
    checkout: Path
    temporary: Path
    github: Mapping[str, str]
    inputs: dict[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, after: Mapping[str, Step] | None = None) -> dict[str, Step]:
        """What became of each step, by its id. The steps of `after` are taken as run."""
        declared = yaml.safe_load((self.path / "action.yml").read_text(encoding="utf-8"))
        assert self.inputs.keys() <= declared["inputs"].keys()
        defaults = {name: self._filled(str(one.get("default", "")), {}) for name, one in declared["inputs"].items()}
        self.inputs = defaults | self.inputs
        steps: dict[str, Step] = dict(after or {})
        for step in declared["runs"]["steps"]:
            if "run" in step and step["id"] not in steps:  # `uses` is the work of others
                steps[step["id"]] = self._step(step, steps)
        return steps

    def _step(self, step: Mapping[str, Any], steps: Mapping[str, Step]) -> Step:
        condition = step.get("if")
        if not self._holds(condition, steps):
            return Step("skipped", {}, "")
        for name in ("output", "summary", "path"):
            (self.temporary / f"{step['id']}.{name}").touch()
        script = self.temporary / f"{step['id']}.script"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            [part.format(script) for part in SHELLS[step["shell"]]], cwd=self.checkout, capture_output=True, text=True,
            check=False, env=self._environment(step, steps), timeout=240,
        )  # fmt: skip
        lines = (self.temporary / f"{step['id']}.output").read_text(encoding="utf-8").splitlines()
        outputs = dict(line.split("=", 1) for line in lines)
        return Step("failure" if done.returncode else "success", outputs, done.stdout + done.stderr)

    def _environment(self, step: Mapping[str, Any], steps: Mapping[str, Step]) -> dict[str, str]:
        own = {name: self._filled(value, steps) for name, value in step.get("env", {}).items()}
        files = {f"GITHUB_{one.upper()}": str(self.temporary / f"{step['id']}.{one}") for one in ("output", "path")}
        return {
            **OFFLINE, **IDENTITY, "PATH": PATH, "HOME": str(self.temporary), "CI": "true", "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(self.temporary), "GITHUB_ACTION_PATH": str(self.path), **files,
            "GITHUB_STEP_SUMMARY": str(self.temporary / f"{step['id']}.summary"),
            **{f"GITHUB_{name.upper()}": value for name, value in self.github.items()}, **self.environment, **own,
        }  # fmt: skip

    def summary(self, step: str) -> str:
        return (self.temporary / f"{step}.summary").read_text(encoding="utf-8")

    # --- expressions --------------------------------------------------------------------------------------------------

    def _filled(self, text: str, steps: Mapping[str, Step]) -> str:
        return _EXPRESSION.sub(lambda match: self._value(match[1], steps), text)

    def _value(self, name: str, steps: Mapping[str, Step]) -> str:
        match name.split("."):
            case ["inputs", one]:
                return self.inputs[one]
            case ["github", one]:
                return self.github.get(one, "")
            case ["steps", one, "outcome"]:
                return steps[one].outcome
            case ["steps", one, "outputs", output]:
                return steps[one].outputs.get(output, "")
        raise AssertionError(f"an expression that is not known here: {name}")

    def _holds(self, condition: str | None, steps: Mapping[str, Step]) -> bool:
        """Without a condition a step runs where all before it have succeeded."""
        if condition is None:
            return all(one.outcome != "failure" for one in steps.values())
        whole = _EXPRESSION.fullmatch(condition)
        assert whole, condition
        return all(self._clause(one, steps) for one in whole[1].split(" && "))

    def _clause(self, clause: str, steps: Mapping[str, Step]) -> bool:
        if clause == "!cancelled()":
            return True
        name, sign, value = clause.split(" ")
        assert sign in ("==", "!="), clause
        return (self._value(name, steps) == value.strip("'")) is (sign == "==")


def run_gitlab_job(
    job: Mapping[str, Any], checkout: Path, variables: Mapping[str, str], *, after: int = 0
) -> tuple[int, str]:
    """A job's script, without its first `after` commands, as a runner of GitLab joins it: one shell for all of them, which ends
    with the first that fails. Its exit code and what it printed."""
    script = "\n".join(job["script"][after:])
    own = {name: str(value) for name, value in job["variables"].items()}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=checkout, capture_output=True, text=True,
        check=False, timeout=240, env={**OFFLINE, **IDENTITY, "PATH": PATH, "HOME": str(checkout.parent), "CI": "true", **own, **variables},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr
