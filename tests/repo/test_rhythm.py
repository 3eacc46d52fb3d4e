"""How often a tree is walked although nothing was named."""

from __future__ import annotations

import pytest

from reconciler.repo.rhythm import LONGEST_MS, MINUTE_MS, Rhythm, all_told, tells_all

LARGE = 100_000


def intervals(rhythm: Rhythm, *walks: tuple[int, set[str], bool]) -> list[int]:
    """How long after each walk (files, folders, whether it found what was missed) the next is due."""
    found, now_ms = [], 0
    for files, folders, missed in walks:
        rhythm.walked(now_ms, files=files, folders=folders, missed=missed)
        due_ms = now_ms
        while not rhythm.is_due(due_ms):
            due_ms += 1_000
        found.append(due_ms - now_ms)
        now_ms = due_ms
    return found


def test_a_small_tree_is_walked_each_minute_and_a_large_one_after_a_minute_for_each_2000_files() -> None:
    for files, minutes in ((0, 1), (2_000, 1), (6_000, 3), (60_000, 30), (10_000_000, 60)):
        rhythm = Rhythm("/root", tells=lambda _: True)
        assert rhythm.is_due(0)
        assert intervals(rhythm, (files, {""}, False)) == [minutes * MINUTE_MS]
    assert LONGEST_MS == 60 * MINUTE_MS


def test_after_something_that_the_watch_missed_a_large_tree_is_walked_each_minute_and_then_ever_less_often() -> None:
    walks = intervals(Rhythm("/root", tells=lambda _: True), *[(8_000, {""}, number == 1) for number in range(5)])
    assert [one // MINUTE_MS for one in walks] == [4, 1, 2, 4, 4]


def test_after_folders_have_come_or_gone_a_large_tree_is_walked_a_minute_later() -> None:
    folders: list[set[str]] = [{""}, {"", "a/"}, {"", "a/"}, {""}]
    walks = intervals(Rhythm("/root", tells=lambda _: True), *[(8_000, one, False) for one in folders])
    assert [one // MINUTE_MS for one in walks] == [4, 1, 2, 1]


def test_where_the_system_does_not_tell_of_all_that_happens_every_tree_is_walked_each_minute() -> None:
    assert intervals(Rhythm("/root", tells=lambda _: False), *[(LARGE, {""}, False)] * 3) == [MINUTE_MS] * 3


@pytest.mark.parametrize(
    ("mounted", "tells"),
    [
        ("/ ext4", True),
        ("/ ext4, /srv nfs4", False),
        ("/ ext4, /srv/specs/team cifs", False),
        ("/ ext4, /srv/specs-of-others nfs4", True),
        ("/ ext4, /srv/data nfs4", True),
        ("/ nfs4, /srv/specs xfs", True),
        ("/ ext4, /srv/specs nfs4, /srv/specs tmpfs", True),
        ("/ overlay, /srv/specs fuse.sshfs", False),
        (r"/ ext4, /srv/sp\040ecs nfs4", True),
        ("/proc proc", False),
    ],
)
def test_the_system_tells_of_all_that_happens_where_root_and_what_is_mounted_below_it_are_of_this_machine(
    mounted: str, tells: bool
) -> None:
    lines = [one.strip().split(" ") for one in mounted.split(",")]
    mounts = [f"22 1 254:0 / {folder} rw shared:1 - {kind} /dev/x rw\n" for folder, kind in lines]
    assert all_told("/srv/specs", mounts) is tells


def test_mounts_with_blanks_in_their_names_are_told_apart_and_without_a_list_nothing_is_believed() -> None:
    mounts = ["1 1 1:1 / / rw - ext4 d rw\n", "2 1 1:2 / /srv/my\\040specs rw - nfs4 d rw\n"]
    assert not all_told("/srv/my specs", mounts)
    assert all_told("/srv/my", mounts)
    assert not all_told("/srv", [])


def test_a_folder_of_the_kernels_own_is_never_told_of() -> None:
    assert not tells_all("/proc")
