"""What is written beside a spec: statuses whole and only on change, logs by appending."""

from __future__ import annotations

import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.repo.emit import to_yaml
from reconciler.repo.names import ROTATED_LOGS
from reconciler.repo.write import MAX_LOG_BYTES, Writer

STATUS: dict[str, Any] = {
    "apiVersion": "reconciler/v1",
    "kind": "JobStatus",
    "metadata": {"name": "import-orders"},
    "status": {
        "status": "Sleeping",
        "reason": "Scheduled",
        "message": "next run in 42 min",
        "createdAt": "2026-11-21T10:00:00.000Z",
        "createdBy": "Ann <ann@example.com>",
        "generation": 3,
        "digest": "9f2c11e0",
        "revision": "main@sha1:0123abc",
        "lastRun": None,
        "errors": {"consecutive": 0, "since": None, "last": "http: 503: try later"},
        "totals": {},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Synced"}],
        "history": [],
        "rate": 1.5,
        "suspended": False,
    },
}


def tail(text: str) -> str:
    return text.rsplit("/", 1)[-1]


# --- the YAML ---------------------------------------------------------------------------------------------------------


def test_a_status_reads_well() -> None:
    assert to_yaml(STATUS) == (
        "apiVersion: reconciler/v1\n"
        "kind: JobStatus\n"
        "metadata:\n"
        "  name: import-orders\n"
        "status:\n"
        "  status: Sleeping\n"
        "  reason: Scheduled\n"
        "  message: next run in 42 min\n"
        '  createdAt: "2026-11-21T10:00:00.000Z"\n'
        '  createdBy: "Ann <ann@example.com>"\n'
        "  generation: 3\n"
        '  digest: "9f2c11e0"\n'
        "  revision: main@sha1:0123abc\n"
        "  lastRun: null\n"
        "  errors:\n"
        "    consecutive: 0\n"
        "    since: null\n"
        '    last: "http: 503: try later"\n'
        "  totals: {}\n"
        "  conditions:\n"
        "    - type: Ready\n"
        '      status: "True"\n'
        "      reason: Synced\n"
        "  history: []\n"
        "  rate: 1.5\n"
        "  suspended: false\n"
    )


def read_by_both(text: str) -> list[Any]:
    return [yaml.safe_load(text), YAML(typ="safe", pure=True).load(io.StringIO(text))]


TRAPS = [
    *["no", "yes", "on", "off", "y", "n", "null", "~", "True", "FALSE", "Null", "NO", ".inf", ".NaN", "1", "0o7", "0x1F", "1_000", "1e3", "1.5", "-1", "+1", "1:30", "12:30:45"],
    *["2026-11-21", "2026-11-21T10:00:00Z", "=", "<<", "-", "?", ":", "#", "&", "*", "!", "|", ">", "'", '"', "%", "@", "`", "[", "]", "{", "}", ",", "---", "..."],
    *["", " ", "a ", " a", "a: b", "a:", "a #b", "a#b", "a:b", "a,b", "-a", "- a", "a\nb", "a\tb", "\x00", "\x7f", "\x85"],
    *["\u2028", "\ufeff", "\ufffe", "é", "日本", "😀", "a'b", 'a"b', "C:\\x", "null ", "e5", "x=1", "a[b", "a]b", "a{b", "a}"],
]  # fmt: skip


@pytest.mark.parametrize("text", TRAPS)
def test_no_reader_takes_a_string_for_anything_else(text: str) -> None:
    for loaded in read_by_both(to_yaml({"key": text, "list": [text], text or "k": "value"})):
        assert loaded == {"key": text, "list": [text], text or "k": "value"}


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert read_by_both(to_yaml({"a": "x\ud800y"}))[0] == {"a": "x\ufffdy"}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(TRAPS)
scalars = st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(texts, values, max_size=4))
def test_every_document_is_read_back_as_it_was_by_yaml_1_1_and_1_2(document: dict[str, Any]) -> None:
    for loaded in read_by_both(to_yaml(document)):
        assert loaded == document


# --- statuses ---------------------------------------------------------------------------------------------------------


def test_a_status_is_written_beside_its_spec_and_only_when_it_says_something_else(tmp_path: Path) -> None:
    (tmp_path / "team").mkdir()
    writer = Writer(tmp_path)
    first = writer.write_status("team/orders.yaml", "import-orders", STATUS)
    file = tmp_path / "team" / "import-orders.status.yaml"
    assert (first.changed, first.warning) == (True, "")
    assert yaml.safe_load(file.read_text("utf-8")) == STATUS
    inode = file.stat().st_ino
    assert writer.write_status("team/orders.yaml", "import-orders", STATUS) == (False, first.digest, "")
    assert (
        Writer(tmp_path).write_status("team/orders.yaml", "import-orders", STATUS, known=first.digest).changed is False
    )
    assert file.stat().st_ino == inode
    assert writer.write_status("team/orders.yaml", "import-orders", {"a": 1}, known=first.digest).changed
    assert file.stat().st_ino != inode, "replaced by rename, never rewritten in place"
    assert [one.name for one in (tmp_path / "team").iterdir()] == ["import-orders.status.yaml"]


