"""Looking at real trees: what differs, what cannot be read, what is missing, and what is only half there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.core.document import Kind
from reconciler.repo import tree as tree_module
from reconciler.repo.git import Repository
from reconciler.repo.index import INDEX_NAME
from reconciler.repo.look import Absence, Gone, Look
from reconciler.repo.tree import SETTLE_MS, STANDING_AFTER_MS, STANDING_MS, Tree
from reconciler.repo.walk import MAX_FILE_BYTES, BeingWritten, moment_ns, read, walk
from tests.repo.worktree import WorkTree, spec

Open = Callable[..., Tree]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    (tmp_path / "cache").mkdir()
    return tmp_path / "root"


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Open]:
    """Trees over `tmp_path/root`, or another root, that share a cache."""
    opened: list[Tree] = []

    def open_(
        root: Path | None = None, *, identity: str = "record", version: str = "1", writable: bool = True,
        moment: Callable[[], int] = moment_ns,
    ) -> Tree:  # fmt: skip
        one = Tree(
            root or tmp_path / "root", tmp_path / "cache", identity=identity, version=version, writable=writable,
            catalogue=dict, moment=moment,
        )  # fmt: skip
        opened.append(one)
        return one

    (tmp_path / "cache").mkdir(exist_ok=True)
    yield open_
    for one in opened:
        one.close()


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / f"{name}.yaml").write_text(text, "utf-8")


def names(look: Look) -> list[str]:
    return [seen.path for seen in look.changed]


def declared(look: Look) -> list[str]:
    return [document.name for seen in look.changed for document in seen.parsed.documents]


def quiet_look(tree: Tree, root: Path, now_ms: int = 0) -> Look:
    """A look that no stamp of a moment ago makes uncertain: files are taken to be as old as they will be."""
    wait_until_old(root)
    return tree.look(now_ms)


def wait_until_old(root: Path) -> None:
    """Returns once whatever happened in this tree happened so long ago that its stamps say enough."""
    folders = [root]
    repository = Repository.open(root)
    if repository is not None:
        folders += [repository.git_dir, repository.git_dir / "index"]
    newest = max((os.stat(one).st_ctime_ns for one in folders if one.exists()), default=0)
    newest = max([newest, *(os.lstat(one).st_ctime_ns for one in root.rglob("*"))])
    pause = threading.Event()
    while moment_ns() - newest < 60_000_000:
        pause.wait(0.01)


# --- differences ------------------------------------------------------------------------------------------------------


def test_the_first_look_sees_every_file_and_is_whole(root: Path, open_tree: Open) -> None:
    write(root, b=spec("b"), a=spec("a"))
    (root / "c.yml").write_text(spec("c"))
    look = open_tree().look(0)
    assert look.whole
    assert names(look) == ["a.yaml", "b.yaml", "c.yml"]
    assert declared(look) == ["a", "b", "c"]
    assert [seen.parsed.documents[0].path for seen in look.changed] == names(look)
    assert (look.count, look.vanished, look.problems, look.torn) == (3, (), (), None)


def test_a_look_marks_nothing_and_settling_does(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    assert names(tree.look(0)) == names(tree.look(1)) == ["a.yaml", "b.yaml"]
    tree.settle(tree.look(2))
    assert tree.look(3).nothing_new
    assert open_tree().look(0).nothing_new, "the next process knows it too"


def test_what_was_not_settled_before_a_crash_is_a_difference_for_the_next_process(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, a=spec("a", v="2"))
    (root / "b.yaml").unlink()
    assert names(tree.look(1)) == ["a.yaml"]
    look = open_tree().look(0)
    assert (look.whole, names(look), look.vanished) == (False, ["a.yaml"], ("b.yaml",))


def test_a_file_that_is_kept_at_settling_stays_a_difference(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"), c=spec("c"))
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, a=spec("a", v="2"), d=spec("d"))
    (root / "b.yaml").unlink()
    (root / "c.yaml").unlink()
    tree.settle(tree.look(1), keep=["a.yaml", "b.yaml"])
    for look in (tree.look(2), open_tree().look(0)):
        assert (names(look), look.vanished) == (["a.yaml"], ("b.yaml",))


def test_a_touched_file_is_read_and_found_the_same(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    os.utime(root / "a.yaml", (1, 1))
    assert tree.look(1).nothing_new
    (root / "a.yaml").write_text(spec("a"))
    assert tree.look(2).nothing_new


def test_a_change_within_one_tick_of_the_clock_that_keeps_size_and_time_is_seen(root: Path, open_tree: Open) -> None:
    for round_ in range(30):
        write(root, a=spec("a", v=f"{round_:03d}"))
        tree = open_tree(identity=str(round_))
        tree.settle(tree.look(0))
        write(root, a=spec("b", v=f"{round_:03d}"))
        assert declared(tree.look(1)) == ["b"]


def test_files_that_are_old_enough_are_not_read_again(
    root: Path, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(quiet_look(tree, root))
    reads: list[str] = []
    monkeypatch.setattr(tree_module, "read", lambda path, stamp: reads.append(path) or read(path, stamp))
    for one in (tree, open_tree()):
        assert one.look(1).nothing_new
    assert reads == []
    write(root, b=spec("b", v="2"))
    assert names(open_tree().look(0)) == ["b.yaml"]
    assert [os.path.basename(path) for path in reads] == ["b.yaml"]


def test_racy_files_are_read_again_once_and_then_no_more(
    root: Path, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, a=spec("a"))
    moments = iter([os.stat(root / "a.yaml").st_ctime_ns])  # the first look is at the very moment
    tree = open_tree(moment=lambda: next(moments, None) or moment_ns())
    tree.settle(tree.look(0))
    look = quiet_look(tree, root)
    assert look.nothing_new
    assert look.touched == ("a.yaml",)
    tree.settle(look)
    monkeypatch.setattr(tree_module, "read", lambda path, stamp: pytest.fail("read"))
    assert open_tree().look(0).nothing_new


def test_the_same_content_elsewhere_is_parsed_once_and_tells_its_own_path(root: Path, open_tree: Open) -> None:
    write(root, a=spec("x"), bad="kind: [")
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "sub").mkdir()
    (root / "a.yaml").rename(root / "sub" / "b.yaml")
    (root / "bad.yaml").rename(root / "sub" / "worse.yaml")
    tree = Tree(root, root.parent / "cache", identity="record", version="1", catalogue=lambda: pytest.fail("parsed"))
    look = tree.look(0)
    tree.close()
    assert look.vanished == ("a.yaml", "bad.yaml")
    assert [document.path for seen in look.changed for document in seen.parsed.documents] == ["sub/b.yaml"]
    assert {problem.path for seen in look.changed for problem in seen.parsed.problems} == {"sub/worse.yaml"}


def test_invalid_files_are_named_by_every_look(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), bad="kind: [")
    tree = open_tree()
    look = tree.look(0)
    assert look.invalid == ()
    assert [bool(seen.parsed.problems) for seen in look.changed] == [False, True]
    tree.settle(look)
    for one in (tree, open_tree()):
        look = one.look(1)
        assert (look.nothing_new, look.invalid) == (True, ("bad.yaml",))
        assert [problem.path for problem in one.parsed(look, look.invalid)["bad.yaml"].problems][:1] == ["bad.yaml"]
    write(root, bad=spec("good"))
    tree.settle(tree.look(2))
    assert tree.look(3).invalid == ()


def test_every_file_can_be_had_parsed_changed_or_not(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, c=spec("c"))
    for one in (tree, open_tree()):
        parsed = one.parsed(one.look(1))
        assert {path: file.documents[0].name for path, file in parsed.items()} == {
            "a.yaml": "a",
            "b.yaml": "b",
            "c.yaml": "c",
        }
    assert list(tree.parsed(tree.look(2), ["b.yaml", "none.yaml"])) == ["b.yaml"]


def test_parsed_files_are_read_again_where_there_is_no_cache(root: Path) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = Tree(root, None, identity="", version="1", catalogue=dict)
    tree.settle(tree.look(0))
    look = tree.look(1)
    (root / "b.yaml").unlink()
    assert list(tree.parsed(look)) == ["a.yaml"]


# --- the index --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"identity": "another"}, {"version": "2"}])
def test_another_record_or_version_was_told_nothing(root: Path, open_tree: Open, change: dict[str, str]) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0))
    other = open_tree(**change)
    look = other.look(0)
    assert (look.whole, names(look)) == (True, ["a.yaml", "b.yaml"])
    other.settle(look, keep=["b.yaml"])
    look = open_tree(**change).look(0)
    assert (look.whole, names(look)) == (False, ["b.yaml"])
    assert open_tree().look(0).whole, "nor is the first one's word taken any more"


@pytest.mark.parametrize("damage", [b"", b"not a database, but long enough to be taken for the head of one" * 20, None])
def test_a_damaged_index_is_built_anew_without_a_word(
    root: Path, open_tree: Open, tmp_path: Path, damage: bytes | None
) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    tree.close()
    file = tmp_path / "cache" / INDEX_NAME
    if damage is None:
        content = bytearray(file.read_bytes())
        content[100:4096] = os.urandom(3996)
        damage = bytes(content)
    file.write_bytes(damage)
    assert open_tree(writable=False).look(0).whole
    assert file.read_bytes() == damage, "a reader repairs nothing"
    tree = open_tree()
    look = tree.look(0)
    assert look.whole
    tree.settle(look)
    assert open_tree().look(0).nothing_new


def test_an_index_of_a_newer_format_is_built_anew(root: Path, open_tree: Open, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "cache" / INDEX_NAME) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    tree = open_tree()
    tree.settle(tree.look(0))
    assert open_tree().look(0).nothing_new


def test_readers_beside_a_writer_see_what_is_settled_and_change_nothing(
    root: Path, open_tree: Open, tmp_path: Path
) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, a=spec("a", v="2"), b=spec("b"))
    before = sorted((one.name, one.read_bytes()) for one in (tmp_path / "cache").iterdir())
    reader = open_tree(writable=False)
    look = reader.look(0)
    assert names(look) == ["a.yaml", "b.yaml"]
    reader.settle(look)
    assert reader.look(1).nothing_new, "in its own memory it is settled"
    assert sorted((one.name, one.read_bytes()) for one in (tmp_path / "cache").iterdir()) == before
    assert names(tree.look(1)) == ["a.yaml", "b.yaml"]


def test_a_cache_folder_that_is_missing_costs_only_time(root: Path, tmp_path: Path) -> None:
    write(root, a=spec("a"))
    for writable in (True, False):
        tree = Tree(root, tmp_path / "no" / "cache", identity="", version="", catalogue=dict, writable=writable)
        tree.settle(tree.look(0))
        assert tree.look(1).nothing_new


def test_a_look_that_finds_nothing_new_imports_no_parser(root: Path, open_tree: Open, tmp_path: Path) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(quiet_look(tree, root))
    script = (
        "import sys; from pathlib import Path; from reconciler.repo.tree import Tree\n"
        f"tree = Tree(Path({os.fspath(root)!r}), Path({os.fspath(tmp_path / 'cache')!r}), identity='record', version='1', "
        "catalogue=dict)\n"
        "assert tree.look(0).nothing_new\n"
        "print(sorted({'yaml', 'pydantic', 'ryaml', 'subprocess', 'reconciler.repo.parse'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- what a folder can hold -------------------------------------------------------------------------------------------


def problems(look: Look) -> list[str]:
    return [str(problem) for problem in look.problems]


def test_only_specs_are_read_and_ours_are_listed(root: Path, open_tree: Open) -> None:
    (root / ".git").mkdir()
    (root / "sub" / ".hidden").mkdir(parents=True)
    for path in (
        ".git/a.yaml",
        "sub/.hidden/a.yaml",
        ".a.yaml",
        "a.status.yaml",
        "a.txt",
        "sub/a.log",
        "sub/a.log.1",
        "x.yaml.bak",
    ):
        (root / path).write_text("kind: [")
    (root / "sub" / "deep.yaml").write_text(spec("a"))
    for folder in ("x.log", "x.status.yaml"):
        (root / folder).mkdir()
        (root / folder / "in.yaml").write_text(spec("b"))
    look = open_tree().look(0)
    assert names(look) == ["sub/deep.yaml", "x.log/in.yaml", "x.status.yaml/in.yaml"]
    assert look.problems == ()


def test_every_odd_thing_in_a_folder_gets_a_clear_answer(root: Path, open_tree: Open) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text(spec("x"))
    write(root, a=spec("a"))
    (root / "big.yaml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (root / "full.yaml").write_bytes(b"#" * MAX_FILE_BYTES)
    os.mkfifo(root / "pipe.yaml")
    (root / "away.yaml").symlink_to(outside / "x.yaml")
    (root / "away").symlink_to(outside)
    (root / "back").symlink_to(".")
    (root / "circle.yaml").symlink_to("circle.yaml")
    (root / "nowhere.yaml").symlink_to("none")
    (root / "notes").symlink_to("none")
    (root / "folder.yaml").mkdir()
    (root / "folder.yaml" / "b.yaml").write_text(spec("b"))
    (root / os.fsdecode(b"\xff.yaml")).write_text(spec("c"))
    tree = open_tree()
    look = tree.look(0)
    assert problems(look) == [
        "away:1:1: error: is a link that leaves the root; it is not followed",
        "away.yaml:1:1: error: is a link that leaves the root; it is not followed",
        "back:1:1: error: is a link that leads back into a folder that it is in",
        f"big.yaml:1:1: error: is larger than 1 MiB ({MAX_FILE_BYTES + 1:,} bytes)",
        "circle.yaml:1:1: error: is a link that leads in a circle",
        "nowhere.yaml:1:1: error: is a link that leads nowhere",
        "pipe.yaml:1:1: error: is not a regular file",
        "\\xff.yaml:1:1: error: has a name that is not UTF-8",
    ]
    assert look.unreadable
    assert declared(quiet_look(tree, root)) == ["a", "b"]


def test_a_mounted_folder_of_links_into_a_hidden_one_is_read(root: Path, open_tree: Open) -> None:
    (root / "..2026").mkdir()
    (root / "..2026" / "a.yaml").write_text(spec("a"))
    (root / "..2026" / "sub").mkdir()
    (root / "..2026" / "sub" / "b.yaml").write_text(spec("b"))
    (root / "..2026" / "sub" / "loop").symlink_to("..")
    (root / "..data").symlink_to("..2026")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    (root / "more").symlink_to("..data/sub")
    (root / "again").symlink_to("more")
    tree = open_tree()
    look = tree.look(0)
    assert declared(look) == ["a", "b"]
    tree.settle(look)
    (root / "..2027").mkdir()
    (root / "..2027" / "a.yaml").write_text(spec("a", v="2"))
    (root / "..2027" / "sub").mkdir()
    (root / "..next").symlink_to("..2027")
    (root / "..next").rename(root / "..data")
    look = tree.look(1)
    assert (names(look), look.vanished) == (["a.yaml"], ("again/b.yaml",))


def test_a_link_to_what_is_read_anyway_is_not_read_twice(root: Path, open_tree: Open) -> None:
    (root / "real").mkdir()
    (root / "real" / "a.yaml").write_text(spec("a"))
    (root / "b.yaml").symlink_to("real/a.yaml")
    (root / "link").symlink_to("real")
    look = open_tree().look(0)
    assert (names(look), look.problems) == (["real/a.yaml"], ())


def test_links_that_multiply_are_followed_once_each(root: Path) -> None:
    for n in range(20):
        (root / f".d{n}").mkdir()
        (root / f".d{n}" / "a.yaml").write_text(spec(f"a{n}"))
        for side in "xyz":
            (root / f".d{n}" / side).symlink_to(f"../.d{(n + 1) % 20}")
    (root / "in").symlink_to(".d0")
    assert len(walk(os.fspath(root)).files) == 20


def test_a_missing_root_is_a_problem_and_no_absence(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    root.rename(root.with_name("away"))
    look = tree.look(SETTLE_MS)
    assert problems(look) == [".:1:1: error: the root folder does not exist"]
    assert (look.vanished, look.unreadable) == ((), True)
    root.write_text("")
    assert problems(tree.look(2 * SETTLE_MS)) == [".:1:1: error: the root folder cannot be read: Not a directory"]


AS_NOBODY = """
import os, sys
from pathlib import Path
from reconciler.repo.tree import Tree
root, cache = map(Path, sys.argv[1:])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
tree = Tree(root, cache, identity="record", version="1", catalogue=dict, writable=False)
look = tree.look(0)
print(look.vanished, [seen.path for seen in look.changed])
print(*look.problems, sep="\\n")
"""


def test_a_folder_or_file_without_permission_is_a_problem_and_what_it_held_is_not_absent(
    root: Path, open_tree: Open
) -> None:
    (root / "secret").mkdir()
    (root / "secret" / "a.yaml").write_text(spec("a"))
    write(root, b=spec("b"), c=spec("c"))
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "c.yaml").unlink()
    for folder in (*root.parents, root.parent / "cache", root):
        if folder.stat().st_mode & 0o077 == 0:  # pytest's own folders, at whatever depth
            folder.chmod(0o755)
    (root.parent / "cache" / "index.db").chmod(0o644)
    (root / "b.yaml").chmod(0)
    (root / "secret").chmod(0)
    arguments = [sys.executable, "-c", AS_NOBODY, os.fspath(root), os.fspath(root.parent / "cache")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    (root / "secret").chmod(0o755)
    assert done.stdout.splitlines() == [
        "('c.yaml',) []",
        "b.yaml:1:1: error: cannot be read: Permission denied",
        "secret:1:1: error: the folder cannot be read: Permission denied",
    ], done.stderr


def test_reading_checks_that_the_file_is_the_one_that_was_listed(root: Path) -> None:
    write(root, a="one")
    file = os.fspath(root / "a.yaml")
    stamp = walk(os.fspath(root)).files["a.yaml"]
    assert read(file, stamp) == b"one"
    (root / "a.yaml").write_text("two")
    (root / "b.yaml").write_text("one")
    with pytest.raises(BeingWritten):
        read(os.fspath(root / "b.yaml"), stamp)
    (root / "a.yaml").unlink()
    with pytest.raises(FileNotFoundError):
        read(file, stamp)


def test_a_file_that_vanishes_or_changes_while_it_is_read_is_absent_or_held_this_time(
    root: Path, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, a=spec("a"), b=spec("b"), c=spec("c"))
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, a=spec("a", v="2"), b=spec("b", v="2"), c=spec("c", v="2"))

    def meddle(path: str, stamp: tuple[int, int, int, int]) -> bytes:
        if path.endswith("a.yaml"):
            os.unlink(path)
        elif path.endswith("b.yaml"):
            with open(path, "a") as file:
                file.write("# more\n")
        return read(path, stamp)

    monkeypatch.setattr(tree_module, "read", meddle)
    look = tree.look(1)
    assert (names(look), look.vanished, look.held, look.problems) == (["c.yaml"], ("a.yaml",), ("b.yaml",), ())
    assert look.again_ms == SETTLE_MS
    monkeypatch.undo()
    assert names(tree.look(2)) == ["b.yaml", "c.yaml"]


def test_an_empty_file_counts_only_when_it_stays_empty(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "a.yaml").write_text("")
    look = tree.look(1)
    assert (names(look), look.vanished, look.held, look.again_ms) == ([], (), ("a.yaml",), SETTLE_MS)
    write(root, a=spec("a", v="2"))
    assert names(tree.look(2)) == ["a.yaml"], "an editor that writes in place had only begun"
    (root / "a.yaml").write_text("")
    assert names(quiet_look(tree, root, 3)) == ["a.yaml"]


def test_folders_deeper_than_a_path_may_be_long_are_a_problem(root: Path) -> None:
    handle = os.open(root, os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    listing = walk(os.fspath(root))
    subprocess.run(["rm", "-rf", root], check=True)
    said = [problem.message for problem in listing.problems.values()]
    assert said == ["the folder cannot be read: File name too long"]


# --- absence outside git ----------------------------------------------------------------------------------------------


def gone(path: str, name: str, kind: Kind = "Stream") -> Gone:
    return Gone(path, kind, name)


def verdict(tree: Tree, look: Look, path: str, name: str) -> Absence:
    one = gone(path, name)
    return tree.absent(look, [one])[one].absence


def test_outside_git_a_document_is_absent_after_two_equal_looks(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "a.yaml").unlink()
    look = tree.look(1000)
    assert (look.vanished, look.again_ms) == (("a.yaml",), SETTLE_MS)
    assert tree.absent(look, [gone("a.yaml", "a")])[gone("a.yaml", "a")] == (
        Absence.WAIT, "gone from disk; it is absent once a second look sees the same",
    )  # fmt: skip
    assert verdict(tree, tree.look(1000 + SETTLE_MS - 1), "a.yaml", "a") is Absence.WAIT
    look = tree.look(1000 + SETTLE_MS)
    assert verdict(tree, look, "a.yaml", "a") is Absence.ABSENT
    assert (look.vanished, look.again_ms) == (("a.yaml",), None)


def test_a_daemon_gives_an_absence_outside_git_the_grace_it_asks_for_and_is_woken_when_it_is_over(
    root: Path, open_tree: Open
) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0, 5_000))
    (root / "a.yaml").unlink()
    look = tree.look(1_000, 5_000)
    assert (verdict(tree, look, "a.yaml", "a"), look.again_ms) == (Absence.WAIT, 5_000)
    look = tree.look(2_000, 5_000)
    assert (verdict(tree, look, "a.yaml", "a"), look.again_ms) == (Absence.WAIT, 4_000)
    write(root, c=spec("c"))
    look = tree.look(3_000, 5_000)
    assert (verdict(tree, look, "a.yaml", "a"), look.again_ms) == (Absence.WAIT, 5_000), "the tree still moves"
    look = tree.look(8_000, 5_000)
    assert (verdict(tree, look, "a.yaml", "a"), look.again_ms) == (Absence.ABSENT, None)


def test_looks_that_differ_are_not_equal(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "a.yaml").unlink()
    tree.look(1000)
    (root / "b.yaml").unlink()
    assert verdict(tree, tree.look(2000), "a.yaml", "a") is Absence.WAIT
    write(root, c=spec("c"))
    assert verdict(tree, tree.look(3000), "a.yaml", "a") is Absence.WAIT
    assert verdict(tree, tree.look(3000 + SETTLE_MS), "a.yaml", "a") is Absence.ABSENT


def test_a_file_that_declares_less_asks_for_a_second_look(root: Path, open_tree: Open) -> None:
    write(root, a=f"{spec('a')}---\n{spec('b')}")
    tree = open_tree()
    tree.settle(tree.look(0))
    write(root, a=f"{spec('a', v='2')}---\n{spec('b')}")
    assert tree.look(1000).again_ms is None
    write(root, a=spec("a"))
    look = tree.look(2000)
    assert look.again_ms == SETTLE_MS
    assert verdict(tree, look, "a.yaml", "b") is Absence.WAIT
    tree.settle(look, keep=["a.yaml"])
    look = tree.look(2000 + SETTLE_MS)
    assert (names(look), look.again_ms) == (["a.yaml"], None)
    assert verdict(tree, look, "a.yaml", "b") is Absence.ABSENT


def test_nothing_is_absent_while_anything_cannot_be_read(root: Path, open_tree: Open) -> None:
    write(root, a=spec("a"))
    tree = open_tree()
    tree.settle(tree.look(0))
    (root / "a.yaml").unlink()
    os.mkfifo(root / "pipe.yaml")
    tree.look(1000)
    look = tree.look(2000)
    assert tree.absent(look, [gone("a.yaml", "a")])[gone("a.yaml", "a")] == (
        Absence.WAIT, "nothing is deleted while pipe.yaml cannot be read",
    )  # fmt: skip


# --- absence in git ---------------------------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> WorkTree:
    work = WorkTree(tmp_path / "work")
    work.write({"a.yaml": spec("a"), "b.yaml": spec("b"), "two.yaml": f"{spec('c')}---\n{spec('d')}"})
    work.commit()
    return work


@pytest.fixture
def git_tree(work: WorkTree, open_tree: Open) -> Tree:
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    return tree


def test_a_tracked_document_is_absent_once_head_lacks_it_and_then_at_once(work: WorkTree, git_tree: Tree) -> None:
    (work.root / "a.yaml").unlink()
    work.write({"two.yaml": spec("c")})
    asked = [gone("a.yaml", "a"), gone("two.yaml", "d")]
    for now in (1000, 5000):
        look = quiet_look(git_tree, work.root, now)
        said = git_tree.absent(look, asked)
        assert {one: said[one].absence for one in asked} == dict.fromkeys(asked, Absence.IN_HEAD)
    assert said[asked[0]].reason == "gone from disk but not from HEAD; commit its removal, or restore it"
    work.commit()
    look = quiet_look(git_tree, work.root, 5001)
    said = git_tree.absent(look, asked)
    assert [said[one] for one in asked] == [(Absence.ABSENT, "no file declares it")] * 2
    assert look.head == work.git("rev-parse", "HEAD")


def test_a_document_that_a_commit_moved_into_a_file_that_is_gone_from_disk_is_in_head(
    work: WorkTree, git_tree: Tree
) -> None:
    work.write({"new.yaml": spec("a"), "b.yaml": f"{spec('b')}---\n{spec('e')}"})
    (work.root / "a.yaml").unlink()
    work.commit()
    (work.root / "new.yaml").unlink()
    work.write({"b.yaml": spec("b")})
    look = quiet_look(git_tree, work.root, 1000)
    assert verdict(git_tree, look, "a.yaml", "a") is Absence.IN_HEAD
    assert verdict(git_tree, look, "a.yaml", "e") is Absence.IN_HEAD


def test_what_a_link_leads_to_is_absent_once_head_lacks_it_and_not_before(work: WorkTree, open_tree: Open) -> None:
    work.write({".data/one": f"{spec('l')}---\n{spec('m')}", ".data/more/e.yaml": spec("e"), ".data/two": spec("n")})
    (work.root / "l.yaml").symlink_to(".data/one")
    (work.root / "more").symlink_to(".data/more")
    (work.root / ".data/more/n.yaml").symlink_to("../two")
    work.commit()
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    work.write({".data/one": spec("m")})
    (work.root / "more").unlink()
    asked = [gone("l.yaml", "l"), gone("more/e.yaml", "e"), gone("more/n.yaml", "n")]
    for now in (1000, 5000):
        said = tree.absent(quiet_look(tree, work.root, now), asked)
        assert [said[one].absence for one in asked] == [Absence.IN_HEAD] * 3
    work.commit()
    said = tree.absent(quiet_look(tree, work.root, 5001), asked)
    assert [said[one].absence for one in asked] == [Absence.ABSENT] * 3


def test_what_head_has_moved_to_where_another_link_leads_is_in_head(work: WorkTree, open_tree: Open) -> None:
    work.write({".data/one": f"{spec('l')}---\n{spec('m')}", ".data/two": spec("n")})
    (work.root / "l.yaml").symlink_to(".data/one")
    (work.root / "m.yaml").symlink_to(".data/two")
    work.commit()
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    work.write({".data/one": spec("l"), ".data/two": f"{spec('n')}---\n{spec('m')}"})
    work.commit("moved")
    work.write({".data/two": spec("n")})
    assert verdict(tree, quiet_look(tree, work.root, 1000), "l.yaml", "m") is Absence.IN_HEAD


def test_what_a_submodule_declares_is_absent_once_its_own_head_lacks_it(
    work: WorkTree, tmp_path: Path, open_tree: Open
) -> None:
    inner = WorkTree(tmp_path / "inner", ".")
    inner.write({"s.yaml": spec("s"), "deep/t.yaml": spec("t")})
    inner.commit()
    work.git("submodule", "-q", "add", str(inner.top), f"{work.root.name}/team")
    work.commit()
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    (work.root / "team/s.yaml").unlink()
    s, t = gone("team/s.yaml", "s"), gone("team/deep/t.yaml", "t")
    for now in (1000, 5000):
        assert tree.absent(quiet_look(tree, work.root, now), [s])[s].absence is Absence.IN_HEAD
    checked_out = WorkTree(work.root / "team", ".")
    checked_out.commit("without it")
    lock = work.top / ".git/modules" / work.root.name / "team/index.lock"
    lock.touch()
    said = tree.absent(quiet_look(tree, work.root, 6000), [s])[s]
    assert said == (Absence.WAIT, "team: git's index.lock stands; if no git command is running, remove it")
    lock.unlink()
    assert tree.absent(quiet_look(tree, work.root, 7000), [s])[s].absence is Absence.ABSENT
    work.git("submodule", "-q", "deinit", "-f", f"{work.root.name}/team")
    for now in (8000, 9000):
        look = quiet_look(tree, work.root, now)
        assert tree.absent(look, [t])[t] == (
            Absence.IN_HEAD, "gone from disk with a submodule that HEAD names; `git submodule update --init`",
        )  # fmt: skip


def test_an_untracked_document_in_a_work_tree_is_absent_after_two_equal_looks(work: WorkTree, git_tree: Tree) -> None:
    work.write({"u.yaml": spec("u")})
    git_tree.settle(quiet_look(git_tree, work.root, 500))
    (work.root / "u.yaml").unlink()
    assert verdict(git_tree, quiet_look(git_tree, work.root, 1000), "u.yaml", "u") is Absence.WAIT
    assert verdict(git_tree, git_tree.look(1000 + SETTLE_MS), "u.yaml", "u") is Absence.ABSENT


def test_a_branch_without_commits_has_no_head_to_hold_anything(tmp_path: Path, open_tree: Open) -> None:
    work = WorkTree(tmp_path / "unborn")
    work.write({"a.yaml": spec("a")})
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    (work.root / "a.yaml").unlink()
    look = quiet_look(tree, work.root, 1000)
    assert (look.head, verdict(tree, look, "a.yaml", "a")) == (None, Absence.WAIT)
    assert verdict(tree, tree.look(2000), "a.yaml", "a") is Absence.ABSENT


def test_heads_version_that_cannot_be_parsed_may_declare_anything(work: WorkTree, open_tree: Open) -> None:
    work.write({"a.yaml": "kind: ["})
    work.commit()
    tree = open_tree(work.root)
    tree.settle(quiet_look(tree, work.root))
    (work.root / "a.yaml").unlink()
    look = quiet_look(tree, work.root, 9000)
    assert tree.absent(look, [gone("a.yaml", "a")])[gone("a.yaml", "a")] == (
        Absence.IN_HEAD, "gone from disk, and HEAD's version of its file cannot be read",
    )  # fmt: skip


@pytest.mark.parametrize(
    "mark",
    [
        "index.lock",
        "HEAD.lock",
        "MERGE_HEAD",
        "rebase-merge",
        "rebase-apply",
        "CHERRY_PICK_HEAD",
        "REVERT_HEAD",
        "BISECT_LOG",
    ],
)
def test_while_git_is_at_work_nothing_is_absent_and_a_change_counts_when_seen_twice(
    work: WorkTree, git_tree: Tree, mark: str
) -> None:
    work.git("rm", "-q", "jobs.d/a.yaml")
    work.commit()
    work.write({"b.yaml": spec("b", v="2")})
    (work.top / ".git" / mark).touch()
    look = quiet_look(git_tree, work.root, 1000)
    assert look.torn is not None
    assert (names(look), look.held, look.vanished) == ([], ("b.yaml",), ("a.yaml",))
    assert look.again_ms is not None
    said = git_tree.absent(look, [gone("a.yaml", "a")])[gone("a.yaml", "a")]
    assert said == (Absence.WAIT, look.torn)
    look = git_tree.look(1000 + SETTLE_MS)
    assert (names(look), look.held) == (["b.yaml"], ()), "a lock that somebody left behind stops no change"
    assert verdict(git_tree, look, "a.yaml", "a") is Absence.WAIT
    (work.top / ".git" / mark).unlink()
    look = quiet_look(git_tree, work.root, 2000)
    assert look.torn is None
    assert verdict(git_tree, look, "a.yaml", "a") is Absence.ABSENT


def test_a_lock_that_stands_for_long_is_looked_at_less_often(work: WorkTree, git_tree: Tree) -> None:
    (work.top / ".git" / "index.lock").touch()
    (work.root / "a.yaml").unlink()
    first = quiet_look(git_tree, work.root, 1000)
    assert first.again_ms is not None
    assert first.again_ms < SETTLE_MS
    assert git_tree.look(1000 + STANDING_AFTER_MS).again_ms == STANDING_MS
    (work.top / ".git" / "index.lock").unlink()
    assert quiet_look(git_tree, work.root, 20_000).torn is None


def test_git_that_worked_a_moment_ago_makes_a_look_uncertain(work: WorkTree, git_tree: Tree) -> None:
    work.write({"b.yaml": spec("b", v="2")})
    wait_until_old(work.root)
    (work.top / ".git" / "index.lock").touch()
    (work.top / ".git" / "index.lock").unlink()
    look = git_tree.look(1000)
    assert (look.torn, look.held) == ("git was at work while the tree was read", ("b.yaml",))
    look = quiet_look(git_tree, work.root, 1001)
    assert (look.torn, names(look)) == (None, ["b.yaml"])


def test_what_differed_and_is_again_what_was_told_is_told_once_more(work: WorkTree, git_tree: Tree) -> None:
    told = (work.root / "a.yaml").read_text()
    work.write({"a.yaml": spec("a", v="2")})
    wait_until_old(work.root)
    (work.top / ".git" / "index.lock").touch()
    (work.top / ".git" / "index.lock").unlink()
    look = git_tree.look(1000)
    assert (names(look), look.held) == ([], ("a.yaml",))
    work.write({"a.yaml": told})
    look = quiet_look(git_tree, work.root, 1001)
    assert names(look) == ["a.yaml"], "whoever looked may have taken it in while it was otherwise"
    git_tree.settle(look)
    assert names(quiet_look(git_tree, work.root, 1002)) == []


def test_where_git_is_missing_its_marks_are_heeded_and_two_looks_decide(
    work: WorkTree, git_tree: Tree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (work.root / "a.yaml").unlink()
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert verdict(git_tree, quiet_look(git_tree, work.root, 1000), "a.yaml", "a") is Absence.WAIT
    assert verdict(git_tree, git_tree.look(2000), "a.yaml", "a") is Absence.ABSENT


def test_a_repository_that_git_refuses_to_read_makes_nothing_absent(work: WorkTree, git_tree: Tree) -> None:
    (work.root / "a.yaml").unlink()
    (work.top / ".git" / "config").write_text("[core\n")
    quiet_look(git_tree, work.root, 1000)
    look = git_tree.look(9000)
    said = git_tree.absent(look, [gone("a.yaml", "a")])[gone("a.yaml", "a")]
    assert (said.absence, said.reason.startswith("'git ls-tree' failed: bad config line")) == (Absence.WAIT, True)


# --- torn trees -------------------------------------------------------------------------------------------------------

FLIPS = """
import subprocess, sys
top, flips = sys.argv[1], int(sys.argv[2])
for n in range(flips):
    branch = ("left", "right")[n % 2]
    subprocess.run(["git", "-C", top, "checkout", "-q", branch], check=True)
