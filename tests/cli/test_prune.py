"""What a person sees of the deletion budget, and types: plan, pass, list, why, approve, undelete."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from reconciler.cli.main import entry
from tests.cli.conftest import STREAM, World, job_text
from tests.repo.worktree import WorkTree

REASON = "no file declares 2 of 4 jobs, and a pass may delete 1 (prune: maxDeletes 5, maxPercent 10)"


@pytest.fixture
def shop(world: World) -> World:
    """Four jobs, each in a file of its own."""
    world.write("stream.yaml", STREAM)
    for name in "abcd":
        world.write(f"{name}.yaml", job_text(name))
    assert world.run().code == 0
    return world


def remove(shop: World, *names: str) -> None:
    for name in names:
        (shop.root / f"{name}.yaml").unlink()


def digest(shop: World) -> str:
    return str(json.loads(shop.run("plan", "-o", "json").out)["prune"]["digest"])


def held(shop: World) -> dict[str, str | None]:
    return {row["name"]: row["held"] for row in json.loads(shop.run("list", "-o", "json").out)}


def blocked_text(command: str) -> str:
    return (
        f"PruneBlocked: {REASON}; nothing is deleted:\n"
        "    Job a  jobs.d/a.yaml\n"
        "    Job b  jobs.d/b.yaml\n"
        "Restore their files, or approve exactly these deletions:\n"
        f"    {command}\n"
    )


def test_a_plan_shows_the_blocked_deletions_the_budget_and_the_command(shop: World) -> None:
    remove(shop, "a", "b")
    ended = shop.run("plan")
    assert (ended.code, ended.err) == (0, "")
    command = f"reconcile approve --prune {digest(shop)}"
    assert ended.out == f"{blocked_text(command)}\nNo other changes; 2 deletions are blocked.\n"
    shop.write("new.yaml", job_text("new"))
    assert shop.run("plan").out.splitlines()[-1] == (
        "Plan: 1 to create, 0 to update, 0 to delete. 2 deletions are blocked."
    )


def test_a_pass_over_the_budget_exits_5_and_prints_the_command_that_then_deletes_exactly_these(shop: World) -> None:
    remove(shop, "a", "b")
    ended = shop.run()
    assert (ended.code, ended.out) == (5, "4 jobs: 4 sleeping; nothing to run\n")
    command = f"reconcile approve --prune {digest(shop)}"
    assert ended.err == blocked_text(command)
    assert held(shop) == {"a": "PruneBlocked", "b": "PruneBlocked", "c": None, "d": None}
    listed = shop.run("list", "-o", "wide")
    assert listed.out.splitlines()[0].split()[-1] == "Held"
    assert listed.err == f"PruneBlocked: {REASON}; nothing is deleted.\n    {command}\n"
    why = " ".join(shop.run("why", "a").out.split())
    assert f"Note: Its deletion is blocked: {REASON}; `{command}` approves exactly these" in why
    approved = shop.run(*command.split()[1:])
    assert (approved.code, approved.out) == (
        0,
        f"The deletions {command.split()[-1]} are approved.\nThe next `reconcile` deletes them.\n",
    )
    ended = shop.run()
    assert (ended.code, ended.err) == (0, "")
    assert held(shop) == {"c": None, "d": None}


def test_the_command_names_the_folders_that_this_one_was_called_with(shop: World) -> None:
    remove(shop, "a", "b")
    ended = shop.run("--root", "jobs.d", "--state", "jobs.d/.reconciler")
    assert ended.err.splitlines()[-1].endswith(" --root jobs.d --state jobs.d/.reconciler")
    assert shop.run(*ended.err.splitlines()[-1].split()[1:]).code == 0


def test_a_set_that_has_changed_is_not_approved(shop: World) -> None:
    remove(shop, "a", "b", "c")
    shop.run()
    before = digest(shop)
    shop.write("c.yaml", job_text("c"))
    ended = shop.run("approve", "--prune", before)
    assert (ended.code, ended.out) == (5, "")
    assert ended.err == (
        f"Error: the set of deletions has changed since, and nothing was approved: now {REASON}; "
        f"`reconcile approve --prune {digest(shop)}` approves exactly these\n"
    )
    assert shop.run().code == 5


def test_without_a_digest_it_shows_what_is_held_and_wants_a_yes(shop: World) -> None:
    ended = shop.run("approve", "--prune")
    assert (ended.code, ended.err) == (
        5,
        "Error: no deletion waits for an approval; nothing was approved\n",
    )
    remove(shop, "a", "b")
    ended = shop.run("approve", "--prune")
    command = f"reconcile approve --prune {digest(shop)}"
    assert (ended.code, ended.out) == (5, blocked_text(command))
    assert ended.err == f"Error: nothing was approved; `{command}` approves exactly these\n"
    assert shop.run("approve", "--prune", "--yes").code == 0
    assert shop.run().code == 0
    assert list(held(shop)) == ["c", "d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected the name of a job or a stream, or --prune"),
        (("a", "--prune", "d1"), "expected the name of a job or a stream, or --prune"),
        (
            ("--prune", "d1", "--yes"),
            "--yes approves whatever is held, DIGEST exactly one difference; give one of them",
        ),
    ],
)
def test_approve_takes_a_job_or_prune(shop: World, arguments: tuple[str, ...], message: str) -> None:
    ended = shop.run("approve", *arguments)
    assert (ended.code, ended.err) == (2, f"Error: {message}\n")


def test_the_operator_s_file_settles_the_budget(shop: World) -> None:
    (shop.folder / "reconciler.yaml").write_text("prune: {maxDeletes: 3, maxPercent: 75}\n")
    remove(shop, "a", "b", "c")
    assert shop.run().code == 0
    assert list(held(shop)) == ["d"]
    (shop.folder / "reconciler.yaml").write_text("prune: {maxPercent: 101, maxDelete: 1}\n")
    ended = shop.run()
    assert (ended.code, ended.err) == (
        1,
        "reconciler.yaml:1:21: error: prune.maxPercent: expected a number of at most 100, found 101\n"
        "reconciler.yaml:1:26: error: prune.maxDelete: unknown field; did you mean 'maxDeletes'?\n",
    )


def test_a_saved_plan_does_what_it_says_though_deletions_wait_that_it_says_nothing_of(shop: World) -> None:
    remove(shop, "a", "b")
    shop.write("new.yaml", job_text("new"))
    assert shop.run("plan", "--out", "plan.json").code == 0
    ended = shop.run("apply", "plan.json")
    assert (ended.code, ended.err) == (0, "")
    assert held(shop) == {"a": None, "b": None, "c": None, "d": None, "new": None}
    assert shop.run().code == 5


def test_a_saved_plan_with_approved_deletions_uses_their_approval_up(shop: World) -> None:
    remove(shop, "a", "b")
    assert shop.run("approve", "--prune", "--yes").code == 0
    assert shop.run("plan", "--out", "plan.json").code == 0
    assert shop.run("apply", "plan.json").code == 0
    assert list(held(shop)) == ["c", "d"]
    for name in "ab":
        shop.write(f"{name}.yaml", job_text(name))
    assert shop.run().code == 0
    remove(shop, "a", "b")
    assert shop.run().code == 5


@pytest.mark.parametrize("in_git", [False, True])
def test_a_wrong_root_that_holds_some_of_the_specs_deletes_nothing(shop: World, in_git: bool) -> None:
    state = ("--state", "state")
    if in_git:
        WorkTree(shop.folder, shop.root.name)
    assert shop.run(*state).code == 0
    wrong = shop.folder / "team.d"
    wrong.mkdir()
    for name in ("stream", "a", "b", "c"):
        (wrong / f"{name}.yaml").write_text((shop.root / f"{name}.yaml").read_text())
    options = ("--root", "team.d", *state)
    ended = shop.run(*options)
    assert ended.code == 5
    before, now = ("jobs.d/", "team.d/") if in_git else ("../jobs.d", "../team.d")
    assert (
        f"PruneBlocked: no file declares 1 of 4 jobs, and the specs come from {now} now, and came from {before} before, which "
        "always needs an approval; nothing is deleted:\n    Job d  team.d/d.yaml\n"
    ) in ended.err
    assert shop.run(*options).code == 5, "it is no matter of how often"
    assert shop.run(*state).code == 0
    assert shop.run("list", "-o", "name", *state).out == "a\nb\nc\nd\n"
    assert shop.run("approve", "--prune", "--yes", *options).code == 0
    assert "d  Deleted" in shop.run(*options).out, "a person has said that it is meant"
    (wrong / "c.yaml").unlink()
    assert "c  Deleted" in shop.run(*options).out, "and from then on it is where the specs are"


def test_an_emptied_root_deletes_not_even_what_was_never_committed(shop: World) -> None:
    tree = WorkTree(shop.folder, shop.root.name)
    (shop.root / "d.yaml").rename(shop.folder / "d.yaml")
    tree.commit()
    (shop.folder / "d.yaml").rename(shop.root / "d.yaml")
    assert shop.run("plan").code == 0
    remove(shop, "a", "b", "c", "d", "stream")
    ended = shop.run()
    assert ended.code == 5
    reason = "no file declares 1 of 4 jobs, and that no job is left always needs an approval"
    assert f"PruneBlocked: {reason}; nothing is deleted:\n    Job d  jobs.d/d.yaml\n" in ended.err
    assert shop.run("list", "-o", "name").out == "a\nb\nc\nd\n"


# --- undelete -------------------------------------------------------------------------------------------------------


def test_undelete_says_which_file_to_restore_and_the_job_waits_for_it(shop: World) -> None:
    remove(shop, "a")
    assert shop.run().code == 0
    (name, at, until, path) = shop.run("undelete").out.splitlines()[1].split()
    assert (name, path) == ("a", "jobs.d/a.yaml")
    day = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
    assert day.fullmatch(at)
    assert day.fullmatch(until)
    ended = shop.run("show", "a")
    assert (ended.code, ended.err) == (
        2, f"Error: the job 'a' was deleted at {at}; `reconcile undelete a` brings it back until {until}\n",
    )  # fmt: skip
    why = " ".join(shop.run("why", "a").out.split())
    assert why.startswith(f"a: not there Why: No file declares it any more, and it was deleted {at[:19]}Z (")
    assert why.endswith(f"Next: `reconcile undelete a` brings it back, until {until[:19]}Z.")
    ended = shop.run("undelete", "a")
    assert (ended.code, ended.out) == (
        0,
        "'a' is back with its cursor and its history.\nIt waits until jobs.d/a.yaml is restored.\n",
    )
    assert shop.run().code == 0
    assert held(shop) == {"a": "Undeleted", "b": None, "c": None, "d": None}
    assert shop.run("list").err == "a: undeleted; restore jobs.d/a.yaml\n"
    assert "undeleted; restore a.yaml" in shop.run("plan").out
    assert "  now             undeleted; restore a.yaml\n" in shop.run("show", "a").out
    why = " ".join(shop.run("why", "a").out.split())
    assert why.endswith("Next: Restore jobs.d/a.yaml; it goes on from where it stood.")
    assert "waits for its file" in shop.run("undelete").out
    shop.write("a.yaml", job_text("a"))
    assert shop.run().code == 0
    assert held(shop) == dict.fromkeys("abcd")
    assert shop.run("undelete").out == "No deleted job can be brought back.\n"


def test_a_job_that_is_undeleted_twice_was_undeleted_once(shop: World) -> None:
    remove(shop, "a")
    assert shop.run().code == 0
    assert shop.run("undelete", "a").out.startswith("'a' is back")
    assert re.match(r"'a' was undeleted by \S+ before\.\n", shop.run("undelete", "a").out)
    acts = [json.loads(line)["action"] for line in shop.run("history", "a", "-o", "json").out.splitlines()]
    assert acts == ["create", "delete", "undelete"]


def test_undelete_of_a_job_whose_file_declares_it_again_says_that_nothing_is_to_be_restored(shop: World) -> None:
    remove(shop, "a")
    assert shop.run("--root", "jobs.d").code == 0
    shop.write("a.yaml", job_text("a"))
    hint = "`reconcile undelete a --root jobs.d` before that brings its cursor and history back"
    assert hint in " ".join(shop.run("plan", "--root", "jobs.d").out.split())
    assert hint in shop.run("plan", "--root", "jobs.d", "-o", "markdown").out
    assert shop.run("undelete", "a", "--root", "jobs.d").out == (
        "'a' is back with its cursor and its history.\n"
        "jobs.d/a.yaml declares it again: the next `reconcile --root jobs.d` makes that true.\n"
    )
    assert "a  Created  declared again; it goes on from the cursor that was kept" in shop.run().out


def test_an_approval_that_stands_is_noted_once(shop: World) -> None:
    remove(shop, "a", "b")
    approved = digest(shop)
    for _ in range(2):
        assert shop.run("approve", "--prune", approved).code == 0
    acts = [json.loads(line)["action"] for line in shop.run("history", "-o", "json").out.splitlines()]
    assert acts.count("approve-prune") == 1


def test_an_undeleted_job_whose_file_is_back_is_not_told_to_restore_it(shop: World) -> None:
    remove(shop, "a")
    assert shop.run().code == 0
    assert shop.run("undelete", "a").code == 0
    (shop.folder / "policy.yaml").write_text("windows:\n  - {name: freeze, before: 2999-01-01T00:00:00Z}\n")
    shop.write("a.yaml", "# not yet\n")
    assert shop.run("list").err == "a: undeleted; it waits until jobs.d/a.yaml declares it\n"
    shop.write("a.yaml", job_text("a"))
    assert shop.run().code == 0
    assert shop.run("list").err == "a: undeleted; jobs.d/a.yaml declares it again, which is not applied yet\n"
    said = "undeleted; a.yaml declares it again, which is not applied yet"
    assert f"  now             {said}\n" in shop.run("show", "a").out
    assert f'message: "{said}"\n' in (shop.root / "a.status.yaml").read_text()
    assert json.loads(shop.run("why", "a", "-o", "json").out)["code"] == "HeldBack"


def test_undelete_of_what_is_not_deleted_is_refused(shop: World) -> None:
    remove(shop, "a")
    assert shop.run().code == 0
    ended = shop.run("undelete", "b")
    assert (ended.code, ended.err) == (2, "Error: the job 'b' is not deleted\n")
    ended = shop.run("undelete", "nobody")
    assert (ended.code, ended.err) == (2, "Error: there is no deleted job 'nobody'\n")


def test_in_git_undelete_and_why_name_the_commit_whose_parent_has_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = WorkTree(tmp_path / "repository")
    tree.write({"stream.yaml": STREAM, "a.yaml": job_text("a"), "both.yaml": job_text("b") + job_text("c")})
    (tree.top / ".gitignore").write_text("*.status.yaml\n*.log\n.reconciler/\n")
    tree.commit()
    monkeypatch.chdir(tree.top)

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert entry(list(arguments)) == 0
        return capsys.readouterr().out

    run()
    (tree.root / "a.yaml").unlink()
    first = tree.commit()
    run()
    tree.write({"both.yaml": job_text("b")})
    second = tree.commit()
    run()
    assert f"by commit {first[:12]}." in " ".join(run("why", "a").split())
    assert run("undelete", "a").splitlines()[1:] == [
        "It waits until jobs.d/a.yaml is restored.",
        "From git:",
        f"    git checkout {first[:12]}^ -- jobs.d/a.yaml",
    ]
    assert f"(`git checkout {first[:12]}^ -- jobs.d/a.yaml`)" in " ".join(run("why", "a").split())
    assert run("undelete", "c").splitlines()[1:] == [
        "It waits until jobs.d/both.yaml declares it again.",
        "What was there:",
        f"    git show {second[:12]} -- jobs.d/both.yaml",
    ]
    tree.git("checkout", "-q", f"{first[:12]}^", "--", "jobs.d/a.yaml")
    run()
    assert "a" in run("list", "-o", "name").split()
