"""Looking at commits of real repositories: what differs, what is certain, and what is not believed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.errors import Problem, UsageError
from reconciler.repo import commit as commit_module
from reconciler.repo.commit import CommitTree
from reconciler.repo.git import Repository
from reconciler.repo.look import Absence, Gone, Look
from reconciler.repo.refs import check_ref
from reconciler.repo.source import LocalSource
from reconciler.repo.tree import SETTLE_MS
from tests.repo.worktree import WorkTree, spec

Open = Callable[..., CommitTree]


@pytest.fixture
def work(tmp_path: Path) -> WorkTree:
    return WorkTree(tmp_path / "work")


@pytest.fixture
def open_tree(tmp_path: Path, work: WorkTree) -> Iterator[Open]:
    """Trees over the work tree's repository that share a cache."""
    opened: list[CommitTree] = []

    def open_(ref: str = "main", *, mark: str = "", version: str = "1", root: Path | None = None) -> CommitTree:
        source = LocalSource(root or work.root, f"git:{ref}")
        one = CommitTree(source, tmp_path / "cache", mark=mark, identity="record", version=version, catalogue=dict)
        opened.append(one)
        return one

    (tmp_path / "cache").mkdir()
    yield open_
    for one in opened:
        one.close()


def settled(tree: CommitTree, now_ms: int = 0) -> Look:
    look = tree.look(now_ms)
    tree.settle(look)
    return look


def names(look: Look) -> list[str]:
    return [seen.path for seen in look.changed]


def declared(look: Look) -> list[str]:
    return [document.name for seen in look.changed for document in seen.parsed.documents]


def wrong(look: Look) -> list[str]:
    return [str(problem) for seen in look.changed for problem in seen.parsed.problems]


