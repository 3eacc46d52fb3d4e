"""The kinds of problems, each with an id that never changes: what code scanning groups, filters and dismisses by.

A problem says in words what is wrong; which kind that is follows from its words and its place. The kinds are asked in
order, and the last one takes what is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from reconciler.core.operator import FILE_NAME as SETTINGS_FILE
from reconciler.core.policy import FILE_NAME as POLICY_FILE
from reconciler.core.value import dataclass
from reconciler.errors import Problem


@dataclass(frozen=True, slots=True)
class ProblemRule:
    """One kind: `id` for machines, `name` as SARIF has it, and what is wrong, in a sentence."""

    id: str
    name: str
    text: str
    fits: Callable[[Problem], bool]


def _says(pattern: str) -> Callable[[Problem], bool]:
    """Whether the message begins like that."""
    found = re.compile(pattern)
    return lambda problem: found.match(problem.message) is not None


def _is_of(file: str, kind: str) -> Callable[[Problem], bool]:
    return lambda problem: problem.kind == kind or problem.path.rpartition("/")[2] == file


def _is_unread(problem: Problem) -> bool:
    return not problem.name and not problem.field and _UNREAD.match(problem.message) is not None


_UNREAD: Final = re.compile(
    "cannot be read|is larger than|has a name that is not UTF-8|is a link|is a submodule|is not a regular file|changes while"
)

RULES: Final = (
    ProblemRule(
        "invalid-settings",
        "InvalidSettings",
        "The operator's settings are not what they must be.",
        _is_of(SETTINGS_FILE, "Settings"),
    ),
    ProblemRule(
        "invalid-policy",
        "InvalidPolicy",
        "The policy is not what it must be, and nothing is applied by it.",
        _is_of(POLICY_FILE, "Policy"),
    ),
    ProblemRule(
        "policy-violation",
        "PolicyViolation",
        "A spec breaks a rule of the policy.",
        _says(r"policy [^ :]+: "),
    ),
    ProblemRule("unreadable-file", "UnreadableFile", "A file or folder of specs cannot be read.", _is_unread),
    ProblemRule("duplicate-key", "DuplicateKey", "A mapping has the same key twice.", _says("duplicate key")),
    ProblemRule(
        "invalid-yaml",
        "InvalidYaml",
        "A file is not the YAML that specs are written in.",
        lambda problem: not problem.field,
    ),
    ProblemRule("unknown-field", "UnknownField", "A field does not exist.", _says("unknown field")),
    ProblemRule("missing-field", "MissingField", "A field is required, and missing.", _says("this field is required")),
    ProblemRule(
        "literal-secret",
        "LiteralSecret",
        "A secret stands in a spec, where only a reference to one may.",
        lambda problem: "a secret never stands in a spec" in problem.message,
    ),
    ProblemRule(
        "duplicate-name",
        "DuplicateName",
        "Two documents of a kind have the same name.",
        lambda problem: " is declared twice; " in problem.message,
    ),
    ProblemRule(
        "rename-conflict",
        "RenameConflict",
        "A document says that it was renamed, and that cannot be.",
        lambda problem: problem.field == "metadata.renamedFrom",
    ),
    ProblemRule(
        "dependency-cycle",
        "DependencyCycle",
        "Jobs wait for each other.",
        _says("jobs wait for each other"),
    ),
    ProblemRule(
        "unknown-reference",
        "UnknownReference",
        "A spec names something that is not declared, or that no provider has.",
        _says("unknown "),
    ),
    ProblemRule(
        "invalid-config",
        "InvalidConfig",
        "A job's config is not what its job type takes.",
        lambda problem: problem.field.startswith("spec.config"),
    ),
    ProblemRule("invalid-value", "InvalidValue", "A field has a value that it cannot have.", lambda _: True),
)


def rule_of(problem: Problem) -> int:
    """The index of its rule."""
    return next(index for index, rule in enumerate(RULES) if rule.fits(problem))
