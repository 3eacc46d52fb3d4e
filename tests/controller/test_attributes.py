"""A changed Stream or Audience has the rules between them looked at again, and only what breaks them is held."""

from __future__ import annotations

from tests.controller.conftest import STREAM, Shop

CUSTOMERS = (
    "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: customers}\nspec:\n"
    "  identity: [{key: email, from: email}]\n  attributes: {city: {from: city}}\n"
)
AUDIENCE = "apiVersion: reconciler/v1\nkind: Audience\nmetadata: {name: local}\nspec:\n  where: city = 'Bonn'\n"


def problems(shop: Shop) -> list[str]:
    shop.go()
    return [str(one) for one in shop.read(lambda record: record.desired.problems())]


def test_a_stream_that_loses_an_attribute_makes_the_audience_invalid_that_asks_for_it(shop: Shop) -> None:
    customers, audience = shop.root / "customers.yaml", shop.root / "local.yaml"
    customers.write_text(CUSTOMERS)
    audience.write_text(AUDIENCE)
    assert problems(shop) == []
    customers.write_text(CUSTOMERS.replace("{city: {from: city}}", "{town: {from: city}}"))
    assert problems(shop) == ["local.yaml:5:10: error: spec.where: there is no attribute 'city'"]
    audience.write_text(AUDIENCE.replace("city =", "1 = 1 and twon ="))
    assert problems(shop) == ["local.yaml:5:20: error: spec.where: there is no attribute 'twon'; did you mean 'town'?"]
    audience.write_text(AUDIENCE.replace("city", "town"))
    assert problems(shop) == []
    audience.write_text(AUDIENCE.replace("city = 'Bonn'", "town > 5"))
    assert problems(shop) == [
        "local.yaml:5:10: error: spec.where: cannot compare text and integer; cast attribute 'town', or declare the type "
        "of its column"
    ]


def test_a_changed_column_changes_the_type_of_what_is_read_from_it(shop: Shop) -> None:
    customers = shop.root / "customers.yaml"
    customers.write_text(CUSTOMERS)
    (shop.root / "local.yaml").write_text(AUDIENCE)
    assert problems(shop) == []
    customers.write_text(CUSTOMERS.replace("spec:\n", "spec:\n  columns: {city: integer}\n"))
    assert problems(shop) == ["local.yaml:5:10: error: spec.where: cannot compare integer and text"]


def test_a_stream_that_cannot_be_read_takes_nothing_from_an_audience(shop: Shop) -> None:
    customers = shop.root / "customers.yaml"
    customers.write_text(CUSTOMERS)
    (shop.root / "local.yaml").write_text(AUDIENCE)
    assert problems(shop) == []
    customers.write_text(CUSTOMERS.replace("from: city", "expr: city +"))
    assert problems(shop) == [
        "customers.yaml:6:34: error: spec.attributes.city.expr: something is missing near '+'",
    ]
    assert STREAM in (shop.root / "stream.yaml").read_text()
