"""What git knows of the root, against real repositories."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.repo import git as git_module
from reconciler.repo.git import GitUnusable, Reading, Repository, complaint
from reconciler.repo.history import CACHE_NAME, History, os_user
from reconciler.repo.walk import walk
from tests.repo.worktree import WorkTree


@pytest.fixture
def tree(tmp_path: Path) -> WorkTree:
    return WorkTree(tmp_path / "work")


def opened(root: Path) -> Repository:
    repository = Repository.open(root)
    assert repository is not None
    return repository


def test_a_folder_outside_git_has_no_repository(tmp_path: Path) -> None:
    assert Repository.open(tmp_path) is None
    assert Repository.open(tmp_path / "missing") is None


def test_a_dot_git_that_is_no_repository_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".git").write_text("hello")
    assert Repository.open(tmp_path / "a") is None


def test_the_root_may_be_the_top_or_a_folder_of_the_work_tree(tree: WorkTree) -> None:
    assert opened(tree.top).prefix == ""
    assert opened(tree.root).prefix == "jobs.d/"


def test_head_and_revision_follow_a_branch_from_before_its_first_commit_to_a_detached_head(tree: WorkTree) -> None:
    repository = opened(tree.root)
    assert (repository.head(), repository.revision(), repository.branch()) == (None, "", "main")
    first = tree.commit()
    assert (repository.head(), repository.revision()) == (first, f"main@sha1:{first}")
    tree.git("checkout", "-q", "-b", "feature/x")
    second = tree.commit()
    assert repository.revision() == f"feature/x@sha1:{second}"
    tree.git("checkout", "-q", "--detach", first)
    assert repository.revision() == f"HEAD@sha1:{first}"


def test_head_is_read_from_packed_refs(tree: WorkTree) -> None:
    first = tree.commit()
    tree.git("tag", "other")
    tree.git("pack-refs", "--all")
    assert not (tree.top / ".git/refs/heads/main").exists()
    assert opened(tree.root).head() == first


def test_a_head_that_leads_out_of_the_repository_is_none(tree: WorkTree) -> None:
    tree.commit()
    (tree.top / "secret").write_text("0" * 40)
    (tree.top / ".git/HEAD").write_text("ref: refs/../../secret\n")
    assert opened(tree.root).head() is None


def test_a_linked_work_tree_has_its_own_head_and_shares_the_commits(tree: WorkTree, tmp_path: Path) -> None:
    tree.write({"a.yaml": "a"})
    first = tree.commit()
    tree.git("worktree", "add", "-q", "-b", "side", os.fspath(tmp_path / "linked"))
    linked = opened(tmp_path / "linked" / "jobs.d")
    assert linked.git_dir != opened(tree.root).git_dir
    assert linked.revision() == f"side@sha1:{first}"
    assert linked.read(first).blobs.keys() == {"a.yaml"}
    assert History(linked, None).authors(["a.yaml"])["a.yaml"].hash == first


def test_a_submodule_is_a_repository_of_its_own(tree: WorkTree, tmp_path: Path) -> None:
    inner = WorkTree(tmp_path / "inner")
    inner.write({"a.yaml": "a"})
    first = inner.commit()
    tree.git("submodule", "--quiet", "add", os.fspath(inner.top), "jobs.d/sub")
    tree.commit()
    repository = opened(tree.root / "sub" / "jobs.d")
    assert repository.head() == first
    assert repository.read(first).blobs.keys() == {"a.yaml"}
    assert opened(tree.root).read("HEAD") == ({}, {}, ["sub"])


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("index.lock", "git's index.lock stands; if no git command is running, remove it"),
        ("HEAD.lock", "git's HEAD.lock stands; if no git command is running, remove it"),
        ("MERGE_HEAD", "a merge is in progress"),
        ("rebase-merge", "a rebase is in progress"),
        ("rebase-apply", "a rebase is in progress"),
        ("CHERRY_PICK_HEAD", "a cherry-pick is in progress"),
        ("REVERT_HEAD", "a revert is in progress"),
        ("BISECT_LOG", "a bisect is in progress"),
    ],
)
def test_a_mark_of_git_at_work_says_why_the_tree_may_be_in_the_making(tree: WorkTree, mark: str, said: str) -> None:
    repository = opened(tree.root)
    assert repository.moment().busy is None
    (tree.top / ".git" / mark).touch()
    assert repository.moment().busy == said


def test_any_command_that_writes_changes_the_moment_and_one_that_reads_does_not(tree: WorkTree) -> None:
    tree.write({"a.yaml": "a", "b.yaml": "b"})
    tree.commit()
    repository = opened(tree.root)
    before = repository.moment()
    repository.differing()
    repository.read("HEAD")
    assert repository.moment() == before
    tree.git("rm", "-q", "jobs.d/a.yaml")
    after = repository.moment()
    assert after.marks != before.marks
    assert after.touched_ns > before.touched_ns


def test_names_with_spaces_line_feeds_and_letters_of_any_script_come_through(tree: WorkTree) -> None:
    names = [
        "a b.yaml",
        "line\nfeed.yaml",
        "Zürich/データ.yml",
        "'quote\".yaml",
        "-dash.yaml",
        ":(glob)*.yaml",
        "\ttab.yaml",
    ]
    tree.write({name: name for name in names})
    commit = tree.commit()
    tree.write({names[1]: "changed"})
    repository = opened(tree.root)
    assert repository.read(commit).blobs.keys() == set(names)
    assert repository.differing(names) == repository.differing() == {names[1]}
    authors = History(repository, None).authors(names)
    assert {path: one.hash for path, one in authors.items()} == {name: commit for name in names if name != names[1]}


def test_only_spec_files_below_the_root_are_listed(tree: WorkTree) -> None:
    tree.write({"a.yaml": "a", "a.status.yaml": "s", ".hidden/b.yaml": "b", "c.csv": "c", "d/e.yml": "e"})
    (tree.top / "outside.yaml").write_text("x")
    commit = tree.commit()
    assert opened(tree.root).read(commit).blobs.keys() == {"a.yaml", "d/e.yml"}


def link(root: Path, links: Mapping[str, str]) -> None:
    for name, target in links.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(target)


def test_what_is_read_of_a_commit_is_what_a_walk_reads(tree: WorkTree) -> None:
    tree.write({
        "a.yaml": "a", ".data/b": "b", ".data/sub/c.yaml": "c", ".data/sub/c.csv": "no spec", ".data/sub/.d/d.yaml": "d",
        ".far/e.yaml": "e", ".far/in/f.yaml": "f", ".first/g.yaml": "g",
    })  # fmt: skip
    (tree.top / "outside.yaml").write_text("x")
    link(tree.root, {
        "b.yaml": ".data/b", "more": ".data/sub", "deep/a.yaml": "../a.yaml", "out.yaml": "../outside.yaml",
        "nowhere.yaml": "none", "again.yaml": "b.yaml", "root.yaml": "/a.yaml", "circle.yaml": "circle.yaml", "all": ".",
        "back": "../jobs.d/.first", ".data/sub/e.yaml": "../../.far/e.yaml", ".data/sub/in": "../../.far/in",
        ".data/sub/up": "..", "twice": ".data/sub", ".hidden": ".first",
        "far0.yaml": ".data/b", **{f"far{n}.yaml": f"far{n - 1}.yaml" for n in range(1, 9)},
    })  # fmt: skip
    repository = opened(tree.root)
    read = repository.read(tree.commit())
    walked = walk(os.fspath(tree.root)).files
    assert read.blobs.keys() == walked.keys()
    assert {"again.yaml", "more/e.yaml", "more/in/f.yaml", "back/g.yaml", "far8.yaml"} < walked.keys()
    assert repository.contents(read.blobs) == {path: (tree.root / path).read_bytes() for path in walked}
    assert read.over["more/e.yaml"] == ("more", ".data/sub/e.yaml", ".far/e.yaml")


def test_links_to_files_that_are_no_specs_cost_no_look_at_every_file_each(tree: WorkTree) -> None:
    """As git-annex has them: 20,000 links beside 20,000 files took minutes."""
    many = 20_000
    files = {f"{number:05}.csv": "blob" for number in range(many)}
    targets = {f"{number:05}.txt": "../gone/it" for number in range(many)}
    found = Reading({}, {}, [])
    git_module._follow(found, files, targets, "jobs.d/")
    assert found.blobs == {}


def test_contents_are_those_of_the_commit_whatever_is_on_disk(tree: WorkTree) -> None:
    tree.write({"a.yaml": "one\n\ntwo", "b.yaml": "", "c.yaml": "one\n\ntwo", "big.yaml": "x" * (1 << 20) + "x"})
    commit = tree.commit()
    (tree.root / "a.yaml").unlink()
    repository = opened(tree.root)
    contents = repository.contents(repository.read(commit).blobs)
    assert contents == {"a.yaml": b"one\n\ntwo", "b.yaml": b"", "c.yaml": b"one\n\ntwo"}


def test_the_author_of_a_file_is_the_one_who_changed_it_last(tree: WorkTree) -> None:
    tree.write({"a.yaml": "1", "b.yaml": "1"})
    first = tree.commit(author="Ann", at=0)
    tree.write({"a.yaml": "2"})
    second = tree.commit(author="Bob", at=100)
    authors = History(opened(tree.root), None).authors(["a.yaml", "b.yaml"])
    assert (authors["a.yaml"].hash, authors["a.yaml"].person) == (second, "Bob <bob@example.com>")
    assert (authors["b.yaml"].hash, authors["b.yaml"].author) == (first, "Ann")
    assert authors["a.yaml"].time_ms == 1_700_000_100_000
    assert not authors["a.yaml"].boundary


def test_a_file_that_differs_from_head_or_is_not_in_it_has_no_commit(tree: WorkTree) -> None:
    tree.write({"a.yaml": "1", "b.yaml": "1", "gone.yaml": "1"})
    tree.commit()
    tree.git("rm", "-q", "jobs.d/gone.yaml")
    tree.commit()
    tree.write({"a.yaml": "2", "new.yaml": "1", "gone.yaml": "1"})
    history = History(opened(tree.root), None)
    assert history.authors(["a.yaml"]) == {}, "no history need be read for work in progress"
    assert history.authors(["a.yaml", "b.yaml", "new.yaml", "gone.yaml"]).keys() == {"b.yaml"}
    assert history.authors(["a.yaml"]) == {}
    assert os_user()


def test_the_author_of_what_is_read_through_links_is_whoever_changed_one_of_them_or_the_file_last(
    tree: WorkTree,
) -> None:
    tree.write({".data/one": "1", ".data/two/c.yaml": "1", ".data/two/d.yaml": "1"})
    link(tree.root, {"a.yaml": ".data/one", "b.yaml": "a.yaml", "more": ".data/two"})
    tree.commit(author="Ann", at=1)
    history = History(opened(tree.root), None)

    def authors() -> dict[str, str]:
        found = history.authors(["a.yaml", "b.yaml", "more/c.yaml", "more/d.yaml"])
        return {path: one.author for path, one in found.items()}

    assert authors() == {"a.yaml": "Ann", "b.yaml": "Ann", "more/c.yaml": "Ann", "more/d.yaml": "Ann"}
    tree.write({".data/one": "2", ".data/two/c.yaml": "2"})
    assert authors() == {"more/d.yaml": "Ann"}, "the others differ from HEAD"
    tree.commit(author="Bob", at=2)
    assert authors() == {"a.yaml": "Bob", "b.yaml": "Bob", "more/c.yaml": "Bob", "more/d.yaml": "Ann"}
    (tree.root / "more").unlink()
    link(tree.root, {"more": "./.data/two"})
    tree.commit(author="Cyd", at=3)
    assert authors() == {"a.yaml": "Bob", "b.yaml": "Bob", "more/c.yaml": "Cyd", "more/d.yaml": "Cyd"}


def test_a_merge_leaves_the_author_of_what_was_merged(tree: WorkTree) -> None:
    tree.write({"a.yaml": "1", "b.yaml": "1"})
    tree.commit(at=1)
    tree.git("checkout", "-q", "-b", "side")
    tree.write({"a.yaml": "2"})
    side = tree.commit(author="Bob", at=2)
    tree.git("checkout", "-q", "main")
    tree.write({"b.yaml": "2"})
    main = tree.commit(author="Cyd", at=3)
    history = History(opened(tree.root), None)
    assert history.authors(["b.yaml"])["b.yaml"].hash == main
    tree.git("merge", "-q", "--no-ff", "-m", "merge", "side", at=4)
    authors = history.authors(["a.yaml", "b.yaml"])
    assert (authors["a.yaml"].hash, authors["b.yaml"].hash) == (side, main)


def counting(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ranges of every `git log` from now on."""
    asked: list[str] = []
    before = Repository.stream

    def stream(self: Repository, *arguments: str) -> object:
        asked.append(next(one for one in arguments if one.startswith(repository.head() or "?") or ".." in one))
        return before(self, *arguments)

    monkeypatch.setattr(Repository, "stream", stream)
    return asked


