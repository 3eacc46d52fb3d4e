"""`examples/ci` works as it stands: the action and the job are what their systems' schemas ask for, and their steps run, in a
repository with a remote, against an API that answers as the documentation says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jsonschema import Draft7Validator
from lxml import etree

from tests.ci import Action, Step, run_gitlab_job
from tests.cli.conftest import STREAM, job_text
from tests.core.test_reports import CODE_QUALITY, JUNIT, read_command
from tests.install import REPOSITORY, commit_all, copy_of_the_package, git
from tests.servers import Play, Request, Server, as_json

GITHUB: Final = REPOSITORY / "examples" / "ci" / "github"
GITLAB: Final = REPOSITORY / "examples" / "ci" / "gitlab" / "reconcile.gitlab-ci.yml"
MARKER: Final = "<!-- reconcile plan: root=jobs.d -->"
#: Whoever names a branch may name it so.
BASE: Final = "main;touch$IFS'pwned'"


# --- what the files are ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("github-actions", GITHUB / "action.yml"),
        ("github-workflows", GITHUB / "workflow.yml"),
        ("gitlab-ci", GITLAB),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_file_is_what_its_system_asks_for(schema: str, path: Path) -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", sorted(GITHUB.iterdir()), ids=lambda path: path.name)
def test_what_is_used_of_others_is_pinned_to_a_commit(path: Path) -> None:
    for used in re.findall(r"^\s*-? ?uses: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}( # v[\d.]+)?", used), used


@pytest.mark.parametrize("path", sorted(GITHUB.iterdir()), ids=lambda path: path.name)
def test_no_expression_becomes_the_text_of_a_script(path: Path) -> None:
    for script in runs(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert "${{" not in script


def runs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "run":
                yield one
            else:
                yield from runs(one)
    elif isinstance(value, list):
        for one in value:
            yield from runs(one)


# --- a repository whose branch is asked to be merged ----------------------------------------------------------------


@dataclass
class Checkout:
    """A clone whose branch adds a job to what the base declares."""

    folder: Path

    def write(self, text: str) -> None:
        (self.folder / "jobs.d").mkdir(exist_ok=True)
        (self.folder / "jobs.d" / "orders.yaml").write_text(text, encoding="utf-8")
        commit_all(self.folder, "Specs")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    origin, folder = tmp_path / "origin", tmp_path / "checkout"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch", BASE)
    Checkout(origin).write(STREAM + job_text("import-orders"))
    git(tmp_path, "clone", "--quiet", str(origin), str(folder))
    git(folder, "switch", "--quiet", "--create", "feature")
    git(folder, "update-ref", "-d", f"refs/remotes/origin/{BASE}")
    made = Checkout(folder)
    made.write(STREAM + job_text("import-orders") + job_text("import-more"))
    return made


@dataclass
class Comments:
    """The comments (or notes) of one request, as both APIs serve them: pages, POST to add one, PATCH or PUT to change it."""

    held: list[dict[str, Any]]
    add: Callable[[str], dict[str, Any]]
    refuse: int = 0
    tokens: set[str] = field(default_factory=set)

    def answer(self, request: Request) -> Play:
        self.tokens.add(request.headers.get("authorization", request.headers.get("private-token", "")))
        if self.refuse:
            return Play(self.refuse, b"{}")
        if request.path.endswith("/user"):
            return as_json({"id": 7})
        if request.method == "GET":
            first = (int(request.query["page"]) - 1) * int(request.query["per_page"])
            return as_json(self.held[first : first + int(request.query["per_page"])])
        assert set(request.json) == {"body"}
        if request.method == "POST":
            self.held.append(self.add(request.json["body"]))
            return as_json(self.held[-1])
        (one,) = [one for one in self.held if str(one["id"]) == request.path.rpartition("/")[2]]
        one["body"] = request.json["body"]
        return as_json(one)

    @property
    def bodies(self) -> list[str]:
        return [one["body"] for one in self.held]


# --- GitHub ---------------------------------------------------------------------------------------------------------


def github_comment(body: str, number: int = 500, kind: str = "Bot") -> dict[str, Any]:
    return {"id": number, "body": body, "user": {"login": "somebody", "type": kind}}


@pytest.fixture
def github(checkout: Checkout, tmp_path: Path) -> Iterator[tuple[Action, Comments]]:
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 12}}))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    comments = Comments([], github_comment)
    with Server(comments.answer) as server:
        given = {
            "base_ref": BASE, "event_path": str(event), "event_name": "pull_request", "repository": "shop/jobs",
            "api_url": server.url, "token": "t0ken",
        }  # fmt: skip
        dry = {"PIP_DRY_RUN": "1"}  # the installation itself is pre-commit's test
        yield Action(GITHUB, checkout.folder, temporary, given, environment=dry), comments


def test_the_action_installs_validates_plans_and_comments(github: tuple[Action, Comments], tmp_path: Path) -> None:
    action, comments = github
    package = copy_of_the_package(tmp_path / "package")
    action.path = package / "examples" / "ci" / "github"
    action.path.mkdir(parents=True)
    (action.path / "action.yml").write_bytes((GITHUB / "action.yml").read_bytes())
    steps = action.run()
    assert {name: step.outcome for name, step in steps.items()} == dict.fromkeys(
        ("install", "validate", "plan", "comment"), "success"
    ), steps
    assert (action.temporary / "install.path").read_text() == f"{action.temporary}/reconcile/bin\n"
    assert steps["validate"].said == "1 file checked; no problems.\n"
    assert steps["plan"].outputs["changes"] == "true"
    plan = Path(steps["plan"].outputs["plan"]).read_text(encoding="utf-8")
    assert plan.startswith(MARKER)
    assert "import-more" in plan
    assert action.summary("plan") == plan
    assert (comments.bodies, comments.tokens) == ([plan], {"Bearer t0ken"})
    assert steps["comment"].said == "the comment was written\n"
    assert not list(tmp_path.rglob("pwned"))


INSTALLED: Final = {"install": Step("success", {}, "")}


def test_an_invalid_spec_fails_the_job_with_annotations_and_the_plan_still_comes(
    github: tuple[Action, Comments], checkout: Checkout
) -> None:
    action, comments = github
    checkout.write(STREAM + job_text("import-orders").replace("schedule:", "shedule:"))
    steps = action.run(INSTALLED)
    assert {name: step.outcome for name, step in steps.items()} == {
        "install": "success", "validate": "failure", "plan": "success", "comment": "success",
    }  # fmt: skip
    place, message = read_command(steps["validate"].said.splitlines()[0])
    assert place["file"] == "jobs.d/orders.yaml"
    assert message == "spec.shedule: unknown field; did you mean 'schedule'?"
    assert "shedule" in comments.bodies[0]


def test_a_push_has_no_plan_and_a_root_that_is_not_there_fails(github: tuple[Action, Comments]) -> None:
    action, _ = github
    action.inputs = {"base": "", "root": "x; touch pwned"}
    steps = action.run(INSTALLED)
    assert [steps[name].outcome for name in ("validate", "plan", "comment")] == ["failure", "skipped", "skipped"]
    assert "x; touch pwned" in steps["validate"].said
    assert not (action.checkout / "pwned").exists()


def planned(action: Action, text: str, changes: str) -> dict[str, Step]:
    """The steps up to a plan that says this."""
    path = action.temporary / "plan.md"
    path.write_text(text, encoding="utf-8")
    return {
        **INSTALLED,
        "validate": INSTALLED["install"],
        "plan": Step("success", {"plan": str(path), "changes": changes}, ""),
    }


def test_a_merge_that_changes_nothing_is_planned_as_such(github: tuple[Action, Comments], checkout: Checkout) -> None:
    action, comments = github
    checkout.write(STREAM + job_text("import-orders"))
    steps = action.run({**INSTALLED, "validate": INSTALLED["install"]})
    assert steps["plan"].outputs["changes"] == "false"
    assert steps["comment"].said == "a merge would change nothing; no comment was written\n"
    assert comments.bodies == []


def test_an_earlier_comment_of_a_bot_is_brought_up_to_date_and_no_other_touched(
    github: tuple[Action, Comments],
) -> None:
    action, comments = github
    others = [github_comment(f"{MARKER}\nlook here instead", 1, "User"), github_comment("hello", 2)]
    comments.held = [*others * 60, github_comment(f"{MARKER}\nof an earlier run", 3)]
    steps = action.run(planned(action, f"{MARKER}\nnothing any more", "false"))
    assert steps["comment"].said == "the comment was brought up to date\n"
    assert comments.bodies[-1] == f"{MARKER}\nnothing any more"
    assert comments.held[:120] == others * 60


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        (
            403,
            "GitHub answered 403; a pull request from a fork has a token that only reads. The plan is in the summary",
        ),
        (500, "GitHub answered 500. The plan is in the summary"),
    ],
)
def test_a_comment_that_is_refused_is_a_warning(github: tuple[Action, Comments], refuse: int, said: str) -> None:
    action, comments = github
    comments.refuse = refuse
    steps = action.run(planned(action, MARKER, "true"))
    assert (steps["comment"].outcome, steps["comment"].said) == (
        "success", f"::warning title=reconcile::no comment: {said}\n",
    )  # fmt: skip


def test_nobody_is_asked_where_there_is_no_pull_request_or_no_comment_is_wanted(
    github: tuple[Action, Comments],
) -> None:
    action, comments = github
    Path(action.github["event_path"]).write_text("{}")
    steps = action.run(planned(action, MARKER, "true"))
    assert steps["comment"].said == "this is no pull request; no comment was written\n"
    action.inputs = {"comment": "false"}
    assert action.run(planned(action, MARKER, "true"))["comment"].outcome == "skipped"
    assert comments.tokens == set()


# --- GitLab ---------------------------------------------------------------------------------------------------------


def gitlab_note(body: str, number: int = 500, author: int = 7) -> dict[str, Any]:
    return {"id": number, "body": body, "author": {"id": author}, "system": False}


def gitlab_job() -> dict[str, Any]:
    job: dict[str, Any] = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["reconcile"]
    return job


@pytest.fixture
def gitlab(checkout: Checkout, tmp_path: Path) -> Iterator[tuple[dict[str, str], Comments]]:
    notes = Comments([], gitlab_note)
    with Server(notes.answer) as server:
        variables = {
            "CI_MERGE_REQUEST_IID": "12", "CI_MERGE_REQUEST_PROJECT_ID": "34", "CI_API_V4_URL": f"{server.url}/api/v4",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": BASE, "RECONCILE_TOKEN": "t0ken",
            "PIP_DRY_RUN": "1",
        }  # fmt: skip
        yield variables, notes


def reports(folder: Path) -> list[dict[str, Any]]:
    """The code-quality report, once both have been found to be valid."""
    declared = gitlab_job()["artifacts"]["reports"]
    JUNIT.assertValid(etree.parse(folder / declared["junit"]))
    report: list[dict[str, Any]] = json.loads((folder / declared["codequality"]).read_text(encoding="utf-8"))
    Draft7Validator(CODE_QUALITY).validate(report)
    return report


def test_the_job_writes_its_reports_and_a_note(gitlab: tuple[dict[str, str], Comments], checkout: Checkout) -> None:
    variables, notes = gitlab
    code, said = run_gitlab_job(gitlab_job(), checkout.folder, variables)
    assert code == 0, said
    assert reports(checkout.folder) == []
    plan = (checkout.folder / "reconcile-plan.md").read_text(encoding="utf-8")
    assert plan.startswith(MARKER)
    assert "import-more" in plan
    assert (notes.bodies, notes.tokens) == ([plan], {"t0ken"})
    assert said.endswith("the note was written\n")
    assert not list(checkout.folder.parent.rglob("pwned"))


def test_an_invalid_spec_fails_the_job_after_its_reports_and_its_own_note_is_brought_up_to_date(
    gitlab: tuple[dict[str, str], Comments], checkout: Checkout
) -> None:
    variables, notes = gitlab
    notes.held = [gitlab_note(f"{MARKER}\nlook here", 1, author=8), gitlab_note(f"{MARKER}\nof an earlier run", 2)]
    checkout.write(STREAM + job_text("import-orders").replace("schedule:", "shedule:"))
    code, said = run_gitlab_job(gitlab_job(), checkout.folder, variables, after=1)
    assert code == 1
    assert "jobs.d/orders.yaml:" in said
    assert "the note was brought up to date" in said
    assert [one["location"]["path"] for one in reports(checkout.folder)] == ["jobs.d/orders.yaml"]
    assert notes.bodies[0].endswith("look here")
    assert "shedule" in notes.bodies[1]


def test_without_a_merge_request_or_a_token_there_is_no_note(
    gitlab: tuple[dict[str, str], Comments], checkout: Checkout
) -> None:
    variables, notes = gitlab
    code, said = run_gitlab_job(gitlab_job(), checkout.folder, {**variables, "CI_MERGE_REQUEST_IID": ""}, after=3)
    assert (code, said.splitlines()[-1]) == (0, "1 file checked; no problems.")
    assert not (checkout.folder / "reconcile-plan.md").exists()
    code, said = run_gitlab_job(
        gitlab_job(), checkout.folder, {**variables, "RECONCILE_TOKEN": "", "valid": "0"}, after=5
    )
    assert (code, (checkout.folder / "reconcile-plan.md").exists(), notes.bodies) == (0, True, [])


def test_a_note_that_is_refused_or_says_nothing_does_not_fail_the_job(
    gitlab: tuple[dict[str, str], Comments], checkout: Checkout
) -> None:
    variables, notes = gitlab
    (checkout.folder / "reconcile-plan.md").write_text(MARKER)
    note = {"variables": {}, "script": gitlab_job()["script"][6:7]}
    made = run_gitlab_job(note, checkout.folder, {**variables, "code": "0"})
    assert made == (0, "a merge would change nothing; no note was written\n")
    notes.refuse = 403
    made = run_gitlab_job(note, checkout.folder, {**variables, "code": "2"})
    assert made == (0, "no note: GitLab answered 403. The plan is an artifact of this job\n")
