"""What is wrong with specs, in the formats that CI systems read. Texts of problems may hold whatever stood in a file, so
each format's own marks are escaped in them.

    github  workflow commands (docs.github.com, "Workflow commands for GitHub Actions"): an annotation is `::error …::…`
    gitlab  a Code Quality report (docs.gitlab.com, "Code Quality report format")
    junit   one test case a file, by the schema that Jenkins publishes (junit-10.xsd), as GitLab and others read it
    sarif   SARIF 2.1.0 (OASIS), as code scanning takes it
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from reconciler.core.problem_rules import RULES, rule_of
from reconciler.errors import Problem

#: GitHub shows so many errors of a step as annotations.
GITHUB_ANNOTATIONS: Final = 10

TOOL: Final = "reconcile"
RULE: Final = "invalid-spec"
SARIF_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

#: What XML 1.0 cannot hold, however it is written.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


#: From a path as it is shown here to that which a system knows the file by.
Place = Callable[[str], str]


def _as_shown(path: str) -> str:
    return path


def text_of(problem: Problem) -> str:
    """`field: message`."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message


# --- GitHub ---------------------------------------------------------------------------------------------------------


def github(problems: Sequence[Problem], place: Place = _as_shown) -> list[str]:
    """The lines to print: annotations for the weightiest problems, as many as are shown, by the path in the repository; then
    every problem, plainly."""
    shown = sorted(_by_weight(problems)[:GITHUB_ANNOTATIONS])
    lines = [_annotation(replace(problem, path=place(problem.path))) for problem in shown]
    more = len(problems) - len(shown)
    if more:
        what = "1 more problem is" if more == 1 else f"{more:,} more problems are"
        lines.append(f"::notice title={TOOL}::{what} not annotated; the log of this step lists all")
    return [*lines, *(f"- {_no_command(str(problem))}" for problem in problems)]


def _by_weight(problems: Sequence[Problem]) -> list[Problem]:
    """The weightiest first: one of every file, then a second of every file, and so on. Of a file, what keeps it from being
    read comes before the first problem of each document, and that before the others, which often follow from it."""
    of_file: dict[str, list[tuple[int, Problem]]] = {}
    seen: set[tuple[str, str, str]] = set()
    for problem in problems:
        document = (problem.path, problem.kind, problem.name)
        rank = 0 if not problem.name else 2 if document in seen else 1
        of_file.setdefault(problem.path, []).append((rank, problem))
        seen.add(document)
    turns = [(turn, *one) for some in of_file.values() for turn, one in enumerate(sorted(some))]
    return [problem for _, _, problem in sorted(turns)]


def _annotation(problem: Problem) -> str:
    title = f"{problem.kind} {problem.name}".strip() or "invalid file"
    place = f"file={_property(problem.path)},line={problem.line},col={problem.column}"
    return f"::error {place},title={_property(title)}::{_data(text_of(problem))}"


def _data(text: str) -> str:
    return _no_command(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _no_command(text: str) -> str:
    """The older form of a command is found anywhere in a line."""
    return text.replace("##[", "## [")


# --- GitLab ---------------------------------------------------------------------------------------------------------


def gitlab(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The report. Fingerprints leave the line out, so that a problem stays the same one when lines are added above it;
    equal ones in a file are numbered, because of several with one fingerprint only the first is shown."""
    counts: dict[str, int] = {}
    report = []
    for problem in problems:
        print_ = "\0".join([problem.path, problem.kind, problem.name, text_of(problem)])
        counts[print_] = counts.get(print_, 0) + 1
        report.append(
            {
                "description": text_of(problem),
                "check_name": f"{TOOL}/{RULES[rule_of(problem)].id}",
                "fingerprint": hashlib.sha256(f"{print_}\0{counts[print_]}".encode("utf-8", "replace")).hexdigest(),
                "severity": "major",
                "location": {"path": problem.path, "lines": {"begin": problem.line}},
            }
        )
    return report


# --- JUnit ----------------------------------------------------------------------------------------------------------


def junit(files: Collection[str], problems: Sequence[Problem]) -> str:
    """The XML: a test case for each file, which fails with all that is wrong with it."""
    of_file = {path: list(some) for path, some in groupby(sorted(problems), key=lambda one: one.path)}
    names = sorted({*files, *of_file})
    counts = f'tests="{len(names)}" failures="{len(of_file)}" errors="0"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="{TOOL} validate" {counts}>',
        f'  <testsuite name="{TOOL} validate" {counts} skipped="0" time="0">',
    ]
    for name in names:
        lines += _case(name, of_file.get(name, []))
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"])


def _case(name: str, problems: Sequence[Problem]) -> list[str]:
    begin = f'    <testcase classname={_attribute(TOOL)} name={_attribute(name)} time="0"'
    if not problems:
        return [f"{begin}/>"]
    said = escape(_xml("\n".join(map(str, problems))))
    message = _attribute(text_of(problems[0]) + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))
    return [f"{begin}>", f'      <failure message={message} type="{RULE}">{said}</failure>', "    </testcase>"]


def _attribute(text: str) -> str:
    return quoteattr(_xml(text), {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"})


def _xml(text: str) -> str:
    return _NO_XML.sub("�", text)


# --- SARIF ----------------------------------------------------------------------------------------------------------


def sarif(problems: Sequence[Problem], version: str) -> dict[str, Any]:
    """The log, with paths as relative URIs and columns counted in code points, as ours are; every kind of problem is a rule,
    whether there is one of it or not."""
    rules = [
        {
            "id": rule.id,
            "name": rule.name,
            "shortDescription": {"text": rule.text},
            "fullDescription": {"text": f"{rule.text} {_FOLLOWS}"},
            "help": {"text": f"`{TOOL} validate` says the same offline; `{TOOL} schema` prints what a spec may say."},
            "defaultConfiguration": {"level": "error"},
        }
        for rule in RULES
    ]
    prints = [one["fingerprint"] for one in gitlab(problems)]
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": TOOL, "version": version, "rules": rules}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(problem, print_) for problem, print_ in zip(problems, prints, strict=True)],
            }
        ],
    }


_FOLLOWS: Final = "What is invalid leaves its job as it was, and nothing new of it is done."


def _result(problem: Problem, fingerprint: str) -> dict[str, Any]:
    index = rule_of(problem)
    return {
        "ruleId": RULES[index].id,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": text_of(problem)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": quote(problem.path.encode("utf-8", "surrogatepass"))},
                    "region": {"startLine": problem.line, "startColumn": problem.column},
                }
            }
        ],
        "partialFingerprints": {f"{TOOL}/v1": fingerprint},
    }
