"""Forgetting: exactly the messages of whoever is meant go, every other keeps its place and its text, and what arrives
again is told from what is new."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.forgotten import Shown, Sought, identity_rules, keyed_hash
from reconciler.core.messages import SegmentRef
from reconciler.core.profile import ProfileRules
from reconciler.core.provider import Reject, Staged, TimestampRule
from reconciler.data.engine import query
from reconciler.data.fold import Folding, Start
from reconciler.data.forget import Found, Landing, clean_rejects, find, hmac_sql, hollowed, spellings
from reconciler.data.hands import open_data
from reconciler.data.journal import Bulk, Entry, LiveJournal, body_path, next_number, publish
from reconciler.data.lines import parse_lines
from reconciler.data.store import Origin, compact, with_meta
from reconciler.data.stream import open_stream

AT_MS = 1_700_000_000_000
KEY = "5a" * 32
IDENTITY = [{"key": "email", "from": "email", "normalize": ["trim", "lower"]}, {"key": "phone", "from": "phone"}]


def rules(identity: Any = IDENTITY, **more: Any) -> ProfileRules:
    return identity_rules([("s", {"identity": identity, **more})])


def sought(value: str, key: str = "email", request: int = 1, at_ms: int = AT_MS + 1) -> Sought:
    return Sought(request, key, value, at_ms)


class Landed:
    """A stream of segments that can be hollowed and compacted."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.rows: list[tuple[SegmentRef, Staged]] = []
        self.made = 0

    def stage(self, *tables: pa.Table, received_ms: int = AT_MS, timestamp: TimestampRule | None = None) -> None:
        for table in tables:
            self.made += 1
            hands = open_data(
                self.data_dir, job="j", run=self.made, attempt=1, unit=lambda: 1, received_ms=lambda: received_ms
            )
            for staged in hands.stage("s", table, timestamp=timestamp):
                self.rows.append((SegmentRef(file=staged.file, first=self.end, rows=staged.rows), staged))

    @property
    def end(self) -> int:
        return self.rows[-1][0].first + self.rows[-1][0].rows if self.rows else 0

    def name(self) -> str:
        self.made += 1
        return f"streams/s/forget-{self.made}-1-1-1.parquet"

    def found(self, *wanted: Sought, by: ProfileRules | None = None) -> Found | None:
        segments = {"s": [one for one, _ in self.rows]}
        return dict(find(self.data_dir, by or rules(), segments, wanted, memory_mb=256)).get("s")

    def forget(self, *wanted: Sought) -> dict[int, int]:
        found = self.found(*wanted)
        if found is None:
            return {}
        new = {old: staged for old, staged, _ in hollowed(self.data_dir, self.rows, found, self.name)}
        for index, (ref, staged) in enumerate(self.rows):
            if ref.file in new:
                made = new[ref.file]
                assert (made.rows, made.schema) == (staged.rows, staged.schema)
                (self.data_dir / ref.file).unlink()
                self.rows[index] = (SegmentRef(file=made.file, first=ref.first, rows=ref.rows), made)
        return found.counts()

    def compact(self) -> None:
        whole = compact(self.data_dir, "s", [one for _, one in self.rows], f"whole-{self.made}")
        self.rows = [(SegmentRef(file=whole.file, first=0, rows=whole.rows), whole)]

    def texts(self) -> dict[int, str]:
        """Every message by its position."""
        read = open_stream(self.data_dir, "s", [one for one, _ in self.rows])
        return {
            first + index: text
            for first, texts in read.json_messages(0, read.end, rows=3)
            for index, text in enumerate(texts)
        }


def emails(*values: str | None) -> pa.Table:
    return pa.table({"email": pa.array(values, pa.string()), "n": [str(index) for index in range(len(values))]})


PEOPLE = st.sampled_from(["ann@x.com", " Ann@X.com ", "bob@x.com", "n/a", None])


