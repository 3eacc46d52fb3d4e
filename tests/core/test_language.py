"""The expression language: what it takes and what that means in DuckDB, and what it says to the rest."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from reconciler.core.language import (
    BadExpression,
    attribute_types,
    compile_expression,
    input_expression,
    merged_type,
)
from reconciler.core.profile import Attribute, StreamRules, profile_rules, stream_rules

COLUMNS = {
    "n": "integer", "m": "decimal(10,2)", "d": "double", "b": "boolean", "day": "date", "at": "timestamp",
    "tiny": "decimal(38,38)", "wide": "decimal(38,2)", "t": "text",
}  # fmt: skip
SQL_TYPES = {
    "text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "timestamp": "TIMESTAMP",
}  # fmt: skip


def sql_type(name: str) -> str:
    return SQL_TYPES.get(name, name.upper())


@pytest.fixture(scope="module")
def duck() -> duckdb.DuckDBPyConnection:
    """One row: n 7, m 9.99, d 1.5, b true, 2024-01-31 and 10:20:30 then, tiny 0.5, wide 1.00, t 'Ab ', u '12', "a""b" 'q'."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    declared = [f'"{name}" {sql_type(kind)}' for name, kind in COLUMNS.items()]
    connection.execute(f'CREATE TABLE message ({", ".join(declared)}, u VARCHAR, "a""b" VARCHAR)')
    connection.execute(
        "INSERT INTO message VALUES (7, 9.99, 1.5, true, '2024-01-31', '2024-01-31 10:20:30', 0.5, 1, 'Ab ', '12', 'q')"
    )
    return connection


def value(duck: duckdb.DuckDBPyConnection, text: str) -> tuple[str, Any]:
    """The type that is claimed, which must be the one that DuckDB gives, and the value."""
    expression = compile_expression(text, COLUMNS)
    found = duck.execute(f"SELECT {expression.sql} FROM message")
    assert str(found.description[0][1]) == sql_type(expression.type)
    return expression.type, found.fetchall()[0][0]


