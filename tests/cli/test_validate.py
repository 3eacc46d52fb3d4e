"""`reconcile validate`: every problem with its place as seen from here, and nothing written anywhere."""

from __future__ import annotations

import json

import pytest

from reconciler.cli.specs import read_one
from reconciler.repo.walk import walk
from tests.cli.conftest import STREAM, World, job_text

GOOD = STREAM + job_text("import-orders")


@pytest.fixture
def mixed(world: World) -> World:
    world.write("good.yaml", GOOD)
    world.write("team/bad.yaml", job_text("bad", schedule="{evry: 1h}").replace("orders", "oders"))
    return world


def test_valid_specs_are_counted(world: World) -> None:
    world.write("good.yaml", GOOD)
    result = world.run("validate")
    assert (result.code, result.out, result.err) == (0, "1 file checked; no problems.\n", "")
    assert not world.state.exists()


def test_every_problem_has_its_place_relative_to_here(mixed: World) -> None:
    result = mixed.run("validate")
    *problems, summary = result.out.splitlines()
    assert result.code == 1
    assert problems
    assert all(one.startswith("jobs.d/team/bad.yaml:") for one in problems)
    assert summary.startswith("2 files checked; 1 invalid, ")


def test_the_path_follows_the_current_directory(mixed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mixed.root / "team")
    assert mixed.run("validate", "--root", "..").out.startswith("bad.yaml:8:")


def test_json_counts_files_and_lists_errors(mixed: World) -> None:
    body = json.loads(mixed.run("validate", "-o", "json").out)
    assert (body["formatVersion"], body["files"], body["valid"]) == (1, 2, 1)
    first = body["errors"][0]
    assert (first["path"], first["line"], first["kind"], first["name"]) == ("jobs.d/team/bad.yaml", 8, "Job", "bad")
    assert set(first) == {"path", "line", "column", "field", "message", "kind", "name"}


def test_only_the_paths_that_were_asked_for_are_reported(mixed: World) -> None:
    good = mixed.run("validate", "jobs.d/good.yaml")
    assert (good.code, good.out) == (0, "1 file checked; no problems.\n")
    assert mixed.run("validate", "jobs.d/team").code == 1
    assert mixed.run("validate", "jobs.d/good.yaml", "jobs.d/team/bad.yaml").code == 1


def test_a_path_below_the_root_is_checked_together_with_the_rest(world: World) -> None:
    world.write("stream.yaml", STREAM)
    world.write("job.yaml", job_text("import-orders"))
    assert world.run("validate", "jobs.d/job.yaml").code == 0


def test_a_path_outside_the_root_is_checked_by_itself(mixed: World) -> None:
    elsewhere = mixed.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "good.yaml").write_text(GOOD.replace("import-orders", "other"))
    (elsewhere / "bad.yaml").write_text("a: [")
    assert mixed.run("validate", "elsewhere/good.yaml").code == 0
    folder = mixed.run("validate", "elsewhere")
    assert folder.code == 1
    assert folder.out.startswith("elsewhere/bad.yaml:")


def test_an_empty_root_is_valid(world: World) -> None:
    assert world.run("validate").out == "0 files checked; no problems.\n"


def test_a_path_that_is_no_spec_is_a_usage_error(mixed: World) -> None:
    missing = mixed.run("validate", "nope.yaml")
    assert (missing.code, missing.err) == (2, "Error: there is no file or folder 'nope.yaml'\n")
    mixed.write("notes.txt", "")
    text = mixed.run("validate", "jobs.d/notes.txt")
    assert text.err == (
        "Error: 'jobs.d/notes.txt' is no spec: a spec is a .yaml or .yml file, and neither hidden nor a status\n"
    )


def test_hostile_names_do_not_reach_the_terminal(world: World) -> None:
    world.write("evil\x1b[2J.yaml", "a: [")
    result = world.run("validate")
    assert result.code == 1
    assert "\x1b" not in result.out
    assert "evil\\x1b[2J.yaml" in result.out


