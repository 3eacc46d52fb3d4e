"""A look that asks only about what a watch has named finds what a look at everything finds, or looks at everything."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.repo.hints import MOST, Hints
from reconciler.repo.look import Look
from reconciler.repo.tree import Tree
from reconciler.repo.watch import Watch
from tests.repo.test_tree import wait_until_old
from tests.repo.test_watch import Sleeper
from tests.repo.worktree import WorkTree, spec

# --- hints ----------------------------------------------------------------------------------------------------------


def test_nothing_is_known_until_a_look_was_taken_since_the_watch_stands() -> None:
    hints = Hints()
    hints.name(["a"])
    assert hints.take() is hints.take() is None, "no watch stands"
    hints.stand()
    hints.name(["a"])
    assert hints.take() is None, "what happened before it stood was not named"
    assert hints.take() == frozenset()
    hints.name(["b", "a"])
    hints.name(["c"])
    assert (hints.take(), hints.take()) == ({"a", "b", "c"}, frozenset())


def test_what_was_lost_or_too_much_or_named_before_a_watch_fell_is_no_hint() -> None:
    hints = Hints()
    hints.stand()
    for lose in (hints.lose, hints.stand, lambda: hints.name(str(number) for number in range(MOST + 1))):
        hints.take()
        hints.name(["a"])
        lose()
        hints.name(["b"])
        assert hints.take() is None
        assert hints.take() == frozenset()
    hints.fall()
    assert hints.take() is hints.take() is None


def test_a_watch_names_what_was_changed_made_and_removed_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "a.yaml").write_text("a")
    hints, sleeper = Hints(), Sleeper()
    watch = Watch(tmp_path, sleeper.wake, hints)
    try:
        assert sleeper.woken_since(1)
        assert hints.take() is None
        named: set[str] = set()
        for deed in (
            lambda: (tmp_path / "team" / "a.yaml").write_text("b"),
            lambda: (tmp_path / "b.yaml").write_text("b"),
            lambda: (tmp_path / "team" / "a.yaml").unlink(),
        ):
            count = sleeper.count
            deed()
            assert sleeper.woken_since(count)
            named |= hints.take() or set()
        assert {"team/a.yaml", "b.yaml"} <= named
    finally:
        watch.close()
    assert hints.take() is None


# --- looks ----------------------------------------------------------------------------------------------------------


class Watched:
    """A tree whose watch is the test: it names what it is told to. Ten seconds pass from look to look."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.tree = Tree(root, cache, identity="record", version="1", catalogue=dict)
        self.hints = self.tree._hints
        self.hints.stand()
        self._ticks = itertools.count(0, 10_000)

    def look(self, *named: str, hinted: bool = True) -> Look:
        self.hints.name(named)
        return self.tree.look(next(self._ticks), hinted=hinted)

    def settle(self, *named: str, hinted: bool = True) -> Look:
        look = self.look(*named, hinted=hinted)
        self.tree.settle(look)
        return look


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    root = tmp_path / "root"
    (root / "team").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    for name in ("a", "team/b"):
        (root / f"{name}.yaml").write_text(spec(name[-1]))
    wait_until_old(root)
    made = Watched(root, tmp_path / "cache")
    made.settle()
    made.settle()
    yield made
    made.tree.close()


def names(look: Look) -> list[str]:
    return [seen.path for seen in look.changed]


def test_a_hinted_look_asks_about_what_was_named_and_a_whole_one_about_everything(watched: Watched) -> None:
    for name in ("a", "team/b"):
        (watched.root / f"{name}.yaml").write_text(spec(name[-1], v="2"))
    look = watched.settle("team/b.yaml")
    assert names(look) == ["team/b.yaml"]
    assert sorted(look.files) == ["a.yaml", "team/b.yaml"]
    assert not look.settled
    assert names(watched.settle()) == []
    assert names(watched.settle(hinted=False)) == ["a.yaml"]


def test_what_nobody_has_named_is_found_when_the_next_walk_is_due(watched: Watched) -> None:
    (watched.root / "unnamed.yaml").write_text(spec("unnamed"))
    found = [names(watched.settle()) for _ in range(8)]
    assert sorted(filter(None, found)) == [["unnamed.yaml"]]


def test_a_new_spec_in_a_folder_that_was_read_is_found_by_its_name(watched: Watched) -> None:
    (watched.root / "team" / "c.yaml").write_text(spec("c"))
    (watched.root / "unnamed.yaml").write_text(spec("unnamed"))
    assert names(watched.settle("team/c.yaml", "team/.c.yaml.tmp", "4913")) == ["team/c.yaml"]
    assert names(watched.settle(hinted=False)) == ["unnamed.yaml"]