@given(parts=st.lists(st.lists(PEOPLE, min_size=1, max_size=12), min_size=1, max_size=5), again=st.booleans())
@settings(max_examples=15, deadline=None)
def test_the_messages_of_one_person_go_and_every_other_keeps_its_position_and_its_text(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str | None]], again: bool
) -> None:
    landed = Landed(tmp_path_factory.mktemp("forget"))
    landed.stage(*(emails(*part) for part in parts))
    before = landed.texts()
    values = [value for part in parts for value in part]
    ann = {position for position, value in enumerate(values) if value and value.strip().lower() == "ann@x.com"}
    counts = landed.forget(sought("ann@x.com"))
    assert counts == ({1: len(ann)} if ann else {})
    left = {position: text for position, text in before.items() if position not in ann}
    assert landed.texts() == left
    landed.compact()
    assert landed.texts() == left
    if again:
        landed.stage(emails("carl@x.com"))
        bob = {position for position, value in enumerate(values) if value == "bob@x.com"}
        assert landed.forget(sought("bob@x.com", request=2)) == ({2: len(bob)} if bob else {})
        landed.compact()
        texts = {position: text for position, text in left.items() if position not in bob}
        assert landed.texts() == {**texts, len(values): '{"email":"carl@x.com","n":"0"}'}
        assert landed.forget(sought("ann@x.com"), sought("bob@x.com")) == {}


def test_nothing_of_a_message_that_went_is_left_in_its_segment(tmp_path: Path) -> None:
    landed = Landed(tmp_path)
    landed.stage(parse_lines(b'{"email":"ann@x.com","tags":["x"],"n":1}\n{"email":"bob@x.com","n":2}\n', 1).table)
    landed.forget(sought("ann@x.com"))
    table = pq.read_table(tmp_path / landed.rows[0][0].file)
    assert table.num_rows == 2
    assert set(table.slice(0, 1).to_pylist()[0].values()) == {None}
    assert b"ann@x.com" not in (tmp_path / landed.rows[0][0].file).read_bytes()


def test_a_segment_of_which_everything_went_is_still_read_and_compacted(tmp_path: Path) -> None:
    landed = Landed(tmp_path)
    landed.stage(emails("ann@x.com", "ann@x.com"), emails("bob@x.com"))
    landed.forget(sought("ann@x.com"))
    assert landed.texts() == {2: '{"email":"bob@x.com","n":"0"}'}
    assert landed.rows[0][1].min_timestamp_ms is None
    landed.compact()
    assert landed.texts() == {2: '{"email":"bob@x.com","n":"0"}'}


def test_a_message_goes_if_it_was_received_or_happened_before_the_request(tmp_path: Path) -> None:
    landed = Landed(tmp_path)
    rule = TimestampRule(field="at")
    times = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", None]
    table = pa.table({"email": ["ann@x.com"] * 3, "at": times, "n": ["0", "1", "2"]})
    landed.stage(table, received_ms=AT_MS, timestamp=rule)  # all of them were here before
    landed.stage(table, received_ms=AT_MS + 2, timestamp=rule)  # of these only the first
    landed.stage(table, received_ms=AT_MS + 2)
    found = landed.found(sought("ann@x.com"), by=rules(timestamp={"field": "at"}))
    assert found is not None
    assert found.positions.tolist() == [0, 1, 2, 3, 6]


def test_a_message_that_two_requests_mean_counts_for_the_earlier_one(tmp_path: Path) -> None:
    landed = Landed(tmp_path)
    landed.stage(pa.table({"email": ["ann@x.com", "bob@x.com"], "phone": ["1", "1"]}))
    found = landed.found(sought("1", "phone", 2), sought("ann@x.com", request=1))
    assert found is not None
    assert found.counts() == {1: 1, 2: 1}


def test_values_of_another_key_or_hostile_ones_find_nobody_else(tmp_path: Path) -> None:
    landed = Landed(tmp_path)
    landed.stage(emails("ann@x.com", "' OR 1=1 --", 'a"b'))
    assert landed.found(sought("ann@x.com", "phone")) is None
    assert landed.found(sought("' OR 1=1 --"), by=rules([{"key": "email", "from": "email"}])).positions.tolist() == [1]  # type: ignore[union-attr]
    assert landed.found(sought('a"b')).positions.tolist() == [2]  # type: ignore[union-attr]


