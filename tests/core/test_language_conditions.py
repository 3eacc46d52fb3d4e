"""Conditions on profiles: what an Audience's `where` takes, and the moments at which it changes."""

from __future__ import annotations

import pytest

from reconciler.core.language import BadExpression, Condition, UnknownAttribute, compile_condition

ATTRIBUTES = {
    "spent": "decimal(38,2)", "last_order_at": "timestamp", "born": "date", "tags": "list(text)", "country": "text",
    "orders": "integer", "vip": "boolean",
}  # fmt: skip

RULE = (
    "now() can stand only in comparing one attribute with now() plus or minus a constant interval, "
    "such as last_order_at > now() - interval 90 day"
)
LAST, NOW = '"attribute:last_order_at"', "CAST($now AS TIMESTAMP)"
BORN = 'TRY_CAST("attribute:born" AS TIMESTAMP)'


def test_a_condition_names_its_attributes_and_the_moments_at_which_it_changes() -> None:
    assert compile_condition("spent > 1000 and last_order_at > now() - interval 90 day", ATTRIBUTES) == Condition(
        sql=f"((\"attribute:spent\" > CAST(CAST(1000 AS BIGINT) AS DECIMAL(38,2))) AND (TRY({LAST} + INTERVAL '90 days') > {NOW}))",
        attributes=("last_order_at", "spent"),
        moments=(f"TRY({LAST} + INTERVAL '90 days')",),
        reads_now=True,
    )


def test_everyone_is_a_condition_without_attributes() -> None:
    assert compile_condition("true", {}) == Condition(sql="TRUE", attributes=(), moments=(), reads_now=False)


