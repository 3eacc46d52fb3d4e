"""Journals become segments: typed as an import types, dated, and taken up where the last unit ended."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.provider import Unit
from reconciler.data import fold
from reconciler.data.fold import Folding, Start
from reconciler.data.hands import open_data
from reconciler.data.journal import Bulk, Entry, LiveJournal, body_path, live_path, next_number, publish
from reconciler.data.names import META
from reconciler.errors import Fatal


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Place:
    """A state directory with a journal, and foldings over it."""

    def __init__(self, state: Path) -> None:
        self.data, self.intake = state / "data", state / "intake"
        self.data.mkdir()
        self.intake.mkdir()
        self.runs = 0

    def live(self, *requests: tuple[str, Sequence[str]], roll: bool = False) -> int:
        journal = LiveJournal(self.intake, next_number(self.intake))
        for number, (stream, lines) in enumerate(requests):
            entry = Entry(stream, 1_000 + number, len(lines))
            journal.append([entry.payload("".join(f"{line}\n" for line in lines).encode())])
        if roll:
            journal.roll()
        journal.close()
        return journal.number - roll

    def bulk(self, body: bytes, **options: Any) -> int:
        number = next_number(self.intake)
        body_path(self.intake, number).write_bytes(body)
        publish(self.intake, number, Bulk(**{"stream": "orders", "format": "csv", "received_ms": 7, **options}))
        return number

    def fold(self) -> Folding:
        self.runs += 1
        return Folding(self.data, self.intake, self.runs)

    def table(self, unit: Unit, index: int = 0) -> pa.Table:
        return pq.read_table(self.data / unit.segments[index].file)

    def rows(self, units: Sequence[Unit]) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in row.items() if name not in META}
            for unit in units
            for index in range(len(unit.segments))
            for row in self.table(unit, index).to_pylist()
        ]


LINES = ['{"a": 1, "b": "x"}', '{"a": 2}', '{"a": 2.50, "c": {"d": [null]}}', "{}", '{"b": null, "_job": 3}']


def test_live_messages_are_typed_as_an_import_types_the_same_lines(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in.ndjson").write_text("\n".join(LINES))
    hands = open_data(place.data, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    [block] = hands.read_ndjson(tmp_path / "in.ndjson", None, encoding="utf-8", compression="none")
    [imported] = hands.stage("orders", block.table)
    number = place.live(("orders", LINES[:2]), ("orders", LINES[2:]))
    [unit] = place.fold().live([Start(number)])
    [folded] = unit.segments
    assert folded.schema == imported.schema
    mine, its = pq.read_table(place.data / folded.file), pq.read_table(place.data / imported.file)
    assert mine.drop_columns(list(META)).equals(its.drop_columns(list(META)))


def test_a_message_knows_when_and_where_it_was_accepted(place: Place) -> None:
    number = place.live(("orders", LINES[:2]), ("customers", LINES[:1]), ("orders", LINES[2:3]))
    [unit] = place.fold().live([Start(number)])
    assert [one.stream for one in unit.segments] == ["orders", "customers"]
    table = place.table(unit)
    assert table.column("_received").cast(pa.int64()).to_pylist() == [1000, 1000, 1002]
    first, second, third = table.column("_unit").to_pylist()
    assert first == second == 0 < third
    assert set(table.column("_run").to_pylist()) == {number}
    assert set(table.column("_job").to_pylist()) == {"collect"}
    assert table.column("_timestamp").null_count == 3


def test_folding_goes_on_where_the_last_committed_unit_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "UNIT_BYTES", 150)
    number = place.live(*(("orders", [json.dumps({"n": index})]) for index in range(7)))
    units = list(place.fold().live([Start(number)]))
    assert len(units) == 4
    assert place.rows(units) == [{"n": index} for index in range(7)]
    for cut, unit in enumerate(units, start=1):
        rest = list(place.fold().live([Start(number, cut, unit.cursor["mark"])]))
        assert [one.cursor for one in rest] == [one.cursor for one in units[cut:]]
        assert place.rows(units[:cut] + rest) == place.rows(units)


def test_requests_with_too_many_different_keys_together_land_apart(place: Place) -> None:
    requests = [json.dumps({f"k{index}-{key}": key for key in range(900)}) for index in range(4)]
    number = place.live(*(("orders", [one]) for one in requests))
    [unit] = place.fold().live([Start(number)])
    assert (unit.rows, unit.omitted) == (4, 0)
    assert sum(len(one) for one in [set(place.table(unit, index).column_names) for index in range(len(unit.segments))])


def test_a_message_that_no_column_can_hold_is_left_out_and_holds_up_no_other(place: Place) -> None:
    wide = json.dumps({f"k{key}": key for key in range(2001)})
    number = place.live(("orders", ['{"a": 1}', wide, '{"a": 2}', "not json"]))
    [unit] = place.fold().live([Start(number)])
    assert (unit.rows, unit.omitted) == (2, 2)
    assert place.rows([unit]) == [{"a": 1}, {"a": 2}]
    rejects = [json.loads(line) for line in (place.data / unit.rejects[0]).read_text().splitlines()]
    assert [(one["source"], one["line"]) for one in rejects] == [(f"journal {number}", 0)] * 2
    assert [one["reason"].partition(";")[0] for one in rejects] == [
        "more than 2000 different keys in one block",
        "not JSON: Expecting value at column 1",
    ]


def test_a_damaged_journal_holds_up_no_other_and_is_named(place: Place) -> None:
    broken = place.live(("orders", ['{"n": 1}']), ("orders", ['{"n": 2}']), roll=True)
    path = live_path(place.intake, broken)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    whole = place.live(("orders", ['{"n": 3}']))
    folding = place.fold().live([Start(broken, size=len(data)), Start(whole)])
    units = [next(folding), next(folding)]
    with pytest.raises(Fatal, match=rf"^journal {broken} is damaged at byte {len(data) // 2} of {len(data)}$"):
        next(folding)
    assert place.rows(units) == [{"n": 1}, {"n": 3}]


def test_a_half_written_end_of_the_open_journal_waits_for_the_rest(place: Place) -> None:
    number = place.live(("orders", ['{"n": 1}']))
    with live_path(place.intake, number).open("ab") as file:
        file.write(b"\x50\0\0\0half")
    assert place.rows(list(place.fold().live([Start(number)]))) == [{"n": 1}]


# --- bulk bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_csv_body_lands_as_the_same_file_would(place: Place, tmp_path: Path, packed: bool) -> None:
    body = b'id,name,t\n007,"a ""b""",2024-01-01\n8,,2024-01-02\n'
    (tmp_path / "in.csv").write_bytes(body)
    hands = open_data(place.data, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    [block] = hands.read_csv(
        tmp_path / "in.csv",
        None,
        delimiter=",",
        quote='"',
        encoding="utf-8",
        header=True,
        columns=None,
        compression="none",
    )
    number = place.bulk(gzip.compress(body) if packed else body, gzip=packed, timestamp_field="t")
    [unit] = place.fold().bulk([Start(number)])
    assert place.table(unit).drop_columns(list(META)).equals(block.table)
    times = place.table(unit).column("_timestamp").to_pylist()
    assert [time.isoformat() for time in times] == ["2024-01-01T00:00:00+00:00", "2024-01-02T00:00:00+00:00"]
    assert unit.cursor["whole"] is True


def test_constants_are_columns_of_the_type_that_json_gives_them(place: Place) -> None:
    constants = {"source": '"archive"', "n": "7", "price": "1.5", "new": "true"}
    number = place.bulk(b"a\n1\n2\n", append=constants)
    [unit] = place.fold().bulk([Start(number)])
    assert place.rows([unit]) == [{"a": one, "source": "archive", "n": 7, "price": 1.5, "new": True} for one in "12"]


def test_a_constant_never_takes_the_place_of_a_column(place: Place) -> None:
    number = place.bulk(b"a\n1\n", append={"a": "1"})
    with pytest.raises(Fatal, match=r"^journal 1: append: the body has a column 'a' itself$"):
        list(place.fold().bulk([Start(number)]))


def test_names_and_a_delimiter_may_come_with_the_request(place: Place) -> None:
    number = place.bulk(b"1;2\n", headers=["x", "y"], delimiter=";")
    assert place.rows(list(place.fold().bulk([Start(number)]))) == [{"x": "1", "y": "2"}]


def test_bad_rows_of_a_body_are_kept_with_their_lines(place: Place) -> None:
    number = place.bulk(b'{"t": 1}\n[]\n{"t": "x"}\n', format="json", droperrors=True)
    [unit] = place.fold().bulk([Start(number)])
    assert (unit.rows, unit.omitted) == (2, 1)
    [reject] = [json.loads(line) for line in (place.data / unit.rejects[0]).read_text().splitlines()]
    assert reject == {"source": f"journal {number}", "line": 2, "reason": "not a JSON object", "text": "[]"}


@given(st.integers(0, 12), st.booleans())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_body_goes_on_after_any_unit(tmp_path_factory: pytest.TempPathFactory, count: int, packed: bool) -> None:
    place = Place(tmp_path_factory.mktemp("fold"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "BLOCK_BYTES", 64)
        body = b"n\n" + b"".join(b"%d\n" % number for number in range(count * 10))
        number = place.bulk(gzip.compress(body) if packed else body, gzip=packed)
        units = list(place.fold().bulk([Start(number)]))
        assert place.rows(units) == [{"n": str(index)} for index in range(count * 10)]
        assert [one.cursor["whole"] for one in units] == [False] * (len(units) - 1) + [True]
        for cut, unit in enumerate(units[:-1], start=1):
            rest = list(place.fold().bulk([Start(number, cut, unit.cursor["mark"])]))
            assert [one.cursor for one in rest] == [one.cursor for one in units[cut:]]
            assert place.rows(rest) == place.rows(units[cut:])


@pytest.mark.parametrize("packed", [False, True])
def test_an_array_lands_as_its_elements_would_and_goes_on_after_any_unit(
    place: Place, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(fold, "BLOCK_BYTES", 64)
    rows: list[Any] = [{"n": number, "text": "a\nb, ]"} for number in range(9)]
    text = json.dumps([*rows[:5], 7, *rows[5:]], indent=1).encode()
    whole = place.bulk(gzip.compress(text) if packed else text, format="json", gzip=packed, droperrors=True)
    units = list(place.fold().bulk([Start(whole)]))
    assert len(units) > 3
    assert place.rows(units) == rows
    assert sum(unit.omitted for unit in units) == 1
    for cut in (1, 3):
        rest = list(place.fold().bulk([Start(whole, cut, units[cut - 1].cursor["mark"])]))
        assert place.rows([*units[:cut], *rest]) == rows


def test_a_body_that_unpacks_to_too_much_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold, "BULK_BYTES", 1 << 20)
    number = place.bulk(gzip.compress(b"a\n" * (1 << 20)), gzip=True)
    with pytest.raises(Fatal, match=r"^journal 1: the body unpacks to more than 1,048,576 bytes$"):
        list(place.fold().bulk([Start(number)]))