def test_a_status_that_someone_changed_or_removed_is_written_again(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    digest = writer.write_status("a.yaml", "a", STATUS).digest
    file = tmp_path / "a.status.yaml"
    file.write_text(file.read_text() + "more: 1\n")
    assert writer.write_status("a.yaml", "a", STATUS).changed
    file.unlink()
    assert writer.write_status("a.yaml", "a", STATUS) == (True, digest, "")


def test_each_kind_has_a_name_of_its_own(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    for kind in ("Job", "Authorization", "Stream", "Audience"):
        writer.write_status("a.yaml", "same", {"kind": kind}, kind)
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "same.audience.status.yaml", "same.auth.status.yaml", "same.status.yaml", "same.stream.status.yaml",
    ]  # fmt: skip


def test_a_status_folder_mirrors_the_folders_of_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    writer = Writer(root, tmp_path / "statuses")
    assert writer.write_status("a/b/c.yaml", "c", STATUS).changed
    assert writer.append_log("a/b/c.yaml", "c", ["one"]) == ""
    assert sorted(one.name for one in (tmp_path / "statuses/a/b").iterdir()) == ["c.log", "c.status.yaml"]
    assert list((root / "a" / "b").iterdir()) == []


def test_what_a_killed_process_left_behind_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".a.status.yaml.tmp").write_text("half")
    assert Writer(tmp_path).write_status("a.yaml", "a", STATUS).changed
    assert [one.name for one in tmp_path.iterdir()] == ["a.status.yaml"]


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "victim").write_text("mine")
    (root / "away").symlink_to(outside)
    (root / "a.status.yaml").symlink_to(outside / "victim")
    (root / "a.log").symlink_to(outside / "victim")
    (root / ".b.status.yaml.tmp").symlink_to(outside / "victim")
    writer = Writer(root)
    assert writer.write_status("away/x.yaml", "x", STATUS).warning == (
        f"{root}/away/x.status.yaml could not be written: a folder on the way is a link or a file."
    )
    assert writer.write_status("a.yaml", "a", STATUS).changed, "the link itself is replaced"
    assert writer.append_log("a.yaml", "a", ["x"]) == f"{root}/a.log could not be written: it is a link."
    assert writer.write_status("b.yaml", "b", STATUS).changed
    assert (outside / "victim").read_text() == "mine"
    assert [one.name for one in outside.iterdir()] == ["victim"]


def test_a_path_that_climbs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    warning = Writer(tmp_path / "root").write_status("../x.yaml", "x", STATUS).warning
    assert warning.endswith("could not be written: the path leaves the root.")
    assert not (tmp_path / "x.status.yaml").exists()


def test_what_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    assert writer.write_status("gone/a.yaml", "a", STATUS).warning == (
        f"{tmp_path}/gone/a.status.yaml could not be written: No such file or directory."
    )
    (tmp_path / "b.status.yaml").mkdir()
    (tmp_path / "b.status.yaml" / "x").touch()
    assert writer.write_status("b.yaml", "b", STATUS).warning == (
        f"{tmp_path}/b.status.yaml could not be written: Is a directory."
    )
    os.mkfifo(tmp_path / "c.log")
    assert (
        writer.append_log("c.yaml", "c", ["x"]) == f"{tmp_path}/c.log could not be written: it is not a regular file."
    )
    assert not list(tmp_path.glob(".*"))


def test_a_full_disk_is_a_warning_and_leaves_the_old_status(tmp_path: Path) -> None:
    import resource
    import signal

    writer = Writer(tmp_path)
    writer.write_status("a.yaml", "a", {"old": 1})
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        warning = writer.write_status("a.yaml", "a", STATUS).warning
        logged = writer.append_log("a.yaml", "a", ["a line of more than ten bytes"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert warning == f"{tmp_path}/a.status.yaml could not be written: File too large."
    assert logged == f"{tmp_path}/a.log could not be written: File too large."
    assert (tmp_path / "a.status.yaml").read_text() == "old: 1\n"
    assert writer.append_log("a.yaml", "a", ["a line of more than ten bytes"]) == ""
    assert (tmp_path / "a.log").read_text() == "a line of more than ten bytes\n", "the half line was taken back"


# --- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_grows_by_lines_and_a_line_stays_one(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    assert writer.append_log("a.yaml", "a", []) == ""
    assert not list(tmp_path.iterdir())
    writer.append_log("a.yaml", "a", ["one", "two"])
    writer.append_log("a.yaml", "a", ["three\nfour é"])
    assert (tmp_path / "a.log").read_text("utf-8") == "one\ntwo\nthree four é\n"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4), st.data())
