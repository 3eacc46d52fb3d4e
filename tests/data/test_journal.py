"""Journals: frames that are whole or not there, numbers that never repeat, and what is accepted."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.data.journal import (
    Bulk,
    Entry,
    Listing,
    LiveJournal,
    body_path,
    bulk_of,
    bulk_path,
    entry_of,
    frame,
    frames,
    listing,
    live_path,
    mend,
    next_number,
    publish,
    remove,
    sweep,
)
from reconciler.errors import Fatal

PAYLOADS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6)


def payloads(path: Path, offset: int = 0) -> list[bytes]:
    return [payload for _, payload in frames(path, offset)]


@given(PAYLOADS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_journal_cut_at_any_byte_keeps_its_whole_frames_and_no_more(given_: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live-1.journal"
        whole = b"".join(map(frame, given_))
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        ends = [len(b"".join(map(frame, given_[: count + 1]))) for count in range(len(given_))]
        kept = sum(end <= cut for end in ends)
        assert mend(path) == path.stat().st_size == ([0, *ends])[kept]
        assert payloads(path) == given_[:kept]


@given(PAYLOADS, st.data())
@settings(max_examples=100, deadline=None)
def test_a_damaged_byte_ends_reading_before_its_frame(given_: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "live-1.journal"
        whole = bytearray(b"".join(map(frame, given_)))
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
        ends = [len(b"".join(map(frame, given_[: count + 1]))) for count in range(len(given_))]
        assert payloads(path) == given_[: sum(end <= at for end in ends)]


def test_a_journal_of_zeros_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "live-1.journal"
    path.write_bytes(bytes(4096))  # what a power failure leaves on some file systems
    assert mend(path) == 0


def test_reading_goes_on_at_the_end_of_any_frame(tmp_path: Path) -> None:
    journal = LiveJournal(tmp_path, next_number(tmp_path))
    journal.append([b"one", b"two"])
    journal.append([b"three"])
    path = live_path(tmp_path, journal.number)
    ends = [end for end, _ in frames(path)]
    assert [payloads(path, end) for end in [0, *ends]] == [
        [b"one", b"two", b"three"],
        [b"two", b"three"],
        [b"three"],
        [],
    ]


def test_reading_ends_where_the_journal_did_when_it_was_synced(tmp_path: Path) -> None:
    journal = LiveJournal(tmp_path, next_number(tmp_path))
    journal.append([b"first"])
    size = journal.size
    journal.append([b"second"])
    path = live_path(tmp_path, journal.number)
    assert [[payload for _, payload in frames(path, 0, most)] for most in (size - 1, size, size + 1)] == [
        [], [b"first"], [b"first"],
    ]  # fmt: skip
    journal.close()


def test_an_entry_comes_back_with_its_lines() -> None:
    entry = Entry("orders", 1_700_000_000_000, 2, "ab", "cd")
    assert entry_of(entry.payload(b'{"a": 1}\n{"a": 2}\n')) == (entry, b'{"a": 1}\n{"a": 2}\n')


@given(
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True),
    st.integers(0, 1 << 53),
    st.sampled_from(["", "ab12"]),
)
@settings(max_examples=60, deadline=None)
def test_an_entry_is_read_alike_however_its_line_is_written(stream: str, received_ms: int, key: str) -> None:
    entry = Entry(stream, received_ms, 1, key, key)
    assert entry_of(entry.payload(b"{}\n")) == (entry, b"{}\n")
    assert entry_of(json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n{}\n") == (entry, b"{}\n")


def test_a_full_journal_rolls_and_only_the_newest_is_open(tmp_path: Path) -> None:
    journal = LiveJournal(tmp_path, next_number(tmp_path), roll_bytes=20)
    journal.append([b"x" * 10])
    assert not journal.is_full
    journal.append([b"y" * 10])
    assert journal.is_full
    journal.roll()
    assert (journal.number, journal.size) == (2, 0)
    assert [(one.number, one.open) for one in listing(tmp_path).live] == [(1, False), (2, True)]
    journal.close()


def test_a_group_that_the_disk_refuses_is_not_there(tmp_path: Path) -> None:
    journal = LiveJournal(tmp_path, next_number(tmp_path))
    journal.append([b"before"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            journal.append([b"x" * 60, b"y" * 60])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.append([b"after"])
    assert [payloads(one.path) for one in listing(tmp_path).live] == [[b"before"], [b"after"]]


@pytest.mark.parametrize("stays", [False, True])
def test_a_journal_behind_which_another_was_seen_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    journal = LiveJournal(tmp_path, next_number(tmp_path))
    journal.append([b"before"])
    seen: list[Listing] = []

    def refuse(fd: int) -> None:
        found = listing(tmp_path)
        is_begun = found.live[-1].number == int((tmp_path / "number").read_text())
        if stat.S_ISDIR(os.fstat(fd).st_mode) and is_begun:
            seen.append(found)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def keep(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", refuse)
        if stays:
            disk.setattr(Path, "unlink", keep)
        with pytest.raises(OSError, match="Input/output error"):
            journal.roll()
        with pytest.raises(OSError, match="Input/output error"):
            journal.append([b"refused"])
    assert [one.live[0].open for one in seen] == [False, False]
    assert len(listing(tmp_path).live) == (3 if stays else 1)
    assert payloads(live_path(tmp_path, 1)) == [b"before"]
    remove(tmp_path, [1])  # which whoever saw another behind it may do
    journal.append([b"after"])
    assert [payload for one in listing(tmp_path).live for payload in payloads(one.path)] == [b"after"]
    assert (journal.number, listing(tmp_path).live[-1].open) == (4, True)
    journal.close()


def test_a_number_never_comes_again(tmp_path: Path) -> None:
    given_ = [next_number(tmp_path) for _ in range(3)]
    (tmp_path / "number").unlink()
    assert next_number(tmp_path, floor=9) == 10  # the record knows
    (tmp_path / "number").write_text("damaged")
    live_path(tmp_path, 12).touch()
    assert next_number(tmp_path) == 13  # a journal is there
    assert given_ == [1, 2, 3]


def test_numbers_are_given_to_many_threads_and_each_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        given_ = list(pool.map(lambda _: next_number(tmp_path), range(100)))
    assert sorted(given_) == list(range(1, 101))


def test_a_body_counts_from_the_moment_it_is_published(tmp_path: Path) -> None:
    body_path(tmp_path, 1).write_bytes(b"a\n1\n")
    assert listing(tmp_path) == Listing()
    bulk = Bulk(
        stream="orders", format="csv", received_ms=1, headers=["a"], append={"k": "1.10"}, answer={"accepted": 1}
    )
    publish(tmp_path, 1, bulk)
    [found] = listing(tmp_path).bulk
    assert (found.number, found.size, bulk_of(found.path)) == (1, 4, bulk)


def test_what_a_dead_process_never_accepted_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for number in (1, 2):
        body_path(tmp_path, number).write_bytes(b"a\n1\n")
    publish(tmp_path, 1, Bulk(stream="orders", format="csv", received_ms=1))
    bulk_path(tmp_path, 2).with_suffix(".json.tmp").touch()
    live_path(tmp_path, 3).touch()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["bulk-1.body", "bulk-1.json", "live-3.journal"]


def test_removing_removes_all_of_a_journal(tmp_path: Path) -> None:
    body_path(tmp_path, 1).write_bytes(b"a\n1\n")
    publish(tmp_path, 1, Bulk(stream="orders", format="csv", received_ms=1))
    live_path(tmp_path, 2).touch()
    remove(tmp_path, [1, 2])
    assert os.listdir(tmp_path) == []


def test_a_damaged_description_is_said_to_be_one(tmp_path: Path) -> None:
    bulk_path(tmp_path, 1).write_text("{")
    with pytest.raises(Fatal, match=r"bulk-1\.json is damaged: "):
        bulk_of(bulk_path(tmp_path, 1))


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert listing(tmp_path / "intake") == Listing()
    assert (Listing().last, Listing().size) == (0, 0)