@pytest.mark.parametrize(
    ("text", "sql", "moments"),
    [
        ("last_order_at > now()", f"({LAST} > {NOW})", [LAST]),
        ("last_order_at <= now()", f"({LAST} <= {NOW})", [LAST]),
        ("last_order_at >= now()", f"({LAST} >= {NOW})", [f"TRY({LAST} + INTERVAL '1 microsecond')"]),
        ("last_order_at < now()", f"({LAST} < {NOW})", [f"TRY({LAST} + INTERVAL '1 microsecond')"]),
        ("now() >= last_order_at", f"({LAST} <= {NOW})", [LAST]),
        ("(now()) < ((last_order_at))", f"({LAST} > {NOW})", [LAST]),
        ("born > now()", f"({BORN} > {NOW})", [BORN]),
        ("last_order_at > current_timestamp", f"({LAST} > {NOW})", [LAST]),
        (
            "last_order_at > now() + interval '2' weeks",
            f"(TRY({LAST} - INTERVAL '2 weeks') > {NOW})",
            [f"TRY({LAST} - INTERVAL '2 weeks')"],
        ),
        (
            "interval '2 weeks' + now() < last_order_at",
            f"(TRY({LAST} - INTERVAL '2 weeks') > {NOW})",
            [f"TRY({LAST} - INTERVAL '2 weeks')"],
        ),
        (
            "last_order_at between now() - interval 1 month and now()",
            f"((TRY({LAST} + INTERVAL '1 months') >= {NOW}) AND ({LAST} <= {NOW}))",
            [f"TRY(TRY({LAST} + INTERVAL '1 months') + INTERVAL '1 microsecond')", LAST],
        ),
        ("last_order_at > now() or not last_order_at > now()", f"(({LAST} > {NOW}) OR (NOT ({LAST} > {NOW})))", [LAST]),
    ],
)
def test_the_interval_goes_to_the_attributes_side(text: str, sql: str, moments: list[str]) -> None:
    condition = compile_condition(text, ATTRIBUTES)
    assert (condition.sql, list(condition.moments)) == (sql, moments)


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("contains(tags, 'vip')", "list_contains(\"attribute:tags\", 'vip')"),
        ("list_contains(tags, country)", 'list_contains("attribute:tags", "attribute:country")'),
        ("length(tags) > 3", '(len("attribute:tags") > CAST(3 AS BIGINT))'),
        ("country in ('FR', 'DE')", "(\"attribute:country\" IN ('FR', 'DE'))"),
        ("vip", '"attribute:vip"'),
        ("null", "CAST(NULL AS BOOLEAN)"),
        ("coalesce(tags, null) is null", '(coalesce("attribute:tags", CAST(NULL AS VARCHAR[])) IS NULL)'),
    ],
)
def test_a_condition_asks_for_attributes(text: str, sql: str) -> None:
    assert compile_condition(text, ATTRIBUTES).sql == sql


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("orders", 0, "expected a condition, which is true or false, found integer"),
        ("tags = 'a'", 0, "cannot compare list(text) and text"),
        ("tags = tags", 0, "a list cannot be compared; ask contains(list, 'value')"),
        ("tags in (null)", 0, "a list cannot be compared; ask contains(list, 'value')"),
        ("concat(tags) = ''", 7, "concat() takes single values, found a list"),
        ("tags::text = ''", 0, "cannot cast list(text) to text"),
        ("country > 5", 0, "cannot compare text and integer; cast attribute 'country', or declare the type of its column"),
        ("'a' in tags", 0, "expected values in brackets after `in`; of a list, ask contains(list, 'value')"),
        ("extract(day from now()) = 1", 26, RULE),
        ("tags is distinct from tags", 0, "a list cannot be compared; ask contains(list, 'value')"),
        ("last_order_at is distinct from now()", 0, "a time equals now() for a microsecond; compare with < or >"),
        ("last_order_at = now()", 0, "a time equals now() for a microsecond; compare with < or >"),
        ("last_order_at > now() - last_order_at", 16, RULE),
        ("last_order_at > now() - orders", 16, RULE),
        ("last_order_at > now() - interval 1 day - interval 1 day", 16, RULE),
        ("last_order_at - interval 1 day > now()", 0, RULE),
        ("date_trunc('day', last_order_at) > now()", 0, RULE),
        ("now() > now()", 0, RULE),
        ("now() > '2026-01-01'", 8, RULE),
        ("now()", 0, RULE),
        ("last_order_at in (now())", 18, RULE),
        ("extract(year from now()) > 2025", 27, RULE),
        ("spent > now()", 0, "cannot compare now() with decimal(38,2)"),
        ("last_order_at > current_date", 0, "of the current time there is only now(), and it can stand only in the `where` of an Audience"),
        ("last_order_at < now() - interval 2000000 day", 0, "an interval is at most 1,000 years"),
        (
            "last_order_at < now() - interval orders day", 33,
            "expected an interval such as `interval 90 day`, in one of year, quarter, month, week, day, hour, minute, second",
        ),
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_in_words_that_help(text: str, offset: int, message: str) -> None:
    with pytest.raises(BadExpression) as error:
        compile_condition(text, ATTRIBUTES)
    assert (error.value.message, error.value.offset) == (message, offset)


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("orders > 1 and spnt > 10", 15, "there is no attribute 'spnt'; did you mean 'spent'?"),
        ('country = "FR"', 10, "there is no attribute 'FR'; a text stands in single quotes"),
        ('country = "ordrs"', 10, "there is no attribute 'ordrs'; a text stands in single quotes"),
        ("colour = 'red'", 0, "there is no attribute 'colour'"),
    ],
)
def test_an_attribute_that_nothing_declares_is_refused(text: str, offset: int, message: str) -> None:
    with pytest.raises(UnknownAttribute) as error:
        compile_condition(text, ATTRIBUTES)
    assert (error.value.message, error.value.offset) == (message, offset)


def test_where_no_stream_declares_an_attribute_it_says_so() -> None:
    with pytest.raises(UnknownAttribute, match="there is no attribute 'spent'; no Stream declares any"):
        compile_condition("spent > 1", {})