def test_a_value_is_sought_as_given_and_in_every_spelling_of_its_key(tmp_path: Path) -> None:
    both = identity_rules([
        ("a", {"identity": [{"key": "email", "from": "e", "normalize": ["trim", "lower"]}]}),
        ("b", {"identity": [{"key": "email", "from": "e", "normalize": ["upper"]}]}),
    ])  # fmt: skip
    assert spellings(both, "email", " Ann@X.com") == [" Ann@X.com", "ann@x.com", " ANN@X.COM"]
    assert spellings(both, "phone", "1") == ["1"]
    assert spellings(rules(), "email", "  ") == ["  "]


# --- what arrives again ---------------------------------------------------------------------------------------------


@given(value=st.text(max_size=80), key=st.binary(min_size=1, max_size=64))
@settings(max_examples=50, deadline=None)
def test_the_keyed_hash_is_the_same_in_sql_and_in_python(value: str, key: bytes) -> None:
    given_table = pa.table({"v": [value]})
    found = query(f"SELECT {hmac_sql(key.hex())('v')} AS h FROM given", given=given_table).to_pylist()[0]["h"]
    assert found == hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def landing(*identifiers: tuple[str, str], by: ProfileRules | None = None) -> Landing:
    hashes = {keyed_hash(KEY, key, value): AT_MS for key, value in identifiers}
    return Landing(by or rules(), hashes, KEY)


def sifted(
    door: Landing, table: pa.Table, received_ms: int = AT_MS + 10, times: Sequence[int] | None = None
) -> list[Any]:
    known = (
        None
        if times is None
        else pa.array([one if one is None else one * 1000 for one in times], pa.timestamp("us", "UTC"))
    )
    ready = with_meta(table, known, Origin(received_ms, "j", 1, 1))
    result: list[Any] = door.sift("s", ready).column("n").to_pylist()
    return result


def test_messages_from_before_the_request_are_dropped_and_later_ones_are_kept() -> None:
    door = landing(("email", "ann@x.com"))
    table = emails("Ann@x.com ", "ann@x.com", "bob@x.com", None)
    assert sifted(door, table, times=[AT_MS - 1, AT_MS, AT_MS - 1, AT_MS - 1]) == ["1", "2", "3"]
    assert door.take_dropped() == 1
    assert door.take_dropped() == 0


def test_a_message_without_a_time_counts_as_of_when_it_was_received() -> None:
    assert sifted(landing(("email", "ann@x.com")), emails("ann@x.com")) == ["0"]
    assert sifted(landing(("email", "ann@x.com")), emails("ann@x.com"), received_ms=AT_MS - 1) == []


def test_the_time_that_the_stream_declares_counts_before_that_of_the_job() -> None:
    door = landing(("email", "ann@x.com"), by=rules(timestamp={"field": "at"}))
    table = emails("ann@x.com", "ann@x.com").append_column("at", pa.array(["2020-01-01", "not a time"]))
    assert sifted(door, table, times=[AT_MS + 5, AT_MS + 5]) == ["1"]


def test_any_of_the_identifiers_of_a_message_is_enough_and_numbers_are_read_as_a_build_reads_them() -> None:
    door = landing(("phone", "123"))
    table = parse_lines(b'{"email":"x@x.com","phone":123,"n":"0"}\n{"phone":"124","n":"1"}\n', 1).table
    assert sifted(door, table, received_ms=AT_MS - 5) == ["1"]


def test_a_stream_without_identity_and_an_empty_table_pass_untouched() -> None:
    door = landing(("email", "ann@x.com"))
    ready = with_meta(emails("ann@x.com"), None, Origin(1, "j", 1, 1))
    assert door.sift("other", ready) is ready
    assert door.sift("s", ready.slice(0, 0)).num_rows == 0
    nameless = with_meta(pa.table({"n": ["0"]}), None, Origin(1, "j", 1, 1))
    assert door.sift("s", nameless) is nameless