def test_a_file_that_changes_while_it_is_read_is_a_problem_and_one_that_goes_is_none(world: World) -> None:
    path = world.write("good.yaml", GOOD)
    listing = walk(str(world.root))
    path.write_text(GOOD + "# more\n")
    problem = read_one(world.root, listing, "good.yaml", {})
    assert str(problem) == "good.yaml:1:1: error: changes while it is read; try again"
    path.unlink()
    assert read_one(world.root, listing, "good.yaml", {}) is None


@pytest.mark.parametrize(
    ("output", "begins"),
    [
        ("github", "::error file=jobs.d/team/bad.yaml,line=8,"),
        ("gitlab", "[\n"),
        (
            "junit",
            '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="reconcile validate" tests="2" failures="1"',
        ),
        ("sarif", '{\n  "$schema": "https://json.schemastore.org/sarif-2.1.0.json"'),
    ],
)
def test_the_formats_of_ci_systems_are_printed_whole(mixed: World, output: str, begins: str) -> None:
    result = mixed.run("validate", "-o", output)
    assert (result.code, result.err) == (1, "")
    assert result.out.startswith(begins)


def test_a_mistake_in_an_expression_that_is_a_block_has_its_line_and_column(world: World) -> None:
    world.write(
        "audience.yaml",
        "apiVersion: reconciler/v1\nkind: Audience\nmetadata: {name: a}\nspec:\n  where: |\n    1 > 0\n      and frob(1)\n",
    )
    said = world.run("validate").out.splitlines()
    assert said[0] == "jobs.d/audience.yaml:7:11: error: spec.where: unknown function 'frob'"
    world.write(
        "audience.yaml",
        "apiVersion: reconciler/v1\nkind: Audience\nmetadata: {name: a}\nspec:\n  where: >\n    1 > 0\n    and frob(1)\n",
    )
    said = world.run("validate").out.splitlines()
    assert said[0] == "jobs.d/audience.yaml:7:9: error: spec.where: unknown function 'frob'"


def test_a_password_in_an_address_is_refused_and_stands_in_no_message_plan_or_record(world: World) -> None:
    job = (
        "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: send}\nspec:\n  provider: http\n  jobType: export-webhook\n"
        '  config: {stream: orders, url: "https://ada:s3cr3t-of-hers@example.org/in"}\n'
    )
    world.write("orders.yaml", STREAM + "---\n" + job)
    said = (
        "spec.config.url: expected an http or https URL without a user name or a credential, found "
        "'https://***@example.org/in'\n"
    )
    assert said in world.run("validate").out
    for arguments in (
        ("plan", "--out", "plan.json"),
        ("plan", "-o", "json"),
        (),
        ("why", "send"),
        ("validate", "-o", "sarif"),
    ):
        result = world.run(*arguments)
        assert "s3cr3t" not in result.out + result.err
    kept = [path for path in world.folder.rglob("*") if path.is_file() and path.name != "orders.yaml"]
    assert (world.state / "record.db") in kept
    assert not [path for path in kept if b"s3cr3t" in path.read_bytes()]


def test_ci_is_told_paths_from_the_top_of_the_repository(mixed: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(mixed.root / "team")

    def paths() -> tuple[str, str, str, str]:
        annotation, *_ = mixed.run("validate", "--root", "..", "-o", "github").out.splitlines()
        (log,) = json.loads(mixed.run("validate", "--root", "..", "-o", "sarif").out)["runs"]
        place = log["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        report = json.loads(mixed.run("validate", "--root", "..", "-o", "gitlab").out)
        plain = mixed.run("validate", "--root", "..").out.partition(":")[0]
        return annotation.partition("file=")[2].partition(",")[0], place, report[0]["location"]["path"], plain

    (mixed.folder / ".git").mkdir()
    whole = "jobs.d/team/bad.yaml"
    assert paths() == (whole, whole, whole, "bad.yaml")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(mixed.root))
    assert paths() == ("team/bad.yaml", "team/bad.yaml", whole, "bad.yaml")
    monkeypatch.setenv("CI_PROJECT_DIR", str(mixed.root))
    monkeypatch.setenv("GITHUB_WORKSPACE", "/somewhere/else")
    assert paths() == (whole, "team/bad.yaml", "team/bad.yaml", "bad.yaml")
