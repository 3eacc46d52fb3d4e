"""The audit log's chain: whatever is done to a list of entries is found, and the first broken one is named."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace

import pytest

from reconciler.core.audit import Broken, Deed, Entry, Head, chained, check, entry_of, genesis, line_of

START = genesis("0123456789abcdef")
DEEDS = [
    Deed(time_ms=1_000 + number, action="create", kind="Job", name=f"job-{number}", reason="declared in a.yaml",
         path="a.yaml", author="Ada", commit="c" * 40, revision="main@sha1:cc", plan="p" * 32, generation=1,
         digest="d" * 32, life="live", was="")
    for number in range(1, 7)
]  # fmt: skip
LOG = [entry_of(one) for one in chained(START, DEEDS)]
END = Head(6, LOG[-1].hash)


def broken(entries: list[Entry]) -> Broken | None:
    head, found = check(entries, START)
    return found if found is not None or head == END else Broken(head.count + 1, "it ends elsewhere")


def test_what_was_written_is_sound() -> None:
    assert check(LOG, START) == (END, None)
    assert check([], START) == (START, None)
    assert [entry_of(one) for one in chained(Head(3, LOG[2].hash), DEEDS[3:])] == LOG[3:]


@pytest.mark.parametrize("seq", range(1, 7))
@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_every_changed_field_of_every_entry_is_found_at_that_entry(seq: int, name: str) -> None:
    entry = LOG[seq - 1]
    value = getattr(entry, name)
    for other in (
        (value + 1, str(value)) if isinstance(value, int) else (f"{value}x", value[:-1] + "\0", value.encode())
    ):
        if other == value:
            continue
        changed = [*LOG[: seq - 1], replace(entry, **{name: other}), *LOG[seq:]]
        found = broken(changed)
        assert found is not None
        assert found.seq == seq


def test_an_entry_that_was_left_out_is_named() -> None:
    assert broken([*LOG[:2], *LOG[3:]]) == Broken(3, "entry 3 is missing")
    assert broken(LOG[3:]) == Broken(1, "entries 1 to 3 are missing")


def test_entries_in_another_order_and_entries_that_were_put_in_are_found() -> None:
    for one in range(5):
        swapped = [*LOG[:one], LOG[one + 1], LOG[one], *LOG[one + 2 :]]
        assert broken(swapped) is not None
        assert broken([*LOG[: one + 1], LOG[one], *LOG[one + 1 :]]) == Broken(
            one + 2, f"entry {one + 2} has another number"
        )


def test_an_entry_that_was_changed_with_its_hash_does_not_carry_the_next_one() -> None:
    forged = entry_of(next(chained(Head(2, LOG[1].hash), [replace(DEEDS[2], author="Eve")])))
    assert broken([*LOG[:2], forged, *LOG[3:]]) == Broken(4, "entry 4 does not follow from entry 3")


def test_the_log_of_another_record_is_not_this_one() -> None:
    assert check(LOG, genesis("another"))[1] == Broken(
        1, "entry 1 does not follow from the beginning of this record's log"
    )


def test_what_was_cut_off_at_the_end_leaves_a_sound_chain_that_ends_elsewhere() -> None:
    for count in range(6):
        head, found = check(LOG[:count], START)
        assert found is None
        assert head.count == count


def test_a_line_of_the_mirror_is_json_that_says_everything() -> None:
    said = asdict(replace(LOG[0], reason="a\nb"))
    assert json.loads(line_of(said)) == said
    assert line_of(said).count(b"\n") == 1