@pytest.mark.parametrize(
    ("text", "type_", "expected"),
    [
        # numbers: exact ones stay exact
        ("n * m", "decimal(29,2)", Decimal("69.93")),
        ("m + 1.005", "decimal(12,3)", Decimal("10.995")),
        ("n - 10", "integer", -3),
        ("-(-n)", "integer", 7),
        ("- 1.50", "decimal(3,2)", Decimal("-1.50")),
        (
            "cast('9999999999.99' as decimal(12,2)) * cast('999999.9999' as decimal(10,4))",
            "decimal(22,6)", Decimal("9999999998990000.000001"),
        ),
        ("cast('1234567890123.45' as decimal(15,2)) * 1.19", "decimal(18,4)", Decimal("1469135789246.9055")),
        ("n % 4 + mod(n, 4)", "integer", 6),
        ("m % 0.3", "decimal(10,2)", Decimal("0.09")),
        ("n / 2", "double", 3.5),
        ("d * n", "double", 10.5),
        ("1e3", "double", 1000.0),
        ("round(m, 1)", "decimal(10,1)", Decimal("10.0")),
        ("round(m)", "decimal(9,0)", Decimal(10)),
        ("round(d)", "double", 2.0),
        ("round(n, 3)", "integer", 7),
        ("floor(m) - ceil(-m)", "decimal(10,0)", Decimal(18)),
        ("abs(n - 10)", "integer", 3),
        ("least(n, m, 8)", "decimal(21,2)", Decimal("7.00")),
        ("99999999999999999999", "decimal(20,0)", Decimal("99999999999999999999")),
        # what does not fit is NULL
        ("n + 9223372036854775807", "integer", None),
        ("n % 0", "integer", None),
        ("n / 0", "double", None),
        ("d * 1e308 * 1e308", "double", None),
        ("wide * 99999999999999999999999999999999999 * 100", "decimal(38,2)", None),
        ("tiny + 1", "decimal(38,38)", None),
        ("cast(t as integer)", "integer", None),
        ("cast(concat('infinity') as timestamp)", "timestamp", None),
        ("cast('nan' as double)", "double", None),
        ("cast(concat('0x', '10') as integer)", "integer", None),
        ("cast('1_000' as decimal(9,2))", "decimal(9,2)", None),
        ("cast(concat('epo', 'ch') as date)", "date", None),
        ("cast(concat('epo', 'ch') as timestamp)", "timestamp", None),
        ("cast(concat('infinity') as double) > 5", "boolean", None),
        ("cast(concat('2024-01-01t23:30:00', '-05:00') as date)", "date", date(2024, 1, 1)),
        ("cast(concat('20240101T', '233000z') as timestamp)", "timestamp", datetime(2024, 1, 1, 23, 30)),
        ("cast(cast(cast(concat('1', '2') as integer) as text) as integer)", "integer", 12),
        ("day + interval 999 year", "timestamp", datetime(3023, 1, 31)),
        ("date '9999-12-31' + interval 1 day", "timestamp", None),
        # texts
        ("lower(t) || '-' || u", "text", "ab -12"),
        ("upper(trim(t))", "text", "AB"),
        ("concat(t, n, null, m)", "text", "Ab 79.99"),
        ("length(t) + length('é')", "integer", 4),
        ("substring(t, 2, 1) || substr(u, 2)", "text", "b2"),
        ("replace(t, 'b', 'it''s')", "text", "Ait's "),
        ("contains(t, 'b')", "boolean", True),
        ('"a""b" || \'?\'', "text", "q?"),
        # truth
        ("not b or n = 7 and m <> 2", "boolean", True),
        ("n between 7 and 7.5", "boolean", True),
        ("n in (1, 7) and t not in ('x')", "boolean", True),
        ("n not in (1, null)", "boolean", None),
        ("t like 'A%' and t not like 'a%' and t ilike 'a%'", "boolean", True),
        ("t is not null and b is true and (n > 9) is false", "boolean", True),
        ("tiny > 5 or wide > tiny", "boolean", True),
        ("b = (n > 1)", "boolean", True),
        ("null = 1", "boolean", None),
        ("null is distinct from t and t is distinct from u and n is not distinct from 7.0", "boolean", True),
        ("b is not distinct from null", "boolean", False),
        # choices
        ("case when n > 3 then m else 0 end", "decimal(10,2)", Decimal("9.99")),
        ("case u when '12' then 1 when '13' then 2.5 end", "decimal(2,1)", Decimal("1.0")),
        ("coalesce(null, n, m)", "decimal(21,2)", Decimal("7.00")),
        ("ifnull(nullif(u, '12'), 'none')", "text", "none"),
        ("greatest(day, at)", "timestamp", datetime(2024, 1, 31, 10, 20, 30)),
        ("null", "text", None),
        # casts and times
        ("cast(u as decimal(5,1)) + 1", "decimal(6,1)", Decimal("13.0")),
        ("u::integer + try_cast('1' as int)", "integer", 13),
        ("b::integer", "integer", 1),
        ("cast('2024-01-01T00:00:00+02:00' as timestamp)", "timestamp", datetime(2023, 12, 31, 22)),
        ("timestamp '2024-01-01 00:00:00.5'", "timestamp", datetime(2024, 1, 1, 0, 0, 0, 500_000)),
        ("cast(concat('2024-01-01T00:00:00', '+02:00') as timestamp)", "timestamp", datetime(2023, 12, 31, 22)),
        ("cast(at as date)", "date", date(2024, 1, 31)),
        ("day > '2024-01-01' and at < '2024-01-31T12:00:00+01:00'", "boolean", True),
        ("day + interval 1 month", "timestamp", datetime(2024, 2, 29)),
        ("interval '2 days' + at - interval (1) day", "timestamp", datetime(2024, 2, 1, 10, 20, 30)),
        ("day - date '2024-01-01'", "integer", 30),
        ("extract(year from at) * 100 + month(day) + extract(dow from day)", "integer", 202404),
        ("extract(epoch from at)", "integer", 1706696430),
        ("date_trunc('month', day)", "date", date(2024, 1, 1)),
        ("date_trunc('hour', at)", "timestamp", datetime(2024, 1, 31, 10)),
    ],
)  # fmt: skip
def test_an_expression_means_this(duck: duckdb.DuckDBPyConnection, text: str, type_: str, expected: object) -> None:
    assert value(duck, text) == (type_, expected)