def test_history_is_read_once_for_the_whole_tree_and_then_only_what_is_new(
    tree: WorkTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write({f"{n}.yaml": "1" for n in range(5)})
    first = tree.commit()
    repository = opened(tree.root)
    asked = counting(repository, monkeypatch)
    history = History(repository, tmp_path)
    history.authors(["0.yaml"])
    history.authors(["1.yaml", "2.yaml"])
    assert asked == [first]
    later = History(repository, tmp_path)
    assert later.authors(["3.yaml"])["3.yaml"].hash == first
    assert asked == [first], "another process reads what the first one kept"
    tree.write({"3.yaml": "2"})
    second = tree.commit()
    assert {p: c.hash for p, c in later.authors(["3.yaml", "4.yaml"]).items()} == {"3.yaml": second, "4.yaml": first}
    assert asked == [first, f"{first}..{second}"]


def test_history_that_was_rewritten_is_read_anew(tree: WorkTree, tmp_path: Path) -> None:
    tree.write({"a.yaml": "1"})
    tree.commit()
    tree.write({"b.yaml": "1"})
    tree.commit("old")
    history = History(opened(tree.root), tmp_path)
    history.authors(["b.yaml"])
    tree.git("commit", "-q", "--amend", "-m", "new", at=5)
    assert history.authors(["b.yaml"])["b.yaml"].hash == tree.git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", "null", '{"version": 1}', '{"version":1,"prefix":"jobs.d/","head":3}']
)
def test_a_damaged_cache_of_authors_is_read_over(tree: WorkTree, tmp_path: Path, damage: str) -> None:
    tree.write({"a.yaml": "1"})
    first = tree.commit()
    (tmp_path / CACHE_NAME).write_text(damage)
    assert History(opened(tree.root), tmp_path).authors(["a.yaml"])["a.yaml"].hash == first


