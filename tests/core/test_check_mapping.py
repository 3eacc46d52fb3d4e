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
    config = {"audience": "everyone", "url": "https://crm.example/", "fields": {"it": field}}
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