ONLY_IN_WHERE = "now() can stand only in the `where` of an Audience"

REFUSED: list[tuple[str, int, str]] = [
    # types
    ("quantity * m", 0, "cannot multiply text and decimal(10,2); declare the type of column 'quantity' in `columns`"),
    ("n * mm", 0, "cannot multiply integer and text; did you mean 'm'?"),
    ("n + b", 0, "cannot add integer and boolean"),
    ("t - 1", 0, "cannot subtract text and integer"),
    ("t / t", 0, "cannot divide text and text"),
    ("b % 2", 0, "cannot take the remainder of boolean and integer"),
    ("n + -t", 5, "cannot negate text"),
    ("t || 5", 0, "cannot join text and integer; use concat(), or cast to text"),
    ("n = 'a'", 0, "cannot compare integer and text"),
    ("n = '12'", 0, "cannot compare integer and text; a number stands without quotes"),
    ("b > true", 0, "true and false have no order; use = or <>"),
    ("b between true and false", 0, "cannot order boolean"),
    ("n and b", 0, "expected true or false beside `and`, found integer"),
    ("not n", 4, "expected true or false after `not`, found integer"),
    ("n is true", 0, "expected true or false before `is`, found integer"),
    ("case when n then 1 end", 10, "expected true or false after `when`, found integer"),
    ("case when b then 'a' else 1 end", 10, "cannot mix text and integer in one case"),
    ("coalesce(n, t)", 0, "cannot mix integer and text in coalesce()"),
    ("least(b, b)", 0, "cannot order boolean and boolean"),
    ("tiny * m", 0, "the product has more than 38 digits behind the point; round a factor first"),
    ("tiny % n", 0, "these decimals have too many digits for a remainder; round one first"),
    ("at > 'soon'", 5, "expected a date or time such as '2026-01-31' or '2026-01-31T10:00:00Z', found 'soon'"),
    ("day = '2024-02-30'", 6, "expected a date or time such as '2026-01-31' or '2026-01-31T10:00:00Z', found '2024-02-30'"),
    ("day + 3", 0, "cannot add date and integer; write `interval 3 day` for a span of time"),
    ("n + interval 1 day", 0, "cannot add an interval to integer"),
    ("n - interval 1 day", 0, "cannot subtract an interval from integer"),
    ("interval 1 day", 0, "an interval can only be added to a date or time, or subtracted from one"),
    ("at + interval 1.5 day", 0, "expected an interval such as `interval 90 day`, in one of year, quarter, month, week, day, hour, minute, second"),
    ("at + interval '3 days ago'", 14, "expected one number and its unit, as in `interval '90 days'`, found '3 days ago'"),
    ("at + interval '3 days 12:00'", 14, "expected one number and its unit, as in `interval '90 days'`, found '3 days 12:00'"),
    ("at + interval 1001 year", 0, "an interval is at most 1,000 years"),
    ("trim(both 'x' from t)", 10, "trim() takes a text alone, and takes the spaces around it away"),
    ("t ^@ 'a'", 0, "'^@' is not part of the expression language"),
    ("lower(n)", 6, "lower() takes a text, found integer"),
    ("abs(t)", 4, "abs() takes a number, found text"),
    ("floor(amount)", 6, "floor() takes a number, found text; declare the type of column 'amount' in `columns`"),
    ("year(t)", 5, "year() takes a date or time, found text"),
    ("contains(n, 'x')", 0, "contains() looks into a list or a text, found integer"),
    ("cast(n as date)", 5, "cannot cast integer to date"),
    # arguments
    ("replace(t, t, u)", 0, "replace() takes a text, and two texts in single quotes: what is replaced, and by what"),
    ("t like u", 0, "expected a pattern in single quotes after `like`"),
    ("n like '1'", 0, "expected a text before `like`, found integer"),
    ("n in (m)", 6, "expected only values that are written out after `in`"),
    ("n in ()", 0, "expected values in brackets after `in`"),
    ("round(m, n)", 0, "round() takes a number and how many digits stay behind the point, 0 to 38"),
    ("round(d, 16)", 0, "round() takes a number and how many digits stay behind the point, 0 to 15"),
    ("substring(t)", 10, "substring() takes a text, the number of its first character, and how many"),
    ("substring(t, '1')", 13, "substring() takes integers after the text, found text; a number stands without quotes"),
    ("extract(fortnight from at)", 23, "unknown part 'fortnight' in extract(); expected one of year, quarter, month, week, day, dayofweek, dow, isodow, dayofyear, doy, hour, minute, second, epoch"),
    ("date_trunc('yaer', at)", 0, "unknown part 'yaer' in date_trunc(); did you mean 'year'?"),
    ("cast(t as smallint)", 5, "unknown type 'smallint'; expected one of boolean, date, decimal(12,2), double, integer, text, timestamp"),
    ("cast(t as money2)", 5, "unknown type 'money2'; expected one of boolean, date, decimal(12,2), double, integer, text, timestamp"),
    ("cast(t as struct(x int))", 10, "unknown function 'struct'"),
    ("cast(t as decimal(40,2))", 5, "a decimal has 1 to 38 digits, no more of them behind the point"),
    ("1e999", 0, "this number is too large"),
    ("0E", 0, "'0E' is no number"),
    ("1" * 39, 0, "a number has at most 38 digits"),
    ("n is 5", 0, "expected null, true or false after `is`"),
    # what is not in the language
    ("select 1", 0, "a query cannot stand in an expression"),
    ("n in (select n from x)", 6, "a query cannot stand in an expression"),
    ("(from x)", 0, "a query cannot stand in an expression"),
    ("exists(select 1)", 0, "unknown function 'exists'"),
    ("read_csv('/etc/passwd')", 0, "unknown function 'read_csv'"),
    ("getenv('HOME')", 0, "unknown function 'getenv'"),
    ("lowr(t)", 0, "unknown function 'lowr'; did you mean 'lower'?"),
    ('"lower"(t)', 0, "the name of a function stands without quotes"),
    ("1 + sum(n)", 4, "sum() is over many messages, and an expression reads one; `merge` says how values become one"),
    ("lower(t) over (order by t)", 9, "window functions cannot stand in an expression"),
    ("now()", 0, ONLY_IN_WHERE),
    ("current_timestamp > at", 0, "of the current time there is only now(), and it can stand only in the `where` of an Audience"),
    ("$1", 0, "parameters cannot stand in an expression"),
    ("n = ?", 4, "parameters cannot stand in an expression"),
    ("x -> x", 2, "'->' cannot stand in an expression"),
    ("[n]", 0, "'[' cannot stand in an expression"),
    ("*", 0, "'*' cannot stand in an expression"),
    ("o.*", 0, "'*' cannot stand in an expression"),
    ('""', 0, "a name is not empty; a text stands in single quotes"),
    ("orders.n", 0, "a name with a point in it stands in double quotes"),
    ("n; drop table x", 1, "an expression is one, and ends without a semicolon"),
    ("n ** 2", 0, "'**' is not part of the expression language"),
    ("t similar to 'x'", 0, "'similar to' is not part of the expression language"),
    ("(n, m)", 1, "'(…, …)' is not part of the expression language"),
    ("t collate nocase", 0, "'collate' is not part of the expression language"),
    # what cannot be read
    ("", 0, "there is no expression here"),
    ("/* nothing */", 0, "there is no expression here"),
    ("n +", 2, "something is missing near '+'"),
    ("lower()", 6, "something is missing near ')'"),
    ("lower(t, u)", 10, "too many arguments before ')'"),
    ("n m", 2, "did not expect 'm' here"),
    ("n as m", 2, "did not expect 'as' here"),
    ("(n", 0, "'(' is not closed"),
    ("case when b then 1", 0, "'case' is not closed"),
    ("n)", 1, "')' closes nothing"),
    ("'abc", 0, "a quote or comment is not closed"),
    ("'a\x00b'", 2, "the character U+0000 cannot stand in an expression"),
    ("\ud800", 0, "the character U+D800 cannot stand in an expression"),
    # limits
    ("n" * 10_001, 0, "an expression has at most 10,000 characters, this one has 10,001"),
    ("(" * 33 + "n" + ")" * 33, 32, "nested more than 32 deep"),
    ("not (" * 17 + "b" + ")" * 17, 5 * 16, "nested more than 32 deep"),
    ("- " * 40 + "n", 64, "nested more than 32 deep"),
    ("case when b then " * 40 + "1" + " end" * 40, 17 * 32, "nested more than 32 deep"),
    (" + ".join(["n"] * 500), 0, "more than 100 operators in a row"),
    ("replace(replace(t, 'a', 'bbbbbbbbbbb'), 'b', 'ccccccccccc')", 0, "this could make a text over 100 times as long as the texts in it"),
    ("concat(" + ", ".join(["t"] * 101) + ")", 0, "this could make a text over 100 times as long as the texts in it"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "offset", "message"), REFUSED, ids=[str(one) for one in range(len(REFUSED))])