def test_after_a_crash_anywhere_each_line_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, earlier: int, batch: int, more: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    file = folder / "a.log"
    old = [f"time={n} event=Synced unit={n}" for n in range(earlier)]
    new = [f"time={n} event=Synced unit={n}" for n in range(earlier, earlier + batch + more)]
    Writer(folder).append_log("a.yaml", "a", old)
    before = len(file.read_bytes()) if old else 0
    Writer(folder).append_log("a.yaml", "a", new[:batch])
    if file.exists():
        os.truncate(file, data.draw(st.integers(before, len(file.read_bytes()))))
    again = Writer(folder)
    assert again.append_log("a.yaml", "a", new) == ""
    again.append_log("a.yaml", "a", ["end"])
    assert file.read_text().splitlines() == [*old, *new, "end"]


def test_a_line_that_repeats_within_a_life_is_written_again(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append_log("a.yaml", "a", ["same"])
    writer.append_log("a.yaml", "a", ["same"])
    assert (tmp_path / "a.log").read_text() == "same\nsame\n"


def test_a_log_rotates_by_size_and_three_older_ones_are_kept(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    line = "x" * (MAX_LOG_BYTES // 4)
    writer.append_log("a.yaml", "a", [f"{n:02d}{line}" for n in range(10)])
    for n in range(10, 20):
        writer.append_log("a.yaml", "a", [f"{n:02d}{line}"])
    names = sorted(one.name for one in tmp_path.iterdir())
    assert names == ["a.log", *(f"a.log.{n}" for n in range(1, ROTATED_LOGS + 1))]
    kept = [re.findall(r"^\d\d", (tmp_path / name).read_text(), re.MULTILINE) for name in reversed(names)]
    assert kept == [["09", "10", "11"], ["12", "13", "14"], ["15", "16", "17"], ["18", "19"]]
    assert all((tmp_path / name).stat().st_size <= MAX_LOG_BYTES for name in names)


def test_a_line_longer_than_a_log_is_written_whole(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append_log("a.yaml", "a", ["a", "b" * (MAX_LOG_BYTES + 5), "c"])
    assert [(tmp_path / name).stat().st_size for name in ("a.log.2", "a.log.1", "a.log")] == [2, MAX_LOG_BYTES + 6, 2]


def test_lines_before_a_rotation_count_as_written_after_a_crash(tmp_path: Path) -> None:
    Writer(tmp_path).append_log("a.yaml", "a", ["one", "two"])
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    Writer(tmp_path).append_log("a.yaml", "a", ["one", "two", "three"])
    assert (tmp_path / "a.log").read_text() == "three\n"


# --- moving and removing ----------------------------------------------------------------------------------------------


def filled(root: Path, folder: str = "old") -> Writer:
    (root / folder).mkdir(parents=True)
    writer = Writer(root)
    writer.write_status(f"{folder}/a.yaml", "a", STATUS)
    writer.append_log(f"{folder}/a.yaml", "a", ["x" * MAX_LOG_BYTES, "y"])
    return writer


def test_removing_leaves_nothing_and_may_be_done_twice(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    assert len(list((tmp_path / "old").iterdir())) == 3
    for _ in range(2):
        assert writer.remove("old/a.yaml", "a") == ""
    assert list((tmp_path / "old").iterdir()) == []
    assert writer.remove("none/a.yaml", "a") == ""


def test_a_moved_spec_takes_status_and_logs_along(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.status.yaml").write_text("stale")
    assert writer.move("old/a.yaml", "new/b.yaml", "a") == ""
    assert sorted(one.name for one in (tmp_path / "new").iterdir()) == ["a.log", "a.log.1", "a.status.yaml"]
    assert (tmp_path / "new" / "a.status.yaml").read_text() == to_yaml(STATUS)
    assert list((tmp_path / "old").iterdir()) == []


def test_a_move_that_is_done_again_loses_nothing(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    before = {one.name: one.read_bytes() for one in (tmp_path / "old").iterdir()}
    (tmp_path / "new").mkdir()
    for _ in range(2):
        assert writer.move("old/a.yaml", "new/b.yaml", "a") == ""
        assert {one.name: one.read_bytes() for one in (tmp_path / "new").iterdir()} == before


def test_a_move_that_was_cut_off_anywhere_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = os.rename
    for steps in range(4):
        place = tmp_path / str(steps)
        writer = filled(place)
        before = {one.name: one.read_bytes() for one in (place / "old").iterdir()}
        (place / "new").mkdir()
        (place / "new" / "a.log.2").write_text("another's")
        left = iter(range(steps))

        def dies(*names: Any, left: Any = left, **folders: Any) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt
            rename(*names, **folders)

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(os, "rename", dies)
            writer.move("old/a.yaml", "new/a.yaml", "a")
        assert writer.move("old/a.yaml", "new/a.yaml", "a") == ""
        assert {one.name: one.read_bytes() for one in (place / "new").iterdir()} == before


def test_a_renamed_job_takes_status_and_logs_along(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    writer.move("old/a.yaml", "old/a.yaml", "b", old_name="a")
    assert sorted(one.name for one in (tmp_path / "old").iterdir()) == ["b.log", "b.log.1", "b.status.yaml"]


def test_a_move_within_a_folder_touches_nothing(tmp_path: Path) -> None:
    writer = filled(tmp_path)
    writer.move("old/a.yaml", "old/b.yaml", "a")
    assert len(list((tmp_path / "old").iterdir())) == 3