@pytest.mark.parametrize("bulk", [False, True])
def test_what_the_intake_accepted_before_the_request_is_dropped_as_it_lands(tmp_path: Path, bulk: bool) -> None:
    """A live message is of when it was accepted, a bulk body's of the times in it."""
    data, intake = tmp_path / "data", tmp_path / "intake"
    data.mkdir()
    intake.mkdir()
    number = next_number(intake)
    if bulk:
        days = ["2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]
        people = ["Ann@x.com", "ann@x.com", "bob@x.com"]
        rows = "".join(f"{who},{day},{index}\n" for index, (who, day) in enumerate(zip(people, days, strict=True)))
        body_path(intake, number).write_bytes(f"email,at,n\n{rows}".encode())
        publish(intake, number, Bulk(stream="s", format="csv", received_ms=AT_MS + 5, timestamp_field="at"))
    else:
        journal = LiveJournal(intake, number)
        for index, (who, at_ms) in enumerate([("Ann@x.com", -1), ("ann@x.com", 1), ("bob@x.com", -1)]):
            line = json.dumps({"email": who, "n": str(index)})
            journal.append([Entry("s", AT_MS + at_ms, 1).payload(f"{line}\n".encode())])
        journal.close()
    folding = Folding(data, intake, 1, landing(("email", "ann@x.com")))
    start = Start(number)
    units = list(folding.bulk([start]) if bulk else folding.live([start]))
    landed = [row["n"] for unit in units for one in unit.segments for row in pq.read_table(data / one.file).to_pylist()]
    assert landed == ["1", "2"]
    assert (sum(unit.rows for unit in units), sum(unit.omitted for unit in units)) == (2, 1)


# --- bad rows -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text", "shows"),
    [
        ("ann@x.com", "1,ANN@X.com,2", True),
        ("ann@x.com", r'{"e":"ann\u0040x.com"}', True),
        ("josé@x.com", '{"e":"jos\\u00e9@x.com"}', True),
        ("josé@x.com", "JOSE\u0301@x.com", True),
        ("straße@x.com", "STRASSE@X.COM", True),
        ("ann@x.com", r'{"e":"\nann@x.com"}', True),
        ("ann@x.com", "bob@x.com", False),
        ("4930123456", "+49 (30) 123-456", True),
        ("7", "a,7,b", True),
        ("7", "a,17,b", False),
        ("", "anything", False),
        ("a.b@x.com", "aXb@x.com", False),
        ("\U0001f600-face", r"\ud83d\ude00-face \ud83d", True),
    ],
)
def test_a_text_shows_a_value_whatever_its_case_and_writing(value: str, text: str, shows: bool) -> None:
    assert Shown([value]).within(text) is shows


def test_bad_rows_that_show_an_identifier_go_and_the_others_stay_as_they_are(tmp_path: Path) -> None:
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 1)
    file = hands.stage_rejects(
        "a.csv",
        [
            Reject(1, "3 columns", "ann@x.com,1"),
            Reject(2, "timestampField 'at': 'ann@x.com' is not iso8601", ""),
            Reject(3, "3 columns", 'bob@x.com,"é'),
        ],
    )
    before = (tmp_path / file).read_bytes().splitlines()
    assert clean_rejects(tmp_path, [file, "rejects/gone.ndjson"], ["Ann@x.com"]) == 2
    assert (tmp_path / file).read_bytes().splitlines() == before[2:]
    assert json.loads(before[2])["line"] == 3
    made = (tmp_path / file).stat().st_ino
    assert clean_rejects(tmp_path, [file], ["Ann@x.com"]) == 0
    assert (tmp_path / file).stat().st_ino == made


def test_a_column_that_is_called_like_what_is_known_of_a_message_identifies_as_any_other() -> None:
    door = landing(("email", "ann@x.com"), by=rules([{"key": "email", "from": "_job"}]))
    table = pa.table({"_job": ["ann@x.com", "bob@x.com"], "n": ["0", "1"]})
    assert sifted(door, table, received_ms=AT_MS - 10) == ["1"]