def test_what_is_no_expression_is_refused_in_words_that_help(text: str, offset: int, message: str) -> None:
    with pytest.raises(BadExpression) as error:
        compile_expression(text, COLUMNS)
    assert (error.value.message, error.value.offset) == (message, offset)
    assert str(error.value) == message


def test_a_thousand_alternatives_are_no_deeper_than_two(duck: duckdb.DuckDBPyConnection) -> None:
    text = " or ".join(f"n={number}" for number in range(1_000))
    assert value(duck, text) == ("boolean", True)


@pytest.mark.parametrize("room", range(40, 400, 40))
def test_a_caller_that_stands_deep_is_told_of_nesting_and_not_brought_down(room: int) -> None:
    text = "(" * 20 + "b" + ")" * 20 + " = b" * 60
    compile_expression(text, COLUMNS)  # what reads it is imported with the first one, which takes more room

    def compiled(frames: int) -> str:
        if frames:
            return compiled(frames - 1)
        try:
            return compile_expression(text, COLUMNS).type
        except BadExpression as error:
            return error.message

    depth = len(inspect.stack(0))
    assert compiled(sys.getrecursionlimit() - depth - room) in ("boolean", "nested more than 32 deep")


def test_the_sql_grows_as_the_text_does() -> None:
    text = "n"
    for _ in range(28):
        text = f"abs({text})"
    assert len(compile_expression(text, COLUMNS).sql) < 20 * len(text)
    text, sizes = "t", []
    for _ in range(12):
        text = f"cast(cast({text} as timestamp) as text)"
        sizes.append(len(compile_expression(text, COLUMNS).sql))
    assert sizes[-1] - sizes[-2] == sizes[2] - sizes[1]


