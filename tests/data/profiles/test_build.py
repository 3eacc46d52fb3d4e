"""What a build makes of messages, case by case."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.core.profile import ProfileSet
from reconciler.data.engine import workspace
from reconciler.data.profiles.read import Profile, ProfileReader
from reconciler.data.profiles.tables import identifier_id
from reconciler.data.store import hollow
from reconciler.errors import Fatal, Retriable
from tests.data.profiles.world import World, rules_of
from tests.data.test_timestamps import RARE

PEOPLE = rules_of(
    orders={
        "columns": {"amount": "decimal(10,2)"},
        "identity": [
            {"key": "email", "from": "email", "normalize": ["trim", "lower"], "maxPerKey": 2},
            {"key": "user", "from": "user", "maxPerKey": 2},
        ],
        "attributes": {
            "name": {"from": "name"}, "first": {"from": "name", "merge": "first"}, "spent": {"from": "amount", "merge": "sum"},
            "orders": {"merge": "count"}, "names": {"from": "name", "merge": "set"},
        },
    }
)  # fmt: skip


@pytest.fixture
def people(tmp_path: Path) -> World:
    return World(tmp_path, PEOPLE)


def found(world: World, profiles: ProfileSet, key: str, value: str) -> Profile | None:
    with workspace(world.folder, memory_mb=256) as connection:
        return ProfileReader(world.folder, profiles, world.rules).lookup(connection, key, value)


def by_id(world: World, id_: str) -> Profile | None:
    with workspace(world.folder, memory_mb=256) as connection:
        return ProfileReader(world.folder, world.profiles, world.rules).find(connection, id_)


def test_columns_that_are_called_like_what_is_known_of_a_message_are_the_message_s_own(tmp_path: Path) -> None:
    rules = rules_of(
        s={
            "columns": {"_run": "integer"},
            "timestamp": {"field": "_timestamp"},
            "identity": [{"key": "job", "from": "_job"}],
            "attributes": {"unit": {"from": "_unit"}, "run": {"from": "_run"}, "more": {"from": "__run"}},
        }
    )
    world = World(tmp_path, rules)
    world.land("s", [{"_job": "ann", "_unit": "late", "_run": "7", "_timestamp": "2024-01-02"}], received=1, times=[5])
    world.land("s", [{"_job": "ann", "_unit": "early", "_timestamp": "2024-01-01", "__run": "x"}], received=2)
    assert world.seen(world.build()) == world.expected()
    profile = found(world, world.profiles, "job", "ann")
    assert profile is not None
    assert profile.attributes == {"unit": "late", "run": 7, "more": "x"}


def test_a_word_is_no_time_and_no_date(tmp_path: Path) -> None:
    rules = rules_of(
        s={
            "columns": {"at": "timestamp", "day": "date"}, "timestamp": {"field": "at"},
            "identity": [{"key": "k", "from": "k"}],
            "attributes": {"at": {"from": "at", "merge": "min"}, "day": {"from": "day", "merge": "min"}},
        }
    )  # fmt: skip
    world = World(tmp_path, rules)
    words = ["epoch", " Epoch", "infinity", "-infinity", "now"]
    world.land("s", [{"k": "a", "at": one, "day": one} for one in words], received=1)
    built = world.build()
    profile = found(world, built, "k", "a")
    assert profile is not None
    assert (profile.attributes, built.facts["untimed"]) == ({"at": None, "day": None}, 5)


def test_a_build_reads_the_times_that_an_import_reads(tmp_path: Path) -> None:
    texts = dict(RARE) | {"2013-01-01T10:00:00Z": datetime(2013, 1, 1, 10), "2013-01-01T10Z": datetime(2013, 1, 1, 10)}
    rules = rules_of(
        s={
            "columns": {"at": "timestamp"}, "timestamp": {"field": "own"}, "identity": [{"key": "k", "from": "k"}],
            "attributes": {"at": {"from": "at"}},
        }
    )  # fmt: skip
    world = World(tmp_path, rules)
    world.land("s", [{"k": text, "at": text, "own": text} for text in texts], received=1)
    older = [{"k": text, "at": "2000-01-01", "own": "2012-01-01"} for text in texts]
    world.land("s", older, received=2)
    world.land("s", [{"k": "none", "at": "20130101", "own": "20130101"}], received=3)
    built = world.build()
    assert built.facts["untimed"] == 1
    expected = [{"at": moment} for moment in texts.values()] + [{"at": None}]
    assert sorted(attributes(world, built), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("how", "value", "moment"),
    [
        ("epoch_ms", 1_791_027_055_000, datetime(2026, 10, 3, 11, 30, 55)),
        ("epoch_s", "1791027055", datetime(2026, 10, 3, 11, 30, 55)),
        ("%d.%m.%Y %H:%M", "03.10.2026 11:30", datetime(2026, 10, 3, 11, 30)),
        ("%Y-%d-%m", "2026-03-10", datetime(2026, 10, 3)),
        ("epoch_ms", "yesterday", None),
        ("epoch_ms", None, None),
    ],
)
def test_the_column_of_a_stream_s_time_is_read_in_that_time_s_format(
    tmp_path: Path, how: str, value: Any, moment: datetime | None
) -> None:
    rules = rules_of(
        s={
            "columns": {"at": "timestamp"}, "timestamp": {"field": "at", "format": how},
            "identity": [{"key": "k", "from": "k"}],
            "attributes": {"last": {"from": "at", "merge": "max"}, "day": {"expr": "cast(at as date)"}},
        }
    )  # fmt: skip
    world = World(tmp_path, rules)
    world.land("s", [{"k": "a", "at": value}])
    world.land("s", [{"k": "b"}])
    day = moment.date() if moment else None
    assert sorted(attributes(world, world.build()), key=str) == sorted(
        [{"last": moment, "day": day}, {"last": None, "day": None}], key=str
    )


def test_a_date_is_read_in_the_format_of_its_stream_s_time_too(tmp_path: Path) -> None:
    rules = rules_of(
        s={
            "columns": {"born": "date"}, "timestamp": {"field": "born", "format": "%d.%m.%Y"},
            "identity": [{"key": "k", "from": "k"}], "attributes": {"born": {"from": "born"}},
        }
    )  # fmt: skip
    world = World(tmp_path, rules)
    world.land("s", [{"k": "a", "born": "17.02.1994"}])
    assert attributes(world, world.build()) == [{"born": date(1994, 2, 17)}]


# --- who is one -----------------------------------------------------------------------------------------------------


def test_when_two_profiles_turn_out_to_be_one_the_earlier_id_survives_and_the_other_is_its_alias(people: World) -> None:
    people.land("orders", [{"email": "a@x", "name": "A", "amount": "0.10"}], received=2)
    people.land("orders", [{"user": "u1", "name": "B", "amount": "0.20"}], received=1)
    two = people.build()
    assert ProfileReader(people.folder, two, PEOPLE).count() == 2
    people.land("orders", [{"email": "A@X ", "user": "u1", "name": None}], received=3)
    one = people.build()
    user, email = identifier_id("user", "u1"), identifier_id("email", "a@x")
    profile = Profile(
        id=user, aliases=(email,), identifiers=(("user", "u1"), ("email", "a@x")), messages=3,
        attributes={"name": "A", "first": "B", "names": ["A", "B"], "orders": 3, "spent": Decimal("0.30")},
    )  # fmt: skip
    assert found(people, one, "user", "u1") == found(people, one, "email", "a@x") == profile
    assert by_id(people, user) == by_id(people, email.upper()) == profile
    with workspace(people.folder, memory_mb=256) as connection:
        aliases = connection.sql(ProfileReader(people.folder, one, PEOPLE).aliases_sql()).fetchall()
    assert sorted(aliases) == sorted([(user, user), (email, user)])
    assert (one.facts["profiles"], one.facts["merged"]) == (1, 1)
    assert found(people, two, "email", "a@x") != profile, "the old set stays as it was"


def test_who_a_known_profile_is_was_said_before_unless_a_message_comes_late_that_is_earlier(people: World) -> None:
    def ids() -> list[Any]:
        (state,) = (one for one in people.profiles.files if one.kind == "state" and one.build == people.builds)
        return pq.read_table(people.folder / state.file).column("id").to_pylist()

    def shown() -> list[str]:
        assert people.seen(people.profiles) == people.expected()
        return list(people.seen(people.profiles)["profiles"])

    email, user = identifier_id("email", "a@x"), identifier_id("user", "u1")
    people.land("orders", [{"email": "a@x", "user": "u1", "name": "A"}], received=5)
    people.build()
    assert (ids(), shown()) == ([bytes.fromhex(email)], [email])
    people.land("orders", [{"user": "u1", "name": "B"}], received=6)
    people.build()
    assert (ids(), shown()) == ([None], [email])
    people.land("orders", [{"user": "u1", "name": "C"}], received=1)
    people.build()
    assert (ids(), shown()) == ([bytes.fromhex(user)], [user])


def test_a_profile_is_found_by_any_spelling_of_its_identifier_and_by_nothing_else(people: World) -> None:
    people.land("orders", [{"email": 'it\'s "a"@x', "name": "A"}])
    profiles = people.build()
    assert found(people, profiles, "email", ' IT\'S "A"@X ') is not None
    assert found(people, profiles, "email", "nobody") is None
    assert found(people, profiles, "email", "nul\x00") is None
    assert found(people, profiles, "no such key", "a@x") is None
    assert by_id(people, "no such id' OR true") is None


def test_the_id_of_an_identifier_never_changes() -> None:
    """printf 'email\\x1fada@example.org' | sha256sum"""
    assert identifier_id("email", "ada@example.org") == "5acaa95089ac2889fd414c26044048a3"


@pytest.mark.parametrize("value", ["", "   ", "\u3000\t\n", None, "x" * 1001])
def test_a_value_that_is_empty_or_too_long_is_no_identifier(people: World, value: str | None) -> None:
    people.land("orders", [{"email": value, "name": "A"}, {"email": "a@x", "user": "x" * 1000}])
    profiles = people.build()
    assert (profiles.facts["profiles"], profiles.facts["identifiers"], profiles.facts["messages"]) == (1, 2, 2)


def test_white_space_of_any_kind_is_trimmed_and_digits_are_kept(tmp_path: Path) -> None:
    rules = rules_of(
        s={"identity": [{"key": "mail", "from": "mail", "normalize": ["trim", "lower"]}, {"key": "phone", "from": "phone", "normalize": ["digits"]},
                        {"key": "code", "from": "code", "normalize": ["upper"]}]},
    )  # fmt: skip
    world = World(tmp_path, rules)
    world.land("s", [{"mail": "\u3000\ufeffΆΣ é\u00a0\r\n", "phone": "+49 (0)30-1٢", "code": "straße ǆ"}])
    profile = found(world, world.build(), "phone", "490301")
    assert profile is not None
    assert dict(profile.identifiers) == {"mail": "άσ é", "phone": "490301", "code": "STRASSE Ǆ".replace("SS", "ẞ")}


# --- what is void ---------------------------------------------------------------------------------------------------


def test_a_value_seen_with_too_many_others_is_void_for_the_past_too(people: World) -> None:
    people.land(
        "orders",
        [
            {"email": "n/a", "user": "u1", "name": "A", "amount": "1"},
            {"email": "N/A", "user": "u2", "name": "B", "amount": "2"},
        ],
    )
    before = people.build()
    assert (before.facts["profiles"], before.facts["void"]) == (1, 0), "two others are not more than two"
    people.land("orders", [{"email": "n/a", "user": "u3", "name": "C", "amount": "3"}])
    after = people.build()
    assert after.facts["voided"] == [{"key": "email", "value": "n/a", "key2": "user", "values": 3}]
    assert (after.facts["profiles"], after.facts["void"], after.facts["identifiers"]) == (3, 1, 4)
    assert found(people, after, "email", "n/a") is None
    spent = {name: found(people, after, "user", name).attributes["spent"] for name in ("u1", "u2", "u3")}  # type: ignore[union-attr]
    assert spent == {"u1": Decimal(1), "u2": Decimal(2), "u3": Decimal(3)}
    assert found(people, before, "email", "n/a") is not None
    people.land("orders", [{"email": "n/a", "user": "u4"}, {"email": "n/a", "name": "of nobody"}])
    last = people.build()
    assert (last.facts["voided"], last.facts["profiles"], last.facts["void"]) == ([], 4, 1)


def test_what_is_void_has_its_own_limit_for_each_key_the_least_of_all_streams(tmp_path: Path) -> None:
    def stream(limit: int) -> dict[str, Any]:
        return {"identity": [{"key": "a", "from": "a", "maxPerKey": limit}, {"key": "b", "from": "b"}]}

    world = World(tmp_path, rules_of(one=stream(1), two=stream(50)))
    world.land("two", [{"a": "x", "b": "1"}, {"a": "x", "b": "2"}])
    assert world.build().facts["voided"] == [{"key": "a", "value": "x", "key2": "b", "values": 2}]


# --- what is merged -------------------------------------------------------------------------------------------------


def attributes(world: World, profiles: ProfileSet) -> list[dict[str, Any]]:
    return [{name: row[name] for name in world.rules.attributes} for row in world.seen(profiles)["profiles"].values()]


def test_a_set_keeps_its_thousand_least_texts_however_it_was_built(people: World) -> None:
    names = [f"{number:04}" for number in range(1500)]
    people.land("orders", [{"user": "u1", "name": name} for name in names[::-2]])
    people.build()
    people.land("orders", [{"user": "u1", "name": name} for name in names[::2]])
    profiles = people.build()
    assert (
        attributes(people, profiles)[0]["names"]
        == attributes(people, people.built(ProfileSet()))[0]["names"]
        == names[:1000]
    )


def test_sums_are_exact_and_what_is_too_large_counts_as_none(tmp_path: Path) -> None:
    rules = rules_of(s={
        "columns": {"x": "decimal(38,2)"}, "identity": [{"key": "k", "from": "k"}], "attributes": {"x": {"from": "x", "merge": "sum"}},
    })  # fmt: skip
    world = World(tmp_path, rules)
    large = "9" * 26 + ".99"
    world.land(
        "s", [{"k": "a", "x": "0.1"}, {"k": "a", "x": "0.2"}, {"k": "a", "x": large}, {"k": "a", "x": "1" + "0" * 26}]
    )
    world.build()
    world.land("s", [{"k": "a", "x": large}])
    assert attributes(world, world.build()) == [{"x": Decimal("2" + "0" * 26 + ".28")}]


VALUES = [
    ("integer", "7", 7), ("integer", 7, 7), ("integer", 2.5, 3), ("integer", "2.5", 3), ("integer", "9223372036854775808", None),
    ("integer", "", None), ("integer", [7], None), ("integer", True, None), ("double", "1e3", 1000.0), ("double", 1, 1.0),
    ("integer", " -7", -7), ("integer", "+7", 7), ("integer", "1e3", 1000), ("integer", "0x10", None), ("integer", "0X1F", None),
    ("integer", "0b11", None), ("integer", "0B1", None), ("integer", "1_000", None), ("double", "1_000", None), ("decimal(4,1)", "1_00", None),
    ("double", "nan", None), ("double", "-inf", None), ("boolean", True, True), ("boolean", "false", False), ("boolean", "maybe", None),
    ("text", "7", "7"), ("text", 7, "7"), ("text", 1.50, "1.5"), ("text", True, "true"), ("text", {"a": [1]}, '{"a": [1]}'),
    ("text", "", ""), ("text", "null", "null"), ("text", 'q"', 'q"'), ("text", 12345678901234567890123, "12345678901234567890123"),
    ("decimal(4,1)", "99.95", Decimal("100.0")), ("decimal(4,1)", "12345", None), ("decimal(4,1)", 0.25, Decimal("0.3")),
    ("decimal(6,6)", 2.5e-05, Decimal("0.000025")), ("decimal(6,6)", "4E-1", Decimal("0.4")), ("decimal(6,6)", "1e0", None),
    ("decimal(18,8)", "-762201268.9990949559E1", Decimal("-7622012689.99094956")), ("decimal(4,1)", "1_0e1", None),
    ("integer", "12345678901234567890e-10", 1234567890), ("integer", "1e", None), ("double", "2.5e-05", 2.5e-05),
    ("date", "2026-02-28", "2026-02-28"), ("date", "2026-02-30", None), ("date", "10000-01-01", None), ("date", "infinity", None),
    ("date", "2026-02-28t23:30:00-05:00", "2026-02-28"), ("date", "20260228T233000Z", "2026-02-28"), ("date", "2026-02-28T24:00", "2026-02-28"),
    ("date", "20260228", None), ("date", "2026-02-28T23:61", None), ("date", "epoch", None), ("date", "2026-2-8", "2026-02-08"),
    ("timestamp", "2026-02-28t23:30:00z", "2026-02-28 23:30:00"), ("timestamp", "epoch", None), ("timestamp", "2026-02-28T24:00Z", "2026-03-01 00:00:00"),
    ("timestamp", "2026-01-01T02:00:00+02:00", "2026-01-01 00:00:00"), ("timestamp", "2026-01-01", "2026-01-01 00:00:00"),
    ("timestamp", "infinity", None), ("timestamp", "0001-01-01 (BC)", None), ("timestamp", "later", None),
]  # fmt: skip


def test_a_negative_zero_is_the_zero_that_it_equals_however_the_profile_was_built(tmp_path: Path) -> None:
    ways = {"w": "latest", "old": "first", "least": "min", "most": "max", "all": "set"}
    attributes = {name: {"from": "w", "merge": merge} for name, merge in ways.items()}
    rules = {"columns": {"w": "double"}, "identity": [{"key": "user", "from": "user"}], "attributes": attributes}
    world = World(tmp_path, rules_of(scores=rules))
    for value in ("0.0", "-0.0", -0.0):
        world.land("scores", [{"user": "u", "w": value}])
        world.build()
    for profiles in (world.profiles, world.built(ProfileSet())):
        profile = found(world, profiles, "user", "u")
        assert profile is not None
        assert repr(dict(profile.attributes)) == repr({"all": ["0.0"], "least": 0.0, "most": 0.0, "old": 0.0, "w": 0.0})


def test_a_value_means_the_same_however_its_segment_holds_it(tmp_path: Path) -> None:
    types = sorted({type_ for type_, _, _ in VALUES})
    name = {type_: f"c{index}" for index, type_ in enumerate(types)}
    rules = rules_of(s={
        "columns": {name[type_]: type_ for type_ in types}, "identity": [{"key": "k", "from": "k"}],
        "attributes": {name[type_]: {"from": name[type_]} for type_ in types}
        | {f"{name[type_]}_cast": {"expr": f"cast(any_{name[type_]} as {type_})"} for type_ in types},
    })  # fmt: skip
    world = World(tmp_path, rules)
    rows = [
        {"k": str(index), name[type_]: value, f"any_{name[type_]}": value}
        for index, (type_, value, _) in enumerate(VALUES)
    ]
    for row in rows:
        world.land("s", [row])  # each in a column of its own type
    world.land("s", [{**row, "k": f"together {row['k']}"} for row in rows])
    texts = {one.texts["k"]: one.texts for one in world.messages}
    for index, (type_, value, _) in enumerate(VALUES):
        if not isinstance(value, list | dict):
            text = texts[str(index)][name[type_]]
            table = pa.table({"k": [f"text {index}"], name[type_]: [text], f"any_{name[type_]}": [text]})
            world.land_table("s", table)
    shown = {row["key:k"][0]: row for row in world.seen(world.build())["profiles"].values()}
    for index, (type_, value, wanted) in enumerate(VALUES):
        for how in ("", "together ", "text "):
            if f"{how}{index}" in shown:
                for attribute in (name[type_], f"{name[type_]}_cast"):
                    seen = shown[f"{how}{index}"][attribute]
                    seen = str(seen) if seen is not None and type_ in ("date", "timestamp") else seen
                    assert seen == wanted, (how, type_, value, attribute)


# --- segments of every kind -----------------------------------------------------------------------------------------


def test_columns_that_duckdb_would_take_for_others_are_read_as_they_were_written(tmp_path: Path) -> None:
    rules = rules_of(s={
        "columns": {"A": "integer"},
        "identity": [{"key": "k", "from": 'the "key"'}],
        "attributes": {"lower": {"from": "a"}, "upper": {"from": "A"}, "both": {"expr": "\"a\" || 'A' || cast(\"A\" as text)"}, "list": {"from": "l"},
                       "row": {"from": "file_row_number"}, "binary": {"from": "b"}},
    })  # fmt: skip
    world = World(tmp_path, rules)
    world.land("s", [{'the "key"': "x", "a": "low", "A": 7}, {'the "key"': "y", "file_row_number": 99}])
    world.land_table("s", pa.table({'the "key"': ["x"], "l": [[1, None]], "b": [b"\xff"], "file_row_number": [3]}))
    world.land("s", [{'the "key"': "y", "a": "first"}])
    rows = {row["key:k"][0]: row for row in world.seen(world.build())["profiles"].values()}
    assert rows["x"] == {
        "key:k": ["x"],
        "lower": "low",
        "upper": 7,
        "both": "lowA7",
        "list": "[1,null]",
        "row": "3",
        "binary": "/w==",
    }
    assert rows["y"] == {
        "key:k": ["y"],
        "lower": "first",
        "upper": None,
        "both": None,
        "list": None,
        "row": "99",
        "binary": None,
    }


def test_a_message_whose_place_is_empty_is_of_nobody(people: World) -> None:
    people.land("orders", [{"email": "a@x", "name": "A"}, {"email": "b@x", "name": "B"}, {"email": "a@x", "name": "C"}])
    (segment,) = people.segments["orders"]
    keep = lambda at, count: pa.array([row != 2 for row in range(at, at + count)])  # noqa: E731
    people.segments["orders"] = [hollow(people.folder, segment, "streams/orders/hollow.parquet", keep)]
    profiles = people.build()
    assert [row["name"] for row in attributes(people, profiles)] == ["A", "B"]
    assert (profiles.facts["messages"], profiles.built) == (2, {"orders": 3})


def test_a_segment_that_is_missing_is_tried_again_and_one_of_another_length_is_damaged(people: World) -> None:
    people.land("orders", [{"email": "a@x"}])
    (segment,) = people.segments["orders"]
    path = people.folder / segment.file
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(
        Fatal, match=r"^segment streams/orders/\S+ of stream orders is damaged: it holds 0 messages instead of 1$"
    ):
        people.build()
    path.write_bytes(b"no parquet")
    with pytest.raises(Fatal, match=r"^segment streams/orders/\S+ of stream orders is damaged: "):
        people.build()
    path.unlink()
    with pytest.raises(Retriable, match=r"^segment streams/orders/\S+ of stream orders is missing$"):
        people.build()


def test_a_build_of_nothing_is_a_set_without_profiles(people: World) -> None:
    profiles = people.build()
    assert (profiles.files, profiles.built, profiles.facts["profiles"]) == ((), {"orders": 0}, 0)
    assert people.seen(profiles)["profiles"] == {}
    people.land("orders", [{"name": "of nobody"}])
    assert people.build().facts | {"voided": 0} == {
        "profiles": 0, "identifiers": 0, "void": 0, "messages": 1, "untimed": 1, "changed": 0, "merged": 0, "voided": 0,
    }  # fmt: skip


def test_a_build_tells_how_far_it_is_and_names_its_files_by_its_number(people: World) -> None:
    people.land("orders", [{"email": "a@x"}])
    told: list[tuple[str, int, int]] = []
    profiles = people.built(ProfileSet(), progress=lambda *step: told.append(step))
    assert told == [
        ("messages", 0, 1), ("messages", 1, 1), ("parts joined", 0, 1), ("parts joined", 1, 1),
        ("parts written", 0, 2), ("parts written", 1, 2), ("parts written", 2, 2),
    ]  # fmt: skip
    assert [one.file for one in profiles.files] == ["profiles/1-identifier-0.parquet", "profiles/1-state-0.parquet"]
    assert {path.name for path in (people.folder / "profiles").iterdir()} == {
        Path(one.file).name for one in profiles.files
    }
    assert not list(people.folder.glob(".spill-*"))


def test_a_pattern_of_times_that_is_none_ends_the_build_with_what_is_wrong(tmp_path: Path) -> None:
    rules = rules_of(s={"timestamp": {"field": "at", "format": "%Q"}, "identity": [{"key": "k", "from": "k"}]})
    world = World(tmp_path, rules)
    world.land("s", [{"k": "a", "at": "x"}])
    with pytest.raises(
        Fatal, match=r"^the profiles cannot be built: .*%Q|^the profiles cannot be built: .*format specifier"
    ):
        world.build()


@pytest.mark.parametrize(
    ("how", "text", "time_us"),
    [
        ("epoch_s", "1.5", 1_500_000), ("epoch_ms", 1500, 1_500_000), ("%d/%m/%Y", "02/01/1970", 86_400_000_000),
        ("iso8601", "1970-01-01T01", 3_600_000_000), ("iso8601", "1970-1-1", 0), ("iso8601", "9999-12-31T23:59:59,5Z", 253_402_300_799_500_000),
        ("iso8601", "10000-01-01", None), ("iso8601", 7, None), ("iso8601", "", None), ("epoch_s", "1e30", None), ("%d/%m/%Y", None, None),
    ],
)  # fmt: skip
def test_a_message_has_its_own_time_or_that_of_its_landing(
    tmp_path: Path, how: str, text: Any, time_us: int | None
) -> None:
    rules = rules_of(s={
        "timestamp": {"field": "at", "format": how}, "identity": [{"key": "k", "from": "k"}], "attributes": {"v": {"from": "v"}},
    })  # fmt: skip
    world = World(tmp_path, rules)
    landed = 1_000 if time_us is None else time_us - 1
    world.land("s", [{"k": "a", "at": text, "v": "own"}], times=[None])
    world.land("s", [{"k": "a", "v": "landed"}], times=[landed])
    profiles = world.build()
    assert profiles.facts["untimed"] == (1 if time_us is None else 0)
    assert attributes(world, profiles) == [{"v": "landed" if time_us is None else "own"}]
