"""What a Stream says about people: what it becomes, and what is said to the rest; each message at its place."""

from __future__ import annotations

from typing import Any

import pytest
import ryaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.core.profile import Attribute, Identity, StreamRules, stream_rules
from reconciler.core.schema import json_schema
from reconciler.core.spec_rules import Rules
from reconciler.repo.parse import parse_file
from tests.core.test_spec import read, refused
from tests.specs import CATALOGUE

ORDERS = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: orders}
spec:
  columns: {quantity: integer, unit_price: "decimal(10,2)", ordered_at: timestamp}
  timestamp: {field: ordered_at, format: iso8601}
  identity:
    - {key: email, from: email, normalize: [trim, lower]}
    - {key: user_id, from: customer_id, maxPerKey: 10}
  attributes:
    first_name: {from: first_name, merge: latest}
    spent: {expr: "quantity * unit_price", merge: sum}
    orders: {merge: count}
    last_order_at: {from: ordered_at, merge: max}
"""
SPEC: dict[str, Any] = ryaml.loads(ORDERS)["spec"]  # type: ignore[attr-defined]
WHO: dict[str, Any] = {"identity": [{"key": "email", "from": "email"}]}


def problems(text: str) -> list[str]:
    return [str(one).removeprefix("a.yaml:").replace(" error:", "") for one in parse_file("a.yaml", text.encode(), CATALOGUE).problems]  # fmt: skip


# --- what it becomes ------------------------------------------------------------------------------------------------


def test_a_stream_is_normalised_without_its_defaults() -> None:
    assert read("Stream", SPEC).spec == {
        "attributes": {
            "first_name": {"from": "first_name"},
            "last_order_at": {"from": "ordered_at", "merge": "max"},
            "orders": {"merge": "count"},
            "spent": {"expr": "quantity * unit_price", "merge": "sum"},
        },
        "columns": {"ordered_at": "timestamp", "quantity": "integer", "unit_price": "decimal(10,2)"},
        "identity": [
            {"from": "email", "key": "email", "normalize": ["trim", "lower"]},
            {"from": "customer_id", "key": "user_id", "maxPerKey": 10},
        ],
        "timestamp": {"field": "ordered_at"},
    }


def test_the_rules_of_profiles_are_read_from_the_normal_form() -> None:
    (document,) = parse_file("a.yaml", ORDERS.encode(), CATALOGUE).documents
    assert stream_rules("orders", document.spec) == StreamRules(
        name="orders",
        columns={"ordered_at": "timestamp", "quantity": "integer", "unit_price": "decimal(10,2)"},
        timestamp_field="ordered_at",
        timestamp_format="iso8601",
        identity=(
            Identity(key="email", column="email", normalize=("trim", "lower")),
            Identity(key="user_id", column="customer_id", max_per_key=10),
        ),
        attributes=(
            Attribute(name="first_name", column="first_name"),
            Attribute(name="last_order_at", column="ordered_at", merge="max"),
            Attribute(name="orders", merge="count"),
            Attribute(name="spent", expression="quantity * unit_price", merge="sum"),
        ),
    )


@pytest.mark.parametrize("way", ["epoch_s", "epoch_ms", "%d.%m.%Y %H:%M"])
def test_a_timestamp_may_be_written_in_other_ways(way: str) -> None:
    assert read("Stream", {"timestamp": {"field": "at", "format": way}}).spec == {
        "timestamp": {"field": "at", "format": way}
    }


def test_an_identifier_may_come_from_several_columns() -> None:
    identity = [{"key": "email", "from": "email"}, {"key": "email", "from": "billing_email"}]
    assert len(read("Stream", {"identity": identity}).spec["identity"]) == 2


# --- what the model refuses -----------------------------------------------------------------------------------------

NAME = "expected a name of lower-case letters, digits and underscores, at most 63, that begins with a letter"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"timestamp": "at"}, "spec.timestamp: expected a mapping such as {field: ordered_at}, found 'at'"),
        ({"timestamp": {}}, "spec.timestamp.field: this field is required, and missing"),
        ({"timestamp": {"field": ""}}, "spec.timestamp.field: expected a column's name of 1 to 256 printable characters"),
        ({"timestamp": {"field": 5}}, "spec.timestamp.field: expected a column's name, found 5; put it in quotes"),
        ({"timestamp": {"field": "a", "format": "iso8610"}}, "spec.timestamp.format: expected iso8601, epoch_s, epoch_ms or a strptime pattern with a year, found 'iso8610'; did you mean 'iso8601'?"),
        ({"timestamp": {"field": "a", "format": "%H:%M"}}, "spec.timestamp.format: expected iso8601, epoch_s, epoch_ms or a strptime pattern with a year, found '%H:%M'"),
        ({"timestamp": {"field": "a", "format": "%Y" * 51}}, "spec.timestamp.format: expected iso8601, epoch_s, epoch_ms or a strptime pattern with a year, found '" + "%Y" * 29 + "%…'"),
        ({"timestamp": {"field": "a", "zone": "UTC"}}, "spec.timestamp.zone: unknown field"),
        ({"identity": {"key": "email"}}, "spec.identity: expected a list, found a mapping"),
        ({"identity": [{"key": "email"}]}, "spec.identity[0].from: this field is required, and missing"),
        ({"identity": [{"key": "E-Mail", "from": "a"}]}, f"spec.identity[0].key: {NAME}, found 'E-Mail'"),
        ({"identity": [{"key": "a" * 64, "from": "a"}]}, f"spec.identity[0].key: {NAME}, found '{'a' * 59}…'"),
        ({"identity": [{"key": "email", "from": "a", "normalise": []}]}, "spec.identity[0].normalise: unknown field; did you mean 'normalize'?"),
        ({"identity": [{"key": "email", "from": "a", "normalize": ["lowr"]}]}, "spec.identity[0].normalize[0]: expected trim, lower, upper or digits, found 'lowr'; did you mean 'lower'?"),
        ({"identity": [{"key": "email", "from": "a", "normalize": ["trim", "trim"]}]}, "spec.identity[0].normalize[1]: 'trim' stands here twice"),
        ({"identity": [{"key": "email", "from": "a", "normalize": ["upper", "lower"]}]}, "spec.identity[0].normalize: expected lower or upper, found both"),
        ({"identity": [{"key": "email", "from": "a", "maxPerKey": 0}]}, "spec.identity[0].maxPerKey: expected a number of at least 1, found 0"),
        ({"identity": [{"key": "email", "from": "a", "maxPerKey": 10**7}]}, "spec.identity[0].maxPerKey: expected a number of at most 1e+06, found 10000000"),
        ({"identity": [{"key": "email", "from": "a"}, {"key": "email", "from": "a"}]}, "spec.identity[1]: 'email' from column 'a' stands here twice"),
        ({"identity": [{"key": f"k{one}", "from": "a"} for one in range(33)]}, "spec.identity: expected at most 32 of them, found a list"),
        ({"attributes": {"x": {"from": "x"}}}, "spec.attributes: expected identity beside it: an attribute is of somebody"),
        (WHO | {"attributes": ["x"]}, "spec.attributes: expected a mapping such as {spent: {from: amount, merge: sum}}, found a list"),
        (WHO | {"attributes": {"x": "y"}}, "spec.attributes.x: expected a mapping, found 'y'"),
        (WHO | {"attributes": {"First Name": {"from": "x"}}}, f"spec.attributes.\"First Name\": {NAME}, found 'First Name'"),
        (WHO | {"attributes": {"x": {}}}, "spec.attributes.x: expected from or expr, found none; only `merge: count` counts messages without"),
        (WHO | {"attributes": {"x": {"merge": "sum"}}}, "spec.attributes.x: expected from or expr, found none; only `merge: count` counts messages without"),
        (WHO | {"attributes": {"x": {"from": "a", "expr": "b"}}}, "spec.attributes.x: expected from or expr, found both"),
        (WHO | {"attributes": {"x": {"from": "a", "merge": "lastest"}}}, "spec.attributes.x.merge: expected latest, first, sum, count, min, max, set or any, found 'lastest'; did you mean 'latest'?"),
        (WHO | {"attributes": {"x": {"expr": "a" * 2001}}}, "spec.attributes.x.expr: expected at most 2000 characters, found 2001"),
        (WHO | {"attributes": {"x": {"form": "a"}}}, "spec.attributes.x.form: unknown field; did you mean 'from'?"),
        (WHO | {"attributes": {f"x{one}": {"merge": "count"} for one in range(1001)}}, "spec.attributes: expected at most 1000 of them, found a mapping"),
    ],
)  # fmt: skip
def test_what_it_says_of_people_is_refused_in_words_that_help(spec: Any, message: str) -> None:
    assert message in refused("Stream", spec)


def test_the_fast_parser_reads_what_the_careful_one_reads() -> None:
    from reconciler.repo import parse_careful, parse_fast
    from reconciler.repo.yaml_text import split

    (chunk,) = split(ORDERS)
    rules = Rules(CATALOGUE)
    fast = parse_fast.parse_chunk(chunk, "a.yaml", rules)
    assert fast is not None
    assert (fast, []) == parse_careful.parse_chunk(chunk, "a.yaml", rules)


@pytest.mark.parametrize(
    ("was", "now", "places"),
    [
        ("", "", []),
        ("key: email", "key: E-Mail", ["$.spec.identity[0].key"]),
        ("[trim, lower]", "[trimm]", ["$.spec.identity[0].normalize[0]"]),
        ("merge: max", "merge: biggest", ["$.spec.attributes.last_order_at.merge"]),
        ("{from: ordered_at, merge: max}", "{from: a, expr: b}", ["$.spec.attributes.last_order_at"]),
        ("maxPerKey: 10", "maxPerKey: 0", ["$.spec.identity[1].maxPerKey"]),
        ("timestamp: {field: ordered_at, format", "timestamp: {format", ["$.spec.timestamp"]),
        ("  identity:", "  identitx:", ["$.spec", "$.spec"]),
    ],
)
def test_an_editor_knows_what_a_stream_may_say(was: str, now: str, places: list[str]) -> None:
    given = ryaml.loads(ORDERS.replace(was, now))  # type: ignore[attr-defined]
    found = Draft202012Validator(json_schema("Stream", CATALOGUE)).iter_errors(given)
    assert sorted(error.json_path for error in found) == places


# --- what its expressions mean, at its place ------------------------------------------------------------------------


def test_an_expression_is_told_at_the_character_that_is_wrong() -> None:
    assert problems(ORDERS.replace("quantity * unit_price", "quantity * unitprice")) == [
        "12:19: spec.attributes.spent.expr: cannot multiply integer and text; did you mean 'unit_price'?"
    ]
    assert problems(ORDERS.replace("quantity * unit_price", "quantity * lowr(a)")) == [
        "12:31: spec.attributes.spent.expr: unknown function 'lowr'; did you mean 'lower'?"
    ]


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("1 + sum(x)", "12:17"),
        ('"1 + sum(x)"', "12:18"),
        ("'1 + sum(x)'", "12:18"),
        ("   1 + sum(x)   # said", "12:20"),
    ],
)
def test_the_place_counts_what_stands_before_the_text(written: str, place: str) -> None:
    text = f"{ORDERS.splitlines(keepends=True)[0]}" + "\n".join(
        ["kind: Stream", "metadata: {name: a}", "spec:", "  identity:", "    - key: email", "      from: email",
         "", "", "  attributes:", "    x:", f"      expr: {written}", ""]
    )  # fmt: skip
    assert problems(text) == [
        f"{place}: spec.attributes.x.expr: sum() is over many messages, and an expression reads one; "
        "`merge` says how values become one"
    ]


SUM_READS_MANY = "spec.attributes.x.expr: sum() is over many messages, and an expression reads one; `merge` says how values become one"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("|\n        a +\n        sum(x)", f"10:9: {SUM_READS_MANY}"),
        (">-\n        a + sum(x)", f"9:13: {SUM_READS_MANY}"),
        ('"a\\u0020+ sum(x)"', f"8:13: {SUM_READS_MANY} (at character 5)"),
    ],
)
def test_a_block_has_the_place_of_its_mistake_and_what_is_written_otherwise_the_character(
    written: str, told: str
) -> None:
    text = f"apiVersion: reconciler/v1\nkind: Stream\nmetadata: {{name: a}}\nspec:\n  identity: [{{key: e, from: e}}]\n  attributes:\n    x:\n      expr: {written}\n"
    assert problems(text) == [told]


def test_a_merge_that_does_not_fit_its_column_is_told_at_from() -> None:
    text = ORDERS.replace("{from: first_name, merge: latest}", "{from: first_name, merge: sum}")
    assert problems(text) == [
        "11:24: spec.attributes.first_name.from: cannot sum text: sums are exact; declare column 'first_name' as decimal "
        "or integer in `columns`, or cast it"
    ]


def test_where_a_column_is_unsound_its_expressions_are_not_judged() -> None:
    assert problems(ORDERS.replace("quantity: integer", "quantity: intger")) == [
        "5:23: spec.columns.quantity: expected one of boolean, date, double, integer, text, timestamp or decimal(12,2), "
        "found 'intger'; did you mean 'integer'?"
    ]


def test_what_the_model_refuses_does_not_hide_what_an_expression_does() -> None:
    text = ORDERS.replace("key: email", "key: E").replace("quantity * unit_price", "quantity * 'a'")
    assert [one.split(":")[2] for one in problems(text)] == [" spec.identity[0].key", " spec.attributes.spent.expr"]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["sum", "count", "a +", "a", "integer", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["from", "expr", "merge", "x"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["columns", "identity", "attributes", "timestamp"]), values, max_size=4))
def test_the_rules_survive_any_values(spec: dict[str, Any]) -> None:
    for issue in Rules(CATALOGUE).issues("Stream", {"spec": spec}):
        assert issue.message