def test_the_columns_that_are_used_are_named_once_each_in_order() -> None:
    assert compile_expression("lower(u) || t || u || 'v'", COLUMNS).columns == ("t", "u")


def test_a_spec_without_expressions_imports_no_parser() -> None:
    program = (
        "import sys\n"
        "from reconciler.core.check import check\n"
        "from reconciler.core.spec_rules import Rules\n"
        "raw = {'spec': {'columns': {'x': 'int'}, 'identity': [], 'attributes': {'x': {'from': 'x', 'merge': 'sum'}}}}\n"
        "assert list(Rules({}).issues('Stream', raw)) == []\n"
        "assert check([], {}) == []\n"
        "assert 'sqlglot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- attributes -----------------------------------------------------------------------------------------------------


def stream(columns: dict[str, str], **attributes: Any) -> StreamRules:
    identity = [{"key": "email", "from": "email"}]
    return stream_rules("orders", {"columns": columns, "identity": identity, "attributes": attributes})


@pytest.mark.parametrize(
    ("attribute", "type_"),
    [
        ({"from": "name"}, "text"),
        ({"from": "n", "merge": "latest"}, "integer"),
        ({"from": "at", "merge": "max"}, "timestamp"),
        ({"expr": "n * m", "merge": "first"}, "decimal(29,2)"),
        ({"from": "n", "merge": "sum"}, "decimal(38,0)"),
        ({"from": "m", "merge": "sum"}, "decimal(38,2)"),
        ({"merge": "count"}, "integer"),
        ({"from": "name", "merge": "count"}, "integer"),
        ({"from": "n", "merge": "set"}, "list(text)"),
        ({"from": "b", "merge": "any"}, "boolean"),
    ],
)
def test_a_merge_gives_an_attribute_its_type(attribute: dict[str, str], type_: str) -> None:
    rules = profile_rules(
        [("orders", {"columns": COLUMNS, "identity": [{"key": "k", "from": "k"}], "attributes": {"x": attribute}})]
    )
    assert attribute_types(rules) == {"x": type_}


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ({"from": "d", "merge": "sum"}, "cannot sum double: sums are exact; cast it to decimal or integer"),
        (
            {"from": "amount", "merge": "sum"},
            "cannot sum text: sums are exact; declare column 'amount' as decimal or integer in `columns`, or cast it",
        ),
        ({"from": "tiny", "merge": "sum"}, "a sum keeps at most 18 digits behind the point, this has 38; round it first"),
        ({"from": "n", "merge": "any"}, "any is of true and false, found integer; cast it to boolean"),
        (
            {"from": "vip", "merge": "any"},
            "any is of true and false, found text; declare column 'vip' as boolean in `columns`, or cast it",
        ),
    ],
)  # fmt: skip
def test_a_merge_refuses_what_it_cannot_merge(attribute: dict[str, str], message: str) -> None:
    one = stream(COLUMNS, x=attribute)
    with pytest.raises(BadExpression) as error:
        merged_type(one, one.attributes[0])
    assert error.value.message == message


def test_a_bad_attribute_is_named_with_its_stream() -> None:
    rules = profile_rules(
        [("orders", {"identity": [{"key": "k", "from": "k"}], "attributes": {"x": {"expr": "1 + 'a'"}}})]
    )
    with pytest.raises(BadExpression, match="attribute 'x' of Stream 'orders': cannot add integer and text"):
        attribute_types(rules)


def test_what_a_message_contributes_is_of_the_merges_type(duck: duckdb.DuckDBPyConnection) -> None:
    one = stream(COLUMNS, a={"from": 'a"b'}, b={"from": "n", "merge": "set"}, c={"merge": "count"}, d={"from": "d"})
    found = {attribute.name: input_expression(one, attribute) for attribute in one.attributes}
    assert found.pop("c") is None
    values = {
        name: duck.execute(f"SELECT {one.sql} FROM message").fetchall()[0][0] for name, one in found.items() if one
    }
    assert values == {"a": "q", "b": "7", "d": 1.5}
    assert input_expression(one, Attribute(name="x", merge="count")) is None
