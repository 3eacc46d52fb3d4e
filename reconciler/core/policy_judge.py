"""Judging by a policy: CEL by Google's own runtime, JSON Schema by the hands that check a config.

An expression is compiled once, with the types of its variables, so that a misspelt variable is an error of the policy and not of
every spec. The runtime bounds how long an expression may loop, and its regular expressions are RE2's.

    of a spec      kind, name, path, runType (import, export, enrichment; empty for what is no job): string
                   metadata {name, title, description, labels}, spec: map; cadence: duration, the shortest time between two starts
    of an action   kind, name, path, verb, author, commit: string; resetsCursor: bool; changes: list of the fields that change
                   metadata, spec: map, as declared; of a deletion, as last made true
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from reconciler.core.config_schema import ConfigSchema, compile_schema
from reconciler.core.document import Document
from reconciler.core.issue import Path, clip, field_path, field_text, with_offset
from reconciler.core.policy import Policy, Rule, Subject
from reconciler.core.policy_view import view
from reconciler.core.provider import Catalogue
from reconciler.core.value import dataclass
from reconciler.errors import Problem

_ERROR: Final = re.compile(r"ERROR: <input>:([0-9]+):([0-9]+): ([^\n]*)")
_CODE: Final = re.compile(r"^[A-Z_]+: ")
#: One document breaks one schema in so many places at most that are told.
MAX_PLACES: Final = 20


class BadRule(ValueError):
    """A rule that cannot be compiled; the text says why, with the character where it is known."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule, broken at one field."""

    rule: str
    field: Path
    message: str


class Judge:
    """The compiled rules of a policy. Raises BadRule where one cannot be compiled."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._expressions = {rule.name: _Expression(rule.cel, rule.on) for rule in policy.rules if rule.cel}
        self._schemas = {rule.name: usable_schema(rule.schema) for rule in policy.rules if rule.schema is not None}

    def spec(self, document: Document, catalogue: Catalogue) -> list[Violation]:
        """What a valid document breaks."""
        rules = [rule for rule in self.policy.on("spec") if _fits(rule, document)]
        if not rules:
            return []
        facts = view(document, catalogue)
        whole = {"apiVersion": "reconciler/v1", **{name: facts[name] for name in ("kind", "metadata", "spec")}}
        found: list[Violation] = []
        for rule in rules:
            found += self._by_expression(rule, facts) if rule.cel else self._by_schema(rule, whole)
        return found

    def action(self, facts: Mapping[str, Any], labels: Mapping[str, str]) -> list[Violation]:
        """What an action breaks. `facts` are its variables."""
        return [
            violation
            for rule in self.policy.on("plan")
            if rule.match.fits(facts["kind"], facts["name"], facts["path"], facts["spec"], labels)
            for violation in self._by_expression(rule, facts)
        ]

    def _by_expression(self, rule: Rule, facts: Mapping[str, Any]) -> Iterable[Violation]:
        wrong = self._expressions[rule.name].wrong(facts)
        if wrong is None:
            return
        field = field_path(rule.field) if rule.field else ("metadata", "name")
        yield Violation(rule.name, field, wrong or rule.message or _plain(rule))

    def _by_schema(self, rule: Rule, whole: Mapping[str, Any]) -> Iterable[Violation]:
        for issue in self._schemas[rule.name].issues(whole)[:MAX_PLACES]:
            text = f"{rule.message} ({issue.message})" if rule.message else issue.message
            yield Violation(rule.name, issue.path, text)


def _plain(rule: Rule) -> str:
    return f"expected {clip(' '.join(rule.cel.split()))}"


def _fits(rule: Rule, document: Document) -> bool:
    return rule.match.fits(document.kind, document.name, document.path, document.spec, document.labels)


def problem_of(violation: Violation, document: Document) -> Problem:
    """A violation as a problem of the document; its place is the line on which that begins, until it is located."""
    message = f"policy {violation.rule}: {violation.message}"
    return Problem(document.path, document.line, 1, field_text(violation.field), message, document.kind, document.name)


# --- CEL ------------------------------------------------------------------------------------------------------------


class _Expression:
    """One compiled expression."""

    def __init__(self, text: str, subject: Subject) -> None:
        from cel_expr_python import cel

        variables = {name: getattr(cel.Type, kind) for name, kind in _VARIABLES[subject].items()}
        variables |= dict.fromkeys(("metadata", "spec"), cel.Type.Map(cel.Type.STRING, cel.Type.DYN))
        try:
            environment = cel.NewEnv(variables=variables, extensions=_extensions())
            self._compiled = environment.compile(text)
        except (RuntimeError, ValueError) as error:
            raise BadRule(_compile_error(str(error), text)) from None
        if self._compiled.return_type().name() not in ("BOOL", "DYN"):
            raise BadRule("expected an expression that is true or false")

    def wrong(self, facts: Mapping[str, Any]) -> str | None:
        """None where it is true; empty where it is false; else why it cannot be judged."""
        try:
            result = self._compiled.eval(data=dict(facts))
            value = result.value()
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            return f"it cannot be judged: {_said(str(error))}"
        if result.type().name() == "ERROR":
            return f"it cannot be judged: {_said(str(value))}"
        if value is True:
            return None
        return "" if value is False else "it cannot be judged: the expression is neither true nor false"


#: The variables of an expression and their types, besides `metadata` and `spec`.
_VARIABLES: Final[Mapping[Subject, Mapping[str, str]]] = {
    "spec": {"kind": "STRING", "name": "STRING", "path": "STRING", "runType": "STRING", "cadence": "DURATION"},
    "plan": {
        "kind": "STRING",
        "name": "STRING",
        "path": "STRING",
        "verb": "STRING",
        "author": "STRING",
        "commit": "STRING",
        "resetsCursor": "BOOL",
        "changes": "LIST",
    },
}


def _extensions() -> Sequence[Any]:
    from cel_expr_python.ext import ext_strings

    return [ext_strings.ExtStrings()]


def _compile_error(text: str, expression: str) -> str:
    match = _ERROR.search(text)
    if match is None:
        return clip(_said(text))
    line, column = int(match[1]), int(match[2])
    offset = sum(len(one) + 1 for one in expression.split("\n")[: line - 1]) + column - 1
    message = match[3].removeprefix("Syntax error: ").replace(" (in container '')", "")
    return with_offset(f"not a valid CEL expression: {clip(message)}", offset)


def _said(text: str) -> str:
    return clip(" ".join(_CODE.sub("", text).split()).rstrip("."))


def usable_schema(schema: Mapping[str, Any] | None) -> ConfigSchema:
    """A compiled schema. Raises BadRule."""
    compiled = compile_schema(schema or {})
    if compiled.unusable:
        raise BadRule(f"not a usable JSON Schema: {compiled.unusable}")
    return compiled


def rule_problem(rule: Rule) -> tuple[Path, str] | None:
    """What is wrong with one rule: the field within it, and the message."""
    try:
        if rule.cel:
            _Expression(rule.cel, rule.on)
        elif rule.schema is not None:
            usable_schema(rule.schema)
    except BadRule as error:
        return ("cel" if rule.cel else "schema",), str(error)
    return None
