"""What holds for every expression and condition: what is accepted runs, to the type that it claims, whatever the row;
and a condition changes at its moments, not between them."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from functools import cache
from typing import Any, Final

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.language import BadExpression, Expression, compile_condition, compile_expression

COLUMNS: Final = {
    "n": "integer", "m": "decimal(10,2)", "w": "decimal(38,6)", "tiny": "decimal(38,38)", "d": "double", "b": "boolean",
    "day": "date", "at": "timestamp", "t": "text",
}  # fmt: skip
SQL_TYPES: Final = {
    "text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "timestamp": "TIMESTAMP",
}  # fmt: skip

#: In which sums and products of decimals are not rounded.
EXACT: Final = Context(prec=100)

#: Rows that hold the ends of every type, and what hostile files hold.
ROWS: Final = (
    "(0, 0, 0, 0, 0, false, DATE '1970-01-01', TIMESTAMP '1970-01-01', '', '')",
    "(7, 9.99, -1.5, 0.5, 1.5, true, DATE '2024-02-29', TIMESTAMP '2024-02-29 23:59:59.999999', ' Ab ', '12')",
    "(9223372036854775807, 99999999.99, CAST('99999999999999999999999999999999.999999' AS DECIMAL(38,6)), "
    "CAST('0.99999999999999999999999999999999999999' AS DECIMAL(38,38)), 1.7976931348623157e308, true, "
    "DATE 'infinity', TIMESTAMP 'infinity', repeat('é%_', 300), '1e400')",
    "(-9223372036854775808, -99999999.99, CAST('-99999999999999999999999999999999.999999' AS DECIMAL(38,6)), "
    "CAST('-0.99999999999999999999999999999999999999' AS DECIMAL(38,38)), -1.7976931348623157e308, false, "
    "DATE '-infinity', TIMESTAMP '-infinity', 'nan', '290000-01-01')",
    "(1, 0.01, 0.000001, 0, 'nan'::DOUBLE, NULL, DATE '5877642-06-25 (BC)', TIMESTAMP '294246-12-31', chr(1114111), "
    "'2024-01-01T00:00:00+02:00')",
    "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
)


@cache
def duck() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET threads = 1")
    declared = [f'"{name}" {SQL_TYPES.get(kind, kind.upper())}' for name, kind in COLUMNS.items()]
    connection.execute(f"CREATE TABLE message ({', '.join(declared)}, u VARCHAR)")
    for row in ROWS:
        connection.execute(f"INSERT INTO message VALUES {row}")
    return connection


# --- exact numbers ---


@st.composite
def decimals(draw: st.DrawFn) -> tuple[str, Decimal]:
    """A decimal of some type, mostly at its ends, as an expression."""
    digits = draw(st.integers(1, 38))
    scale = draw(st.integers(0, digits))
    end = 10**digits - 1
    units = draw(st.sampled_from((end, -end, 1, end // 3)) | st.integers(-end, end))
    value = Decimal(units).scaleb(-scale, EXACT)
    return f"cast('{value:f}' as decimal({digits},{scale}))", value


@settings(max_examples=400, deadline=None)
@given(decimals(), decimals(), st.sampled_from("+-*"))
def test_sums_and_products_of_decimals_are_exact(
    one: tuple[str, Decimal], other: tuple[str, Decimal], sign: str
) -> None:
    left, right = one[1], other[1]
    exact = {"+": EXACT.add, "-": EXACT.subtract, "*": EXACT.multiply}[sign](left, right)
    made = compiled(f"{one[0]} {sign} {other[0]}")
    if isinstance(made, BadExpression):
        assert "more than 38 digits behind the point" in made.message
        return
    (found,) = duck().execute(f"SELECT {made.sql}").fetchone() or (None,)
    digits, scale = map(int, made.type.removeprefix("decimal(").rstrip(")").split(","))
    if found is None:  # only what its type cannot hold
        assert digits == 38
        assert max(abs(one) for one in (left, right, exact)) >= Decimal(10) ** (digits - scale)
    else:
        assert found == exact


# --- random expressions ---------------------------------------------------------------------------------------------

LEAVES: Final = {
    "number": ["n", "m", "w", "tiny", "d", "0", "1", "-3", "2.50", "0.001", "9223372036854775807", "1e3", "null"],
    "text": ["t", "u", "'a'", "''", "'%é_'", "null"],
    "boolean": ["b", "true", "false", "null"],
    "time": ["day", "at", "date '2024-01-31'", "timestamp '2024-01-31 10:00:00'", "null"],
}
SHAPES: Final = {
    "number": [
        "{number} + {number}", "{number} - {number}", "{number} * {number}", "{number} / {number}", "{number} % {number}",
        "-{number}", "abs({number})", "round({number})", "round({number}, 2)", "floor({number})", "ceil({number})",
        "length({text})", "cast({any} as integer)", "cast({any} as double)", "cast({any} as decimal(12,3))",
        "{text}::decimal(38,38)", "{any}::decimal(1,0)", "extract(year from {time})", "extract(epoch from {time})",
        "extract(isodow from {time})", "month({time})", "{time} - {time}", "least({number}, {number})",
        "greatest({number}, {number})", "coalesce({number}, {number})", "nullif({number}, {number})",
        "case when {boolean} then {number} else {number} end", "case {number} when {number} then {number} end",
    ],
    "text": [
        "lower({text})", "upper({text})", "trim({text})", "substring({text}, length({text}), cast({number} as integer))", "substr({text}, cast({number} as integer))",
        "concat({any}, {any})", "{text} || {text}", "replace({text}, 'a', 'bb')", "cast({any} as text)",
        "coalesce({text}, {text})", "nullif({text}, {text})", "case when {boolean} then {text} end",
    ],
    "boolean": [
        "{number} < {number}", "{number} = {number}", "{text} >= {text}", "{time} <> {time}", "{boolean} = {boolean}",
        "{boolean} and {boolean}", "{boolean} or {boolean}", "not {boolean}", "{any} is null", "{boolean} is not true", "{text} is distinct from {text}",
        "{number} between {number} and {number}", "{time} between {time} and '2024-06-01'", "{number} in (1, 2.5, null)",
        "{text} in ('a', 'b')", "{time} > '2024-01-31T00:00:00+01:00'", "{text} like '%a_%'", "contains({text}, {text})",
        "cast({text} as boolean)", "case when {boolean} then {boolean} else {boolean} end",
    ],
    "time": [
        "{time} + interval 1 month", "{time} - interval '900' year", "interval 36 hour + {time}", "cast({any} as date)",
        "cast({any} as timestamp)", "date_trunc('month', {time})", "date_trunc('second', {time})",
        "coalesce({time}, {time})", "least({time}, {time})", "case when {boolean} then {time} end",
    ],
}  # fmt: skip
KINDS: Final = tuple(LEAVES)


@st.composite
def expressions(draw: st.DrawFn, kind: str = "any", depth: int = 4) -> str:
    """A text that often is an expression."""
    if kind == "any":
        kind = draw(st.sampled_from(KINDS))
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from(LEAVES[kind]))
    shape = draw(st.sampled_from(SHAPES[kind]))
    for inner in (*KINDS, "any"):
        while (hole := f"{{{inner}}}") in shape:
            shape = shape.replace(hole, f"({draw(expressions(inner, depth - 1))})", 1)
    return shape


def compiled(text: str) -> Expression | BadExpression:
    try:
        return compile_expression(text, COLUMNS)
    except BadExpression as error:
        return error


def is_sound(value: Any) -> bool:
    """Nothing that JSON and Python cannot hold."""
    return not isinstance(value, float) or value - value == 0


@settings(max_examples=400, deadline=None)
@given(expressions())
def test_what_is_accepted_runs_on_any_row_to_the_type_that_it_claims(text: str) -> None:
    expression = compiled(text)
    if isinstance(expression, BadExpression):
        assert 0 <= expression.offset < len(text)
        return
    found = duck().execute(f"SELECT {expression.sql} FROM message")
    assert str(found.description[0][1]) == SQL_TYPES.get(expression.type, expression.type.upper())
    rows = found.fetchall()
    assert len(rows) == len(ROWS)
    assert all(is_sound(value) for (value,) in rows)


@settings(max_examples=300, deadline=None)
@given(st.text("nmtb01.'\"()+-*/%|<>=! \n,;:[]{}$?@#~&^\\_é", max_size=40) | st.text(max_size=20))
def test_no_text_whatever_brings_down_the_compiler(text: str) -> None:
    expression = compiled(text)
    if isinstance(expression, BadExpression):
        assert expression.message
        return
    names = [name for name in expression.columns if name not in COLUMNS]
    given = "".join(
        f', NULL::VARCHAR AS "{name.replace(chr(34), chr(34) * 2)}"' for name in names if name.lower() != "u"
    )
    duck().execute(f"SELECT {expression.sql} FROM (SELECT *{given} FROM message)").fetchall()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "(",
                ")",
                "not",
                "-",
                "+",
                "case",
                "when",
                "then",
                "end",
                "and",
                "or",
                "a",
                "1",
                ",",
                "lower(",
                "now(",
                "interval",
                "day",
                "in",
                "is",
                "null",
            ]
        ),
        max_size=60,
    )
)
def test_no_nesting_whatever_brings_down_the_compiler(words: list[str]) -> None:
    compiled(" ".join(words))


@settings(max_examples=200, deadline=None)
@given(st.decimals(-9999, 9999, places=3), st.decimals(-9999, 9999, places=2), st.sampled_from(["+", "-", "*"]))
def test_arithmetic_of_decimals_is_exact(left: Decimal, right: Decimal, symbol: str) -> None:
    expression = compile_expression(f"({left}) {symbol} ({right})", {})
    ((found,),) = duck().execute(f"SELECT {expression.sql}").fetchall()
    assert found == {"+": left + right, "-": left - right, "*": left * right}[symbol]


# --- conditions and time --------------------------------------------------------------------------------------------

ATTRIBUTES: Final = {"at": "timestamp", "day": "date", "n": "integer"}
NOW: Final = datetime(2024, 3, 30, 12)

spans = st.sampled_from(
    ["", "- interval 1 month", "- interval 90 day", "+ interval 1 year", "- interval 36 hour", "+ interval 2 week"]
)
comparisons = st.builds(
    lambda attribute, symbol, span, turned: f"now() {span} {symbol} {attribute}" if turned else f"{attribute} {symbol} now() {span}",
    st.sampled_from(["at", "day"]), st.sampled_from(["<", "<=", ">", ">="]), spans, st.booleans(),
)  # fmt: skip
betweens = st.builds(
    lambda attribute, low, high: f"{attribute} between now() {low} and now() {high}",
    st.sampled_from(["at", "day"]), spans, spans,
)  # fmt: skip
conditions = st.recursive(
    comparisons | betweens | st.just("n > 3"),
    lambda inner: (
        st.builds(lambda a, b, word: f"({a}) {word} ({b})", inner, inner, st.sampled_from(["and", "or"]))
        | st.builds(lambda a: f"not ({a})", inner)
        | st.builds(lambda a, b: f"case when {a} then {b} else false end", inner, inner)
    ),
    max_leaves=5,
)
profiles = st.fixed_dictionaries(
    {
        "at": st.none() | st.datetimes(NOW - timedelta(500), NOW + timedelta(500)) | st.just(datetime(2024, 2, 29, 12)),
        "day": st.none() | st.dates(date(2023, 1, 1), date(2025, 1, 1)),
        "n": st.none() | st.integers(0, 9),
    }
)


@settings(max_examples=150, deadline=None)
@given(conditions, profiles, st.lists(st.timedeltas(timedelta(0), timedelta(900)), max_size=4))
def test_a_condition_holds_from_one_of_its_moments_to_the_next(
    text: str, profile: dict[str, Any], waits: list[timedelta]
) -> None:
    condition = compile_condition(text, ATTRIBUTES)
    connection = duck()
    row = 'SELECT $at::TIMESTAMP AS "attribute:at", $day::DATE AS "attribute:day", $n::BIGINT AS "attribute:n"'

    def holds(now: datetime) -> bool:
        given = {**profile, "now": now} if condition.reads_now else profile
        return bool(connection.execute(f"SELECT ({condition.sql}) IS TRUE FROM ({row})", given).fetchall()[0][0])

    moments = []
    if condition.reads_now:
        found = connection.execute(f"SELECT {', '.join(condition.moments)} FROM ({row})", profile).fetchall()[0]
        moments = sorted(one for one in found if one is not None)
    now, stops = NOW, sorted({NOW + wait for wait in waits} | {one for one in moments if one > NOW})
    before = holds(now)
    for stop in stops:
        due = next((one for one in moments if one > now), None)
        if due is not None and due <= stop:
            assert holds(due - timedelta(microseconds=1)) == before
        else:
            assert holds(stop) == before
        now, before = stop, holds(stop)
