"""The fields of an export of an audience are checked before anything is merged."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.core.check import check
from reconciler.core.document import Document
from reconciler.providers import catalogue

ORDERS = Document(
    kind="Stream", name="orders", path="streams.yaml",
    spec={"identity": [{"key": "email", "from": "email"}, {"key": "phone", "from": "phone"}],
          "attributes": {"spent": {"from": "spent"}, "phone": {"from": "phone"}}},
)  # fmt: skip
EVERYONE = Document(kind="Audience", name="everyone", path="streams.yaml", line=9, spec={"where": "true"})


def export(**field: Any) -> Document:
    config = {"audience": "everyone", "url": "https://crm.example/", "fields": {"it": field, "who": {"from": "email"}}}
    spec = {"provider": "http", "jobType": "export-audience", "config": config}
    return Document(kind="Job", name="crm", path="jobs.yaml", spec=spec)


def said(*documents: Document, **known: Any) -> list[str]:
    return [str(one) for one in check([ORDERS, EVERYONE, *documents], catalogue(), **known)]


@pytest.mark.parametrize("source", ["spent", "email", "key:phone", "attribute:phone", "profile-id"])
def test_a_field_comes_from_an_attribute_a_key_or_the_profile_itself(source: str) -> None:
    assert said(export(**{"from": source, "transform": ["trim", "meta@1.phone(DE)"]})) == []


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"from": "spend"}, "from: there is no attribute or identity key 'spend'; did you mean 'spent'?"),
        ({"from": "key:spent"}, "from: there is no identity key 'spent'"),
        ({"from": "attribute:emial"}, "from: there is no attribute 'emial'"),
        ({"from": "phone"}, "from: 'phone' is an attribute and an identity key; write attribute:phone or key:phone"),
        ({"from": "spent", "transform": ["trm"]}, "transform: unknown transform 'trm'; did you mean 'trim'?"),
    ],
)
def test_what_leads_nowhere_is_told_at_its_place(field: dict[str, Any], message: str) -> None:
    assert said(export(**field)) == [f"jobs.yaml:1:1: error: spec.config.fields.it.{message}"]


def test_a_stream_that_is_invalid_may_declare_what_is_missing() -> None:
    assert said(export(**{"from": "other"}), broken=[("Stream", "visits")]) == []


@pytest.mark.parametrize(
    "field", [{"from": "spent"}, {"from": "attribute:phone"}, {"from": "email", "identifier": False}]
)
def test_some_field_must_identify_the_members(field: dict[str, Any]) -> None:
    job = export(**field)
    del job.spec["config"]["fields"]["who"]
    assert said(job) == [
        "jobs.yaml:1:1: error: spec.config.fields: no field identifies a member: take one from an identity key, or mark "
        "one with `identifier: true`"
    ]


@pytest.mark.parametrize(
    "field", [{"from": "email"}, {"from": "key:phone"}, {"from": "profile-id"}, {"from": "spent", "identifier": True}]
)
def test_a_field_identifies_by_where_it_comes_from_or_by_what_it_says(field: dict[str, Any]) -> None:
    job = export(**field)
    del job.spec["config"]["fields"]["who"]
    assert said(job) == []
