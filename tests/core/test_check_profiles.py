"""The rules across files for attributes and audiences."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from reconciler.core.check import check
from reconciler.core.document import Document
from reconciler.core.provider import Provider
from tests.specs import CATALOGUE, job_type

WHO = [{"from": "email", "key": "email"}]


def stream(name: str, columns: dict[str, str] | None = None, **attributes: Any) -> Document:
    spec = {"attributes": attributes, "columns": columns or {}, "identity": WHO}
    return Document(kind="Stream", name=name, path=f"{name}.yaml", spec=spec)


def audience(where: str, name: str = "best") -> Document:
    return Document(kind="Audience", name=name, path="audiences.yaml", spec={"where": where})


def messages(*documents: Document, **known: Any) -> list[str]:
    return [str(one) for one in check(documents, CATALOGUE, **known)]


ORDERS = stream("orders", {"amount": "decimal(12,2)", "at": "timestamp"}, spent={"from": "amount", "merge": "sum"})


def test_an_attribute_that_streams_declare_alike_is_one() -> None:
    again = stream("returns", {"lost": "decimal(9,2)"}, spent={"expr": "-lost", "merge": "sum"})
    assert messages(ORDERS, again, audience("spent > 10")) == []


def test_an_attribute_is_merged_one_way_on_all_streams() -> None:
    assert messages(ORDERS, stream("returns", spent={"from": "lost"})) == [
        "orders.yaml:1:1: error: spec.attributes.spent: expected one merge on all streams, found sum here and latest in "
        "Stream 'returns' (returns.yaml:1)",
        "returns.yaml:1:1: error: spec.attributes.spent: expected one merge on all streams, found latest here and sum in "
        "Stream 'orders' (orders.yaml:1)",
    ]


def test_an_attribute_has_one_type_on_all_streams() -> None:
    assert messages(ORDERS, stream("returns", {"n": "integer"}, spent={"from": "n", "merge": "sum"})) == [
        "orders.yaml:1:1: error: spec.attributes.spent: expected one type on all streams, found decimal(38,2) here and "
        "decimal(38,0) in Stream 'returns' (returns.yaml:1); cast it",
        "returns.yaml:1:1: error: spec.attributes.spent: expected one type on all streams, found decimal(38,0) here and "
        "decimal(38,2) in Stream 'orders' (orders.yaml:1); cast it",
    ]


def test_a_key_may_have_another_limit_on_each_stream() -> None:
    other = Document(kind="Stream", name="b", path="b.yaml", spec={"identity": [WHO[0] | {"maxPerKey": 5}]})
    assert messages(ORDERS, other) == []


def test_an_audience_asks_for_attributes_that_are_declared() -> None:
    assert messages(ORDERS, audience("spent > 10 and spnt < 5")) == [
        "audiences.yaml:1:1: error: spec.where: there is no attribute 'spnt'; did you mean 'spent'? (at character 16)"
    ]
    assert messages(ORDERS, audience("spent > 10 and email like '%.org'")) == [
        "audiences.yaml:1:1: error: spec.where: there is no attribute 'email', only an identity key; declare one from column "
        "'email' (at character 16)"
    ]
    assert messages(audience("spent > 10")) == [
        "audiences.yaml:1:1: error: spec.where: there is no attribute 'spent'; no Stream declares any"
    ]


def test_an_audience_is_judged_by_the_types_of_attributes() -> None:
    assert messages(ORDERS, audience("spent")) == [
        "audiences.yaml:1:1: error: spec.where: expected a condition, which is true or false, found decimal(38,2)"
    ]


def test_a_stream_that_is_invalid_may_declare_what_an_audience_misses() -> None:
    broken = {("Stream", "returns")}
    assert messages(ORDERS, audience("lost > 10"), broken=broken) == []
    assert len(messages(ORDERS, audience("spent"), broken=broken)) == 1
    assert len(messages(ORDERS, audience("lost > 10"), broken={("Job", "returns")})) == 1


def test_what_the_record_keeps_of_a_stream_can_be_asked_for() -> None:
    kept = [stream("returns", lost={"from": "lost"})]
    assert messages(ORDERS, audience("lost = 'a'"), kept=kept, broken={("Stream", "returns")}) == []
    assert len(messages(ORDERS, audience("lots = 'a'"), kept=kept, broken={("Stream", "returns")})) == 1
    assert len(messages(stream("returns"), audience("lost = 'a'"), kept=kept)) == 1


def test_what_was_kept_from_before_a_rule_declares_nothing() -> None:
    kept = [stream("returns", lost={"expr": "old_function(x)"})]
    assert messages(audience("lost = 'a'"), kept=kept) == [
        "audiences.yaml:1:1: error: spec.where: there is no attribute 'lost'; no Stream declares any"
    ]


@pytest.mark.parametrize(("name", "expected"), [("best", []), ("bets", ["; did you mean 'best'?"]), ("x-y-z", [""])])
def test_a_job_names_a_declared_audience(name: str, expected: list[str]) -> None:
    schema = {"type": "object", "properties": {"audience": {"type": "string", "x-audience": "reads"}}}
    hook = Provider(name="hook", title="Hook", job_types=(job_type("export-audience", schema, type="export"),))
    spec = {"provider": "hook", "jobType": "export-audience", "config": {"audience": name}}
    job = Document(kind="Job", name="out", path="out.yaml", spec=spec)
    found = [str(one) for one in check([job, audience("true")], {"hook": hook})]
    assert found == [f"out.yaml:1:1: error: spec.config.audience: unknown audience '{name}'{hint}" for hint in expected]


def test_jobs_and_streams_without_attributes_are_checked_without_a_parser() -> None:
    program = (
        "import sys\n"
        "from reconciler.core.check import check\n"
        "from reconciler.core.document import Document\n"
        "from tests.core.test_check_profiles import ORDERS, stream\n"
        "assert check([Document(kind='Stream', name='a', path='a'), ORDERS, stream('b', x={'from': 'x'})], {}) == []\n"
        "assert 'sqlglot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