@pytest.mark.parametrize("odd", ["gone", "folder gone", "new folder", "link", "too large", "a document less"])
def test_as_soon_as_anything_is_gone_or_odd_the_whole_tree_is_looked_at(watched: Watched, odd: str) -> None:
    root = watched.root
    match odd:
        case "gone":
            (root / "team" / "b.yaml").unlink()
        case "folder gone":
            shutil.rmtree(root / "team")
        case "new folder":
            (root / "new").mkdir()
            (root / "new" / "c.yaml").write_text(spec("c"))
        case "link":
            (root / "team" / "b.yaml").unlink()
            (root / "team" / "b.yaml").symlink_to("../a.yaml")
        case "too large":
            (root / "team" / "b.yaml").write_text("#" * (1 << 20 | 1))
        case _:
            (root / "team" / "b.yaml").write_text("")
    (root / "unnamed.yaml").write_text(spec("unnamed"))
    name = {"folder gone": "team", "new folder": "new"}.get(odd, "team/b.yaml")
    assert "unnamed.yaml" in names(watched.look(name))


def test_what_was_not_settled_is_there_again(watched: Watched) -> None:
    (watched.root / "a.yaml").write_text(spec("a", v="2"))
    assert names(watched.look("a.yaml")) == ["a.yaml"]
    assert names(watched.look()) == ["a.yaml"]
    assert names(watched.settle()) == ["a.yaml"]
    assert names(watched.settle()) == []


def test_what_was_invalid_is_mended_in_a_look_at_everything(watched: Watched) -> None:
    (watched.root / "a.yaml").write_text(spec("a").replace("spec: {}", "spec: {wrong: 1}"))
    assert watched.settle("a.yaml").changed[0].parsed.problems
    (watched.root / "a.yaml").write_text(spec("a"))
    (watched.root / "unnamed.yaml").write_text(spec("unnamed"))
    assert names(watched.look("a.yaml")) == ["a.yaml", "unnamed.yaml"]


def test_where_git_has_moved_the_whole_tree_is_looked_at(tmp_path: Path) -> None:
    tree = WorkTree(tmp_path / "top")
    tree.write({"a.yaml": spec("a")})
    tree.commit()
    wait_until_old(tree.root)
    (tmp_path / "cache").mkdir(exist_ok=True)
    watched = Watched(tree.root, tmp_path / "cache")
    watched.settle()
    watched.settle()
    tree.write({"a.yaml": spec("a", v="2")})
    assert names(watched.settle()) == [], "nobody named it"
    tree.commit()
    wait_until_old(tree.root)
    assert names(watched.settle()) == ["a.yaml"]
    watched.tree.close()


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("write", "unlink", "rename", "empty", "folder", "look")),
        st.sampled_from(("a", "b", "x/a", "x/c", "y/a")),
        st.integers(1, 3),
    ),
    max_size=12,
)


def apply(root: Path, operation: str, name: str, number: int) -> list[str]:
    """Does it; what a watch would name."""
    path = root / f"{name}.yaml"
    new_folder = [] if path.parent.is_dir() else [path.parent.name]
    match operation:
        case "write":
            path.parent.mkdir(exist_ok=True)
            path.write_text(spec(path.stem, v=str(number)))
        case "empty" if path.exists():
            path.write_text("# nothing\n")
        case "unlink" if path.exists():
            path.unlink()
        case "rename" if path.exists():
            path.rename(path.with_name(f"r{number}.yaml"))
            return [f"{name}.yaml", str(path.with_name(f"r{number}.yaml").relative_to(root))]
        case "folder" if path.parent != root and path.parent.is_dir():
            path.parent.rename(root / f"z{number}") if not (root / f"z{number}").exists() else None
            return [path.parent.name, f"z{number}"]
        case _:
            return []
    return [*new_folder, f"{name}.yaml"]


@settings(max_examples=25, deadline=None)
@given(operations=OPERATIONS)
def test_whatever_happens_to_a_tree_hinted_looks_end_where_whole_ones_do(
    operations: list[tuple[str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, cache, other = (tmp_path_factory.mktemp(name) for name in ("root", "cache", "other"))
    watched, whole = Watched(root, cache), Tree(root, other, identity="record", version="1", catalogue=dict)
    known: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def see(step: int) -> None:
        looks: tuple[tuple[Tree, Callable[[], Look]], ...] = (
            (watched.tree, watched.look),
            (whole, lambda: whole.look(step * 10_000)),
        )
        for (tree, take), told in zip(looks, known, strict=True):
            look = take()
            tree.settle(look)
            told.update({seen.path: seen.digest for seen in look.changed})
            for path in look.vanished:
                del told[path]
        assert known[0] == known[1]

    for step, (operation, name, number) in enumerate(operations):
        watched.hints.name(apply(root, operation, name, number))
        if operation == "look":
            see(step)
    see(len(operations))
    watched.tree.close()
    whole.close()