def count_git(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The git commands that are run from here on."""
    ran: list[str] = []
    command = Repository._command

    def counted(self: Repository, arguments: tuple[str, ...]) -> list[str]:
        ran.append(arguments[0])
        return command(self, arguments)

    monkeypatch.setattr(Repository, "_command", counted)
    return ran


# --- what a look finds ----------------------------------------------------------------------------------------------


def test_a_first_look_finds_every_spec_of_the_commit_and_nothing_of_the_work_tree(
    work: WorkTree, open_tree: Open
) -> None:
    work.write({"a.yaml": spec("a"), "deep/er/b.yml": spec("b"), "notes.txt": "x", ".hidden/c.yaml": spec("c")})
    work.write({"a.status.yaml": "x", "../outside.yaml": spec("outside")})
    commit = work.commit()
    work.write({"a.yaml": "torn: [", "new.yaml": spec("new")})
    shutil.rmtree(work.root / "deep")
    look = open_tree().look(0)
    assert (look.whole, names(look), declared(look)) == (True, ["a.yaml", "deep/er/b.yml"], ["a", "b"])
    assert (look.count, look.vanished, look.problems, look.torn, look.again_ms) == (2, (), (), None, None)
    assert look.head == commit


def test_a_commit_that_is_settled_costs_one_ref_read_and_no_process(
    work: WorkTree, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    mark = settled(tree).mark
    ran = count_git(monkeypatch)
    assert tree.look(1).nothing_new
    assert open_tree(mark=mark).look(0).nothing_new, "the next process knows it too"
    assert ran == []


def test_one_changed_spec_costs_one_difference_and_one_blob(
    work: WorkTree, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.write({f"{number}.yaml": spec(f"s{number}") for number in range(50)})
    work.commit()
    tree = open_tree()
    settled(tree)
    work.write({"7.yaml": spec("s7", team="growth")})
    work.commit()
    read: list[str] = []
    read_blobs = commit_module.read_blobs
    monkeypatch.setattr(commit_module, "read_blobs", lambda r, blobs: read_blobs(r, read.extend(blobs) or read))
    ran = count_git(monkeypatch)
    look = tree.look(1)
    assert (look.whole, names(look), len(read)) == (False, ["7.yaml"], 1)
    assert ran == ["diff-tree", "cat-file"], "which also says that the policy is as it was: there is none"


@pytest.mark.parametrize("restart", [False, True])
def test_a_policy_is_seen_with_the_commit_that_brings_changes_and_removes_it(
    work: WorkTree, open_tree: Open, restart: bool
) -> None:
    """Alone or beside a changed spec, by the look of the same process or of the next one."""
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    mark = settled(tree).mark
    digests = []
    for number, policy in enumerate(
        ["rules: []\n", "windows: []\n", None, None, "rules: []\n", "a folder", None, None]
    ):
        shutil.rmtree(work.root.parent / "policy.yaml", ignore_errors=True)
        (work.root.parent / "policy.yaml").unlink(missing_ok=True)
        if policy == "a folder":
            work.write({"../policy.yaml/inner": "x"})
        elif policy:
            work.write({"../policy.yaml": policy})
        if number % 3 or policy is None:
            work.write({"a.yaml": spec("a", team=f"t{number}")})
        work.commit()
        tree = open_tree(mark=mark) if restart else tree
        mark = settled(tree, number).mark
        digests.append(tree.policy(False).digest)
    rules, windows = digests[:2]
    assert len({rules, windows, "", "unreadable"}) == 4
    assert digests[2:] == ["", "", rules, "unreadable", "", ""]


def test_a_content_that_was_met_before_is_not_read_again(
    work: WorkTree, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    settled(tree)
    work.git("mv", "jobs.d/a.yaml", "jobs.d/b.yaml")
    work.commit()
    ran = count_git(monkeypatch)
    look = tree.look(1)
    assert (names(look), declared(look), look.vanished) == (["b.yaml"], ["a"], ("a.yaml",))
    assert look.changed[0].parsed.documents[0].path == "b.yaml"
    assert ran == ["diff-tree"]


def test_nothing_is_settled_by_looking(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    assert names(tree.look(0)) == names(tree.look(1)) == ["a.yaml"]


def test_another_version_of_the_program_looks_at_everything_anew(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    mark = settled(open_tree()).mark
    assert open_tree(mark=mark, version="2").look(0).whole


def test_a_rewritten_history_is_a_new_desired_state(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a"), "b.yaml": spec("b")})
    first = work.commit()
    work.write({"c.yaml": spec("c")})
    work.commit()
    tree = open_tree()
    settled(tree)
    work.git("reset", "-q", "--hard", first)
    work.git("commit", "-q", "--amend", "-m", "rewritten")
    look = tree.look(1)
    assert (names(look), look.vanished, look.whole) == ([], ("c.yaml",), False)
    assert tree.absent(look, [Gone("c.yaml", "Stream", "c")])[Gone("c.yaml", "Stream", "c")].absence is Absence.ABSENT


def test_where_the_settled_commit_is_gone_from_the_repository_everything_is_compared(
    work: WorkTree, open_tree: Open, tmp_path: Path
) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    settled(tree)
    other = WorkTree(tmp_path / "other")
    other.write({"b.yaml": spec("b")})
    other.commit()
    shutil.rmtree(work.top / ".git")
    shutil.copytree(other.top / ".git", work.top / ".git")
    look = tree.look(1)
    assert (look.whole, names(look), look.problems) == (True, ["b.yaml"], ())


def test_the_root_need_not_be_on_disk(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    shutil.rmtree(work.root)
    assert names(open_tree().look(0)) == ["a.yaml"]


def test_a_link_on_disk_in_the_place_of_the_root_leads_nowhere(work: WorkTree, open_tree: Open, tmp_path: Path) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    shutil.rmtree(work.root)
    (tmp_path / "elsewhere").mkdir()
    work.root.symlink_to(tmp_path / "elsewhere")
    assert names(open_tree().look(0)) == ["a.yaml"]


def test_the_root_may_be_the_top_of_the_repository_or_of_a_bare_one(
    work: WorkTree, open_tree: Open, tmp_path: Path
) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    work.git("clone", "-q", "--bare", os.fspath(work.top), os.fspath(tmp_path / "bare.git"))
    assert names(open_tree(root=work.top).look(0)) == ["jobs.d/a.yaml"]
    assert names(open_tree(root=tmp_path / "bare.git/jobs.d").look(0)) == ["a.yaml"]
    assert names(open_tree(root=tmp_path / "bare.git").look(0)) == ["jobs.d/a.yaml"]


# --- what is no spec ------------------------------------------------------------------------------------------------


def test_what_cannot_be_read_of_a_commit_is_a_problem_at_its_place_and_may_declare_anything(
    work: WorkTree, open_tree: Open, tmp_path: Path
) -> None:
    inner = WorkTree(tmp_path / "inner")
    inner.write({"x.yaml": spec("x")})
    inner.commit()
    work.write({"ok.yaml": spec("ok"), "large.yaml": "#" * (1 << 20) + "\n"})
    (work.root / "out.yaml").symlink_to("../../etc/passwd")
    (work.root / "same.yaml").symlink_to("ok.yaml")
    with open(os.fsencode(work.root) + b"/\xff.yaml", "w") as file:
        file.write(spec("y"))
    work.git("submodule", "--quiet", "add", os.fspath(inner.top), "jobs.d/sub")
    work.commit()
    look = open_tree().look(0)
    assert declared(look) == ["ok"]
    assert sorted(wrong(look)) == [
        "\\xff.yaml:1:1: error: has a name that is not UTF-8",
        "large.yaml:1:1: error: is larger than 1 MiB",
        "out.yaml:1:1: error: is a link; of a commit, only the files themselves are read",
        "sub:1:1: error: is a submodule, and its specs are in no commit of this repository; they are not read",
    ]


# --- what is not believed -------------------------------------------------------------------------------------------


def test_a_commit_without_any_spec_below_the_root_deletes_nothing_and_says_so(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    first = work.commit()
    tree = open_tree()
    settled(tree)
    work.git("rm", "-q", "-r", "jobs.d")
    (work.top / "README").write_text("x")
    second = work.commit()
    for looking in (tree, open_tree(mark=settled(tree, 1).mark)):
        look = looking.look(2)
        said = (
            f"the last good revision stays, main@sha1:{first}: main@sha1:{second} holds no spec below jobs.d, which deletes "
            "nothing"
        )
        assert look.problems == (Problem(".", 1, 1, "", said),)
        assert (look.changed, look.vanished, look.unreadable) == ((), (), True)
        assert looking.revision() == f"main@sha1:{first}"
        assert declared_at(looking, look) == ["a"]
        looking.settle(look)
    work.write({"b.yaml": spec("b")})
    work.commit()
    look = tree.look(3)
    assert (names(look), look.vanished, look.problems) == (["b.yaml"], ("a.yaml",), ())


def declared_at(tree: CommitTree, look: Look) -> list[str]:
    return [document.name for parsed in tree.parsed(look).values() for document in parsed.documents]


def test_a_first_commit_without_any_spec_is_not_taken_either(work: WorkTree, open_tree: Open) -> None:
    commit = work.commit()
    look = open_tree().look(0)
    said = f"nothing is done: main@sha1:{commit} holds no spec below jobs.d, which deletes nothing"
    assert [one.message for one in look.problems] == [said]
    assert (look.whole, look.mark) == (False, "")


def test_a_branch_that_vanishes_keeps_the_last_good_revision_and_once_that_lasts_says_so(
    work: WorkTree, open_tree: Open
) -> None:
    work.write({"a.yaml": spec("a")})
    commit = work.commit()
    tree = open_tree()
    settled(tree)
    work.git("checkout", "-q", "--detach")
    work.git("branch", "-q", "-D", "main")
    look = tree.look(1)
    assert (look.unseen, look.problems, look.again_ms) == (True, (), SETTLE_MS)
    look = tree.look(1 + SETTLE_MS)
    said = f"the last good revision stays, main@sha1:{commit}: there is no branch, tag or remote branch 'main' in {work.top}"
    assert (look.unseen, look.changed, look.vanished) == (True, (), ())
    assert [one.message for one in look.problems] == [said]
    gone = Gone("a.yaml", "Stream", "a")
    assert tree.absent(look, [gone])[gone].absence is Absence.UNKNOWN
    work.git("branch", "-q", "main")
    assert tree.look(2 + SETTLE_MS).nothing_new


def test_a_repository_that_is_gone_for_a_moment_is_waited_for_without_a_word(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    settled(tree)
    (work.top / ".git").rename(work.top / "aside")
    look = tree.look(1)
    assert (look.unseen, look.problems) == (True, ())
    (work.top / "aside").rename(work.top / ".git")
    assert tree.look(2).nothing_new
    (work.top / ".git").rename(work.top / "aside")
    tree.look(10_000)
    look = tree.look(10_000 + SETTLE_MS)
    assert f"there is no git repository at {work.top}" in look.problems[0].message


def test_a_damaged_repository_keeps_the_last_good_revision_and_says_what_git_says(
    work: WorkTree, open_tree: Open
) -> None:
    work.write({"a.yaml": spec("a")})
    first = work.commit()
    tree = open_tree()
    settled(tree)
    work.write({"a.yaml": spec("a", team="growth")})
    work.commit()
    blob = work.git("rev-parse", "HEAD:jobs.d/a.yaml")
    (work.top / ".git/objects" / blob[:2] / blob[2:]).unlink()
    tree.look(1)
    look = tree.look(1 + SETTLE_MS)
    assert look.unseen
    assert [one.message for one in look.problems] == [
        f"the last good revision stays, main@sha1:{first}: The repository is damaged: git says '{blob} missing' of a blob "
        "of the commit"
    ]


def test_a_held_file_that_the_repository_refuses_by_now_may_declare_anything(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    tree = open_tree()
    look = settled(tree)
    shutil.rmtree(work.top / ".git/objects")
    (work.top / ".git/objects").mkdir()
    later = tree.look(1)
    assert later.nothing_new, "the ref says that nothing is new"
    (problem,) = tree.parsed(later, ["a.yaml"])["a.yaml"].problems
    assert (problem.name, problem.message[:15]) == ("", "cannot be read:")
    assert tree.contents(["a.yaml"]) == {}
    assert look.files is not later.files


# --- authors, revisions, contents -----------------------------------------------------------------------------------


def test_authors_are_those_of_the_commits_history_whatever_the_work_tree_holds(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a"), "b.yaml": spec("b"), "c.yaml": spec("c")})
    first = work.commit(author="Ann")
    work.write({"b.yaml": spec("b", team="growth")})
    (work.root / "c.yaml").unlink()
    second = work.commit(author="Bob")
    work.git("checkout", "-q", "-b", "other")
    work.write({"a.yaml": spec("a", team="x")})
    work.commit(author="Cid")
    tree = open_tree()
    assert tree.authors(["a.yaml"]) == {}, "before a look nothing is known"
    tree.look(0)
    found = tree.authors(["a.yaml", "b.yaml", "c.yaml", "never.yaml"])
    assert {path: (one.author, one.hash) for path, one in found.items()} == {
        "a.yaml": ("Ann", first), "b.yaml": ("Bob", second), "c.yaml": ("Bob", second),
    }  # fmt: skip
    assert tree.revision() == f"main@sha1:{second}"


def test_authors_of_many_files_are_read_in_one_walk_of_the_history(
    work: WorkTree, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.yaml": spec(f"s{number}") for number in range(250)}
    work.write(files)
    work.commit(author="Ann")
    tree = open_tree()
    tree.look(0)
    ran = count_git(monkeypatch)
    assert {one.author for one in tree.authors(files).values()} == {"Ann"}
    assert ran == ["log"]


def test_contents_are_those_of_the_commit(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    work.write({"a.yaml": "dirty"})
    tree = open_tree()
    assert tree.contents(["a.yaml"]) == {}
    tree.look(0)
    assert tree.contents(["a.yaml", "b.yaml"]) == {"a.yaml": spec("a").encode()}


def test_contents_that_no_spec_has_any_more_are_dropped_from_the_cache_in_time(
    work: WorkTree, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.repo.index.SPARE_PARSED", 5)
    tree = open_tree()
    for number in range(20):
        work.write({"a.yaml": spec("a", number=str(number)), "b.yaml": spec("b")})
        work.commit()
        settled(tree, number)
    kept = tree._index._database.execute("SELECT count(*) FROM parsed").fetchone()[0]  # type: ignore[union-attr]
    assert 2 <= kept <= 9


# --- what a REF may be ----------------------------------------------------------------------------------------------


def test_a_ref_is_a_branch_a_tag_a_remote_branch_head_or_a_whole_hash(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    commit = work.commit()
    work.git("tag", "light")
    work.git("tag", "-a", "heavy", "-m", "x")
    work.git("branch", "feature/x")
    work.git("update-ref", "refs/remotes/origin/main", commit)
    work.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    said = {
        "main": "main", "HEAD": "main", "light": "light", "heavy": "heavy", "feature/x": "feature/x",
        "refs/heads/main": "main", "refs/tags/heavy": "heavy", "origin/main": "origin/main",
        "origin/HEAD": "origin/HEAD", commit: "HEAD",
    }  # fmt: skip
    for packed in (False, True):
        for ref, name in said.items():
            tree = open_tree(ref)
            assert names(tree.look(0)) == ["a.yaml"], (ref, packed)
            assert tree.revision() == f"{name}@sha1:{commit}"
        work.git("pack-refs", "--all")


def test_a_branch_wins_over_a_tag_of_its_name(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": spec("a")})
    work.commit()
    work.git("tag", "main")
    work.write({"b.yaml": spec("b")})
    work.commit()
    assert names(open_tree("main").look(0)) == ["a.yaml", "b.yaml"]
    assert names(open_tree("refs/tags/main").look(0)) == ["a.yaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the source 'git:' names no branch; write git:REF, for example git:main"),
        (
            "--upload-pack=x",
            "the source 'git:--upload-pack=x' looks like an option; expected a branch, a tag or a whole hash",
        ),
        ("-h", "the source 'git:-h' looks like an option; expected a branch, a tag or a whole hash"),
    ],
)
def test_what_looks_like_an_option_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_ref(text)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "text", ["main~1", "main^", "a..b", "main@{1}", "@", ":/x", "a b", "a\n", "x.lock", "/x", "x/", "x//y", ".x", "*"]
)
def test_an_expression_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_ref(text)
    assert str(caught.value) == (
        f"the source 'git:{text}' is no name of a commit; expected a branch, a tag, a remote branch or a whole hash"
    )


def test_a_ref_that_leads_nowhere_is_named_with_a_near_one(work: WorkTree, open_tree: Open) -> None:
    commit = work.commit()
    top = work.top
    blob = work.git("hash-object", "-w", "--stdin")
    for ref, why in {
        "mian": f"there is no branch, tag or remote branch 'mian' in {top}; did you mean 'main'?",
        commit[:10]: f"there is no branch or tag '{commit[:10]}' in {top}; write the hash of a commit whole",
        "0" * 40: f"there is no commit {'0' * 40} in {top}",
        blob: f"there is no commit {blob} in {top}",
    }.items():
        assert open_tree(ref).look(SETTLE_MS).unseen
        assert LocalSource(work.root, f"git:{ref}").head().why == why


@pytest.mark.parametrize("source", ["git:main", "git:HEAD"])
def test_a_repository_without_any_commit_says_so(tmp_path: Path, source: str) -> None:
    (tmp_path / "jobs.d").mkdir()
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    assert LocalSource(tmp_path / "jobs.d", source).head().why == f"there is no commit in {tmp_path} yet"


def test_a_source_outside_any_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        LocalSource(tmp_path / "jobs.d", "git:main")
    assert str(caught.value) == (
        f"{tmp_path}/jobs.d lies in no git repository; --source git:main reads the specs from a commit of one"
    )