"""


class HeldCheckouts:
    """Checkouts that write this file stay in the middle, until they are let go."""

    def __init__(self, work: WorkTree, path: Path) -> None:
        self._gate, self._arrived = work.top.parent / "gate", work.top.parent / "arrived"
        self._gate.touch()
        script = f"cat; touch '{self._arrived}'; while [ -e '{self._gate}' ]; do sleep 0.01; done"
        work.git("config", "filter.hold.smudge", script)
        (work.top / ".git" / "info" / "attributes").write_text(f"{path.relative_to(work.top)} filter=hold\n")

    def wait_for_one(self, flipping: subprocess.Popen[bytes]) -> None:
        pause = threading.Event()
        while not self._arrived.exists():
            assert flipping.poll() is None
            pause.wait(0.01)

    def let_go(self) -> None:
        self._gate.unlink(missing_ok=True)


def test_while_checkouts_flip_between_branches_no_shared_document_is_absent_and_no_content_is_torn(
    tmp_path: Path, open_tree: Open
) -> None:
    """Of 180 documents a third changes, a third moves to another file, and each branch has some of its own."""
    work = WorkTree(tmp_path / "work")
    shared = [f"s{n:03d}" for n in range(180)]
    contents: set[str] = set()

    def branch(side: str) -> None:
        files = {}
        for n, name in enumerate(shared):
            path = f"{side}/{name}.yaml" if n % 3 == 0 else f"f{n % 7}/{name}.yaml"
            files[path] = spec(name, side=side if n % 3 == 1 else "both")
        files |= {f"own/{side}{n}.yaml": spec(f"{side}{n}") for n in range(50)}
        work.git("checkout", "-q", "--orphan", side)
        work.git("rm", "-rqf", "--ignore-unmatch", ".")
        work.write(files)
        work.commit(side)
        contents.update(files.values())

    branch("left")
    branch("right")
    known = {tree_module.content_digest(text.encode()) for text in contents}
    tree = open_tree(work.root)
    look = quiet_look(tree, work.root)
    desired = {("Stream", d.name): s.path for s in look.changed for d in s.parsed.documents}
    tree.settle(look)
    held = HeldCheckouts(work, work.root / "own" / "left0.yaml")
    flipping = subprocess.Popen([sys.executable, "-c", FLIPS, os.fspath(work.top), "20"])
    held.wait_for_one(flipping)
    looks = torn = now = 0
    try:
        while flipping.poll() is None or looks < 5:
            now += SETTLE_MS // 2
            looks += 1
            look = tree.look(now)
            torn += look.torn is not None
            held.let_go()  # the first look has certainly fallen into a checkout
            assert {seen.digest for seen in look.changed} <= known
            assert look.problems == ()
            here = {("Stream", d.name): s.path for s in look.changed for d in s.parsed.documents}
            differing = {s.path for s in look.changed} | set(look.vanished)
            lost = [
                gone(path, name)
                for (_, name), path in desired.items()
                if path in differing and ("Stream", name) not in here
            ]
            said = tree.absent(look, lost)
            away = {one.name for one in lost if said[one].absence is Absence.ABSENT}
            assert not away & set(shared)
            assert flipping.poll() is not None or away <= {f"{s}{n}" for s in ("left", "right") for n in range(50)}
            keep = {one.path for one in lost if one.name not in away}
            desired = {key: path for key, path in desired.items() if key[1] not in away} | here
            tree.settle(look, keep)
    finally:
        flipping.kill()
        flipping.wait()
    assert torn > 0
    look = quiet_look(tree, work.root, now + 10 * SETTLE_MS)
    assert set(shared) <= {name for _, name in desired}
    tree.settle(look)
    assert quiet_look(tree, work.root, now + 20 * SETTLE_MS).torn is None


def test_what_was_read_of_a_tree_in_the_making_is_read_once(
    root: Path, open_tree: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.repo.index.SPARE_PARSED", 0)
    write(root, a=spec("a"), b=spec("b"))
    tree = open_tree()
    look = tree.look(0)
    tree.settle(look, keep=[seen.path for seen in look.changed])  # nothing of it is believed yet
    assert set(tree._index.parsed(seen.digest for seen in look.changed)) == {seen.digest for seen in look.changed}


def test_a_glance_tells_whether_few_files_are_new(root: Path, open_tree: Open) -> None:
    (root / "a.yaml").write_text(spec("a"))
    (root / "b.yaml").write_text(spec("b"))
    tree = open_tree()
    assert tree.has_news(2)
    assert not tree.has_news(1), "many take a while in any case"
    tree.settle(tree.look(0))
    assert not tree.has_news(2)
    (root / "b.yaml").write_text(spec("c"))
    assert tree.has_news(2)
    assert not tree.has_news(1), "a tree of more files is not walked for that"
