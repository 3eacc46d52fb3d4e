"""Reading `policy.yaml`: every error at its place, and never freer than the commit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.repo.policy_file import read_policy
from tests.repo.worktree import WorkTree


def problems_of(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "jobs.d").mkdir(exist_ok=True)
    (tmp_path / "policy.yaml").write_text(text, encoding="utf-8")
    return [str(problem) for problem in read_policy(tmp_path / "jobs.d", None).problems]


def test_without_a_file_everything_is_allowed(tmp_path: Path) -> None:
    seen = read_policy(tmp_path / "jobs.d", None)
    assert (seen.policy.rules, seen.policy.windows, seen.digest, seen.problems) == ((), (), "", ())


def test_a_rule_and_a_window_are_read(tmp_path: Path) -> None:
    text = (
        "rules:\n  - {name: a, match: {kind: Job, path: [x/**, y/**]}, cel: 'true'}\n"
        "windows:\n  - {name: w, days: [sat, sun], from: '08:00', timezone: Europe/Paris}\n"
    )
    assert problems_of(tmp_path, text) == []
    policy = read_policy(tmp_path / "jobs.d", None).policy
    assert (policy.rules[0].match.kinds, policy.rules[0].match.paths) == (("Job",), ("x/**", "y/**"))
    assert (policy.windows[0].days, policy.windows[0].from_minute, policy.windows[0].to_minute) == (
        ("sat", "sun"),
        480,
        1440,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules:\n  - {name: a}\n", "2:5: error: rules[0]: expected exactly one of cel or schema, found none"),
        ("rules:\n  - {name: a, cel: 'true', schema: {}}\n", "2:5: error: rules[0]: expected exactly one of cel or schema, found cel and schema"),
        ("rules:\n  - {name: a, cel: 'spec.x ==== 1'}\n", "2:30: error: rules[0].cel: not a valid CEL expression: extraneous input '=='"),
        ("rules:\n  - {name: a, cel: 'nosuch'}\n", "2:20: error: rules[0].cel: not a valid CEL expression: undeclared reference to 'nosuch'"),
        ("rules:\n  - {name: a, on: plan, schema: {}}\n", "2:33: error: rules[0].schema: a schema judges specs; a rule over plans is written in cel"),
        ("rules:\n  - {name: a, cel: 'true'}\n  - {name: a, cel: 'true'}\n", "3:12: error: rules[1].name: expected a name of its own, found 'a' again"),
        ("rules:\n  - {name: a, cel: 'true', match: {kind: Jobs}}\n", "2:42: error: rules[0].match.kind: expected Job, Authorization, Stream or Audience, found 'Jobs'"),
        ("rules:\n  - {name: a, cel: 'true', match: {path: '**/**/**/**/**/x'}}\n", "2:42: error: rules[0].match.path: expected at most 4 of ** in a pattern"),
        ("windows:\n  - {name: w}\n", "2:5: error: windows[0]: expected days, from and to, or before: a window without an end would hold everything for ever"),
        ("windows:\n  - {name: w, from: '00:00', to: '24:00', after: 2026-01-01T00:00:00Z}\n", "2:5: error: windows[0]: expected days, from and to, or before: a window without an end would hold everything for ever"),
        ("windows:\n  - {name: w, from: '22:00', to: '22:00'}\n", "2:34: error: windows[0].to: expected a time other than that of from"),
        ("windows:\n  - {name: w, days: [saturday]}\n", "2:22: error: windows[0].days[0]: expected mon, tue, wed, thu, fri, sat or sun, found 'saturday'"),
        ("windows:\n  - {name: w, days: [sat], timezone: Mars/Olympus}\n", "2:38: error: windows[0].timezone: expected a time zone such as Europe/Paris, found 'Mars/Olympus'"),
        ("rule: []\n", "1:1: error: rule: unknown field; did you mean 'rules'?"),
    ],
)  # fmt: skip
def test_every_error_is_told_at_its_place(tmp_path: Path, text: str, expected: str) -> None:
    (found, *_) = problems_of(tmp_path, text)
    assert found.startswith(f"../policy.yaml:{expected}")


def test_a_policy_that_is_gone_from_disk_but_not_from_head_is_a_problem(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "repo")
    (tree.top / "policy.yaml").write_text("rules: []\n")
    tree.commit()
    assert read_policy(tree.root, None, expected=True).problems == ()
    (tree.top / "policy.yaml").unlink()
    (problem,) = read_policy(tree.root, None, expected=True).problems
    assert (
        str(problem) == "../policy.yaml:1:1: error: gone from disk but not from HEAD; commit its removal, or restore it"
    )
    tree.commit()
    seen = read_policy(tree.root, None, expected=True)
    assert [one.message for one in seen.problems] == ["gone from disk; there is none once a second look sees the same"]
    assert seen.may_be_gone


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.symlink_to("nowhere"), "is a link that leads nowhere"),
        (lambda path: os.mkfifo(path), "is not a regular file"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
    ],
)
def test_a_policy_that_is_there_and_cannot_be_read_is_no_missing_one(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    make(tmp_path / "policy.yaml")
    seen = read_policy(tmp_path / "jobs.d", None)
    assert [str(one) for one in seen.problems] == [f"../policy.yaml:1:1: error: {says}"]
    assert seen.digest == "unreadable"
