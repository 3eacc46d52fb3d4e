"""The formats of CI systems, held to what their makers document of them."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

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


def test_files_that_cannot_be_read_and_the_first_problem_of_each_document_are_annotated_first() -> None:
    unreadable = Problem("jobs.d/z.yaml", 1, 1, "", "is not UTF-8")
    other = Problem("jobs.d/y.yaml", 1, 1, "", "of another document", "Job", "y")
    annotated = github(sorted([*many(25), unreadable, other]))[:10]
    assert any("file=jobs.d/z.yaml,line=1,col=1,title=invalid file::is not UTF-8" in line for line in annotated)
    assert any("of another document" in line for line in annotated)


@given(problems)
def test_nothing_in_a_problem_is_taken_for_a_command(some: list[Problem]) -> None:
    lines = github(some)
    commands = [line for line in lines if line.lstrip().startswith("::")]
    assert len(commands) == min(len(some), GITHUB_ANNOTATIONS) + (len(some) > GITHUB_ANNOTATIONS)
    assert all("\n" not in line and "\r" not in line for line in commands)
    assert all(
        re.fullmatch(r"::error file=[^:,]*,line=\d,col=\d,title=[^:,]*::.*", line, re.DOTALL)
        or line.startswith("::notice")
        for line in commands
    )
    assert not any("##[" in line for line in lines)


# --- GitLab: description, check_name, fingerprint, severity and location are required, severities are a closed list, and
# of issues with one fingerprint only the first is shown


@given(problems)
def test_a_code_quality_report_has_what_is_required_and_no_fingerprint_twice(some: list[Problem]) -> None:
    report = gitlab(some)
    assert len({one["fingerprint"] for one in report}) == len(some)
    for one, problem in zip(report, some, strict=True):
        assert set(one) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert one["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert one["location"] == {"path": problem.path, "lines": {"begin": problem.line}}


def test_a_problem_keeps_its_fingerprint_when_lines_are_added_above_it() -> None:
    moved = Problem(ONE.path, 99, 1, ONE.field, ONE.message, ONE.kind, ONE.name)
    assert gitlab([ONE])[0]["fingerprint"] == gitlab([moved])[0]["fingerprint"]


# --- JUnit: test suites of test cases; counts that are true; XML that any parser takes


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


# --- SARIF 2.1.0: version, runs[].tool.driver.name, results[].message are required; ruleIndex leads to the rule; a place is
# a URI reference and a region that counts from 1


@given(problems)
def test_a_sarif_log_has_what_is_required(some: list[Problem]) -> None:
    log = sarif(some, "1.2.3")
    (run,) = log["runs"]
    assert (log["version"], run["tool"]["driver"]["name"], run["columnKind"]) == (
        "2.1.0",
        "reconcile",
        "unicodeCodePoints",
    )
    rules = run["tool"]["driver"]["rules"]
    for result, problem in zip(run["results"], some, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert isinstance(result["message"]["text"], str)
        place = result["locations"][0]["physicalLocation"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]*", place["artifactLocation"]["uri"])
        assert place["region"] == {"startLine": problem.line, "startColumn": problem.column}
    json.dumps(log)


def test_a_path_is_a_relative_uri() -> None:
    uri = sarif([ONE], "1")["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (uri, unquote(uri)) == ("jobs.d/a%20b.yaml", "jobs.d/a b.yaml")