def test_a_cache_that_cannot_be_written_changes_nothing(tree: WorkTree, tmp_path: Path) -> None:
    tree.write({"a.yaml": "1"})
    first = tree.commit()
    assert History(opened(tree.root), tmp_path / "missing").authors(["a.yaml"])["a.yaml"].hash == first


def test_the_last_commit_of_a_shallow_clone_is_marked_as_its_boundary(tree: WorkTree, tmp_path: Path) -> None:
    tree.write({"a.yaml": "1"})
    tree.commit(author="Ann")
    tree.write({"b.yaml": "1"})
    tree.commit(author="Bob")
    clone = tmp_path / "clone"
    tree.git("clone", "-q", "--depth", "1", f"file://{tree.top}", os.fspath(clone))
    commit = History(opened(clone / "jobs.d"), None).authors(["a.yaml"])["a.yaml"]
    assert (commit.author, commit.boundary) == ("Bob", True)


def test_git_that_is_missing_is_said_so(tree: WorkTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = tree.commit()
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    repository = opened(tree.root)
    assert repository.head() == first, "git's own files need no git"
    with pytest.raises(GitUnusable, match=r"^The program 'git' was not found\.$") as caught:
        repository.read(first)
    assert caught.value.missing


def test_what_git_complains_of_becomes_one_sentence(tree: WorkTree) -> None:
    tree.commit()
    with pytest.raises(GitUnusable, match=r"^'git ls-tree' failed: Not a valid object name nothing\.$") as caught:
        opened(tree.root).read("nothing")
    assert not caught.value.missing
    owner = b"fatal: detected dubious ownership in repository at '/x'\nTo add an exception for this directory, call:\n"
    assert complaint("status", owner) == "'git status' failed: detected dubious ownership in repository at '/x'."
    assert complaint("status", b"") == "'git status' failed: it gave no reason."


def test_variables_and_settings_of_a_surrounding_git_have_no_say(
    tree: WorkTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.write({"a.yaml": "1"})
    first = tree.commit()
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    canary = tree.top / "ran"
    for setting in ("log.showSignature=true", "diff.noprefix=true", "status.relativePaths=true", "color.ui=always"):
        subprocess.run(
            ["git", "-C", tree.top, "config", *setting.split("=")], check=True, env={"PATH": os.environ["PATH"]}
        )
    monitor = ["git", "-C", os.fspath(tree.top), "config", "core.fsmonitor", f"touch {canary}; false"]
    subprocess.run(monitor, check=True, env={"PATH": os.environ["PATH"]})
    repository = opened(tree.root)
    assert History(repository, None).authors(["a.yaml"])["a.yaml"].hash == first
    assert not canary.exists(), "a repository's settings run no program of theirs"


def test_the_author_of_a_removal_is_the_one_who_committed_it(tree: WorkTree) -> None:
    tree.write({"a.yaml": "1", "b.yaml": "1"})
    tree.commit(author="Ann", at=0)
    tree.git("rm", "-q", "jobs.d/b.yaml")
    second = tree.commit(author="Bob", at=100)
    history = History(opened(tree.root), None)
    removed = history.authors(["a.yaml", "b.yaml", "never.yaml"])
    assert removed.keys() == {"a.yaml", "b.yaml"}
    assert (removed["b.yaml"].hash, removed["b.yaml"].author) == (second, "Bob")


@pytest.mark.parametrize("takes", [".data/one", ".data/two/c.yaml", "more", "a.yaml"])
def test_the_author_of_a_removal_behind_links_is_the_one_who_committed_it(tree: WorkTree, takes: str) -> None:
    tree.write({".data/one": "1", ".data/two/c.yaml": "1"})
    link(tree.root, {"a.yaml": ".data/one", "more": ".data/two"})
    tree.commit(author="Ann", at=1)
    (tree.root / takes).unlink()
    tree.commit(author="Bob", at=2)
    path = "more/c.yaml" if takes in ("more", ".data/two/c.yaml") else "a.yaml"
    assert History(opened(tree.root), None).authors([path])[path].author == "Bob"
