"""Which files a spec may name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler.errors import Fatal
from reconciler.runner.paths import Paths


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "root/specs/data/a-1.csv",
        "root/specs/data/a-2.csv",
        "root/specs/data/b.txt",
        "root/specs/data/.hidden.csv",
        "root/specs/data/deep/er/c.csv",
        "root/specs/data/.git/d.csv",
        "root/shared/e.csv",
        "root/.reconciler/record.db",
        "outside/f.csv",
        "allowed/g.csv",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "root/specs/data/folder.csv").mkdir()
    return tmp_path


def paths(tree: Path) -> Paths:
    return Paths(str(tree / "root"), str(tree / "root/specs"), (str(tree / "allowed"),), str(tree / "root/.reconciler"))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("data/a-1.csv", ["data/a-1.csv"]),
        ("./data/../data//a-1.csv", ["data/a-1.csv"]),
        ("data/*.csv", ["data/a-1.csv", "data/a-2.csv"]),
        ("data/.*.csv", ["data/.hidden.csv"]),
        ("data/a-[2-9].csv", ["data/a-2.csv"]),
        ("data/?.txt", ["data/b.txt"]),
        ("*/*.txt", ["data/b.txt"]),
        ("**/*.csv", ["data/a-1.csv", "data/a-2.csv", "data/deep/er/c.csv"]),
        ("**/**/c.csv", ["data/deep/er/c.csv"]),
        ("data/deep/**", ["data/deep/er/c.csv"]),
        ("*/deep/er/c.csv", ["data/deep/er/c.csv"]),
        ("data/*/er/c.csv", ["data/deep/er/c.csv"]),
        ("data/*.parquet", []),
        ("nowhere/*.csv", []),
        ("data/b.txt/*.csv", []),
        ("*/nothing.csv", []),
        ("../shared/*.csv", ["../shared/e.csv"]),
        ("../../allowed/*.csv", ["../../allowed/g.csv"]),
    ],
)
def test_a_pattern_gives_its_files_in_order(tree: Path, pattern: str, names: list[str]) -> None:
    found = paths(tree).expand(pattern)
    assert [text for text, _ in found] == names
    assert [path for _, path in found] == [Path(os.path.normpath(tree / "root/specs" / name)) for name in names]


def test_an_absolute_path_is_known_by_its_place_relative_to_the_spec(tree: Path) -> None:
    assert paths(tree).expand(str(tree / "root/shared/e.csv")) == [("../shared/e.csv", tree / "root/shared/e.csv")]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("data/x.csv", "There is no file 'data/x.csv'."),
        ("data/deep", "'data/deep' is a folder; a file or a glob is needed."),
        ("", "'' is not a path."),
        ("a\0b", "'a\\x00b' is not a path."),
    ],
)
def test_a_plain_path_that_is_no_file_is_fatal(tree: Path, pattern: str, message: str) -> None:
    with pytest.raises(Fatal) as caught:
        paths(tree).expand(pattern)
    assert str(caught.value) == message


def test_a_pipe_is_no_file(tree: Path) -> None:
    os.mkfifo(tree / "root/specs/data/pipe.csv")
    with pytest.raises(Fatal, match=r"'data/pipe.csv' is not a regular file."):
        paths(tree).expand("data/pipe.csv")
    assert "data/pipe.csv" not in dict(paths(tree).expand("data/*.csv"))


LEAVES = "The path {!r} leaves the root. Start the controller with --allow-path to allow its folder."


@pytest.mark.parametrize(
    "text",
    ["../../outside/f.csv", "/etc/passwd", "../..", "../../root-of-another/x", "link/f.csv", "file.csv", "up/../x"],
)
def test_a_path_that_leaves_the_root_is_fatal(tree: Path, text: str) -> None:
    specs = tree / "root/specs"
    (specs / "link").symlink_to(tree / "outside")
    (specs / "file.csv").symlink_to(tree / "outside/f.csv")
    (tree / "root-of-another").mkdir()
    if text == "up/../x":  # read word by word it stays inside
        assert paths(tree).path(text) == specs / "x"
        return
    for use in (paths(tree).path, paths(tree).expand):
        with pytest.raises(Fatal) as caught:
            use(text)
        assert str(caught.value) == LEAVES.format(text)


@pytest.mark.parametrize("pattern", ["*.csv", "link/*.csv", "*/f.csv"])
def test_a_glob_that_leads_out_by_a_symlink_is_fatal(tree: Path, pattern: str) -> None:
    specs = tree / "root/specs"
    (specs / "link").symlink_to(tree / "outside")
    (specs / "file.csv").symlink_to(tree / "outside/f.csv")
    with pytest.raises(Fatal, match="leaves the root"):
        paths(tree).expand(pattern)


def test_a_symlink_that_stays_inside_is_followed_and_keeps_its_name(tree: Path) -> None:
    (tree / "root/specs/near.csv").symlink_to(tree / "root/shared/e.csv")
    assert paths(tree).expand("*.csv") == [("near.csv", tree / "root/shared/e.csv")]


def test_a_loop_of_symlinks_ends(tree: Path) -> None:
    (tree / "root/specs/data/loop").symlink_to(tree / "root/specs")
    assert len(paths(tree).expand("**/*.csv")) == 3


@pytest.mark.parametrize("text", ["../.reconciler/record.db", "../.reconciler", "../.reconciler/data/*.parquet"])
def test_the_state_directory_is_closed(tree: Path, text: str) -> None:
    with pytest.raises(Fatal) as caught:
        paths(tree).path(text)
    assert str(caught.value) == (
        f"The path {text!r} leads into the state directory, which belongs to the controller alone."
    )


@pytest.mark.parametrize(
    "text", ["orders.yaml", "../shared/new.yml", "orders.status.yaml", "orders.log", "orders.log.1", "../.git/config"]
)
def test_no_export_replaces_a_spec_what_is_beside_it_or_what_git_keeps(tree: Path, text: str) -> None:
    with pytest.raises(Fatal) as caught:
        paths(tree).path(text)
    assert str(caught.value) == (
        f"The path {text!r} names a spec, a status, a log or a file of git's; choose another one."
    )


def test_what_is_allowed_inside_of_the_state_directory_is_open(tree: Path) -> None:
    clone = tree / "root/.reconciler/cache/clone"
    clone.mkdir(parents=True)
    (clone / "a.csv").touch()
    inside = Paths(str(clone), str(clone), (), str(tree / "root/.reconciler"))
    assert inside.expand("*.csv") == [("a.csv", clone / "a.csv")]
    with pytest.raises(Fatal, match="leaves the root"):
        inside.path("../../record.db")


def test_a_path_to_be_written_need_not_exist(tree: Path) -> None:
    assert paths(tree).path("out/new/file.csv") == tree / "root/specs/out/new/file.csv"
    assert paths(tree).path("data/*.csv") == tree / "root/specs/data"


def test_a_name_that_is_not_utf_8_is_fatal(tree: Path) -> None:
    with open(os.fsencode(tree) + b"/root/specs/data/\xff.csv", "w"):
        pass
    with pytest.raises(Fatal) as caught:
        paths(tree).expand("data/*.csv")
    assert str(caught.value) == "The name of the file 'data/\\udcff.csv' is not UTF-8. Rename the file."
