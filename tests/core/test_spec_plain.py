"""Reading a document without its model gives what the model gives, or nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core import spec_plain
from reconciler.core.document import Document
from reconciler.core.spec import MODELS, document

DEFAULTS = {"prefix": "", "header": True, "maxRejects": 0, "tags": []}

JOB: dict[str, Any] = {
    "apiVersion": "reconciler/v1",
    "kind": "Job",
    "metadata": {
        "name": "import-orders",
        "title": "Orders",
        "description": "a\nb",
        "labels": {"team": "growth", "a/b": ""},
        "renamedFrom": "orders",
    },
    "spec": {
        "provider": "s3",
        "jobType": "import-csv",
        "authorization": "main-aws",
        "schedule": {"cron": "0 3 * * mon", "timezone": "Europe/Paris"},
        "suspend": True,
        "rerun": 7,
        "restart": "again",
        "timeout": "2h",
        "retry": {"initial": "30s", "factor": 3, "max": "40m", "jitter": 0.5, "failAfter": "1d"},
        "dependsOn": ["b", "a"],
        "deletionPolicy": "protect",
        "config": {"z": {"y": 1, "x": [1, {"b": 1, "a": 2}]}, "prefix": "", "header": 1, "maxRejects": 0, "tags": []},
    },
}
AUTHORIZATION: dict[str, Any] = {
    "apiVersion": "reconciler/v1",
    "kind": "Authorization",
    "metadata": {"name": "main-aws"},
    "spec": {
        "provider": "s3",
        "method": "access-key",
        "credentials": {"b": {"file": "/run/x"}, "a": {"env": "A"}, "c": {"exec": ["pass", "show"]}},
    },
}
STREAM: dict[str, Any] = {
    "apiVersion": "reconciler/v1",
    "kind": "Stream",
    "metadata": {"name": "orders"},
    "spec": {
        "columns": {"b": "DECIMAL(12, 2)", "a": "timestamp"},
        "timestamp": {"field": "iso8601", "format": "epoch_s"},
    },
}
AUDIENCE: dict[str, Any] = {
    "apiVersion": "reconciler/v1",
    "kind": "Audience",
    "metadata": {"name": "everyone"},
    "spec": {"where": "true"},
}

#: What may stand anywhere: values that some field takes, and values that none does.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 100, 101, 1.0, 0.5, -0.5, 1e9, float("nan"), float("inf"), 2**70, "", "a", "a-b", "A", "-a", "a" * 64,
    "a" * 201, "a\nb", "a\x00b", "1h", "30s", "0s", "0ms", "1ms", "5", "10y", "8d", "3661d", "40m", "delete", "orphan", "iso8601", "epoch_ms", "%d.%m.%Y",
    "UTC", "Europe/Paris", "Nowhere/At/All", "* * * * *", "@daily", "61 * * * *", "reconciler/v1", "Job", "Stream", "decimal(3,4)",
    "decimal(4,3)", "text", [], ["a"], ["a", "a"], ["import-orders"], ["b", "a"], [1], [""], {}, {"a": "b"}, {"a": 1}, {"A b": "c"},
    {"every": "1h"}, {"every": 60}, {"once": True}, {"once": False}, {"continuous": True}, {"afterDependencies": True}, {"cron": "0 3 * * *"},
    {"every": "1h", "once": True}, {"every": "1h", "timezone": "UTC"}, {"initial": "1h"}, {"max": "1s"}, {"factor": 2}, {"factor": True},
    {"jitter": 0.2}, {"jitter": 2}, {"failAfter": "10h"}, {"env": "A"}, {"env": "A", "file": "b"}, {"file": ""}, {"exec": []}, {"exec": ["a"]},
    {"field": "a"}, {"field": "a", "format": "iso8601"}, {"field": "a", "format": "b"}, {"a": {"env": "A"}}, {"a": "date"}, {"a": "Date"},
    {"from": "22:00", "to": "06:00"}, {"maxMessages": 5}, "live", "backfill", "2027-06-30T00:00:00Z", {f"l{number}": "a" for number in range(65)},
    [f"a{number}" for number in range(65)],
)  # fmt: skip
FIELDS: dict[str, tuple[str, ...]] = {
    "": ("apiVersion", "kind", "metadata", "spec", "other"),
    "metadata": ("name", "title", "description", "labels", "renamedFrom", "other"),
    "spec": (
        "provider", "jobType", "authorization", "schedule", "suspend", "rerun", "restart", "timeout", "retry", "dependsOn", "deletionPolicy",
        "config", "quiet", "expiresAt", "lane", "backfill", "method", "credentials", "columns", "timestamp", "identity", "attributes", "where", "other",
    ),
}  # fmt: skip


def by_model(raw: dict[str, Any]) -> Document | None:
    try:
        read = MODELS[raw["kind"]].model_validate(raw)
    except (ValueError, KeyError, TypeError):
        return None
    return document(read, path="a.yaml", ordinal=1, line=2, config_defaults=DEFAULTS if raw["kind"] == "Job" else {})


def plainly(raw: dict[str, Any]) -> Document | None:
    defaults = DEFAULTS if raw["kind"] == "Job" else {}
    try:
        return spec_plain.read(raw, path="a.yaml", ordinal=1, line=2, defaults=defaults)
    except ValueError:
        return None


def holds(raw: dict[str, Any]) -> bool:
    plain = plainly(deepcopy(raw))
    if plain is not None:
        expected = by_model(raw)
        assert repr(plain) == repr(expected)  # the order of keys, and True is not 1
    return plain is not None


@pytest.mark.parametrize("raw", [JOB, AUTHORIZATION, STREAM, AUDIENCE], ids=lambda raw: str(raw["kind"]))
def test_a_whole_document_is_read_as_its_model_reads_it(raw: dict[str, Any]) -> None:
    assert holds(raw)


def _edited(raw: dict[str, Any], edits: list[tuple[str, int, Any, bool]]) -> dict[str, Any]:
    made = deepcopy(raw)
    for where, index, value, gone in edits:
        inner = made if not where else made.get(where)
        if isinstance(inner, dict):
            name = FIELDS[where][index % len(FIELDS[where])]
            if gone:
                inner.pop(name, None)
            else:
                inner[name] = deepcopy(value)
    return made


EDITS = st.tuples(
    st.sampled_from(("", "metadata", "spec", "spec", "spec")),
    st.integers(0, 100),
    st.sampled_from(VALUES),
    st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from((JOB, JOB, AUTHORIZATION, STREAM, AUDIENCE)),
    st.lists(st.lists(EDITS, min_size=1, max_size=3), min_size=6, max_size=6),
)
def test_of_edited_documents_nothing_is_read_that_the_model_refuses_or_reads_otherwise(
    raw: dict[str, Any], batches: list[list[tuple[str, int, Any, bool]]]
) -> None:
    for edits in batches:
        made = _edited(raw, edits)
        if isinstance(made.get("kind"), str):
            holds(made)


def _each() -> Iterator[tuple[dict[str, Any], str, str]]:
    for raw in (JOB, AUTHORIZATION, STREAM, AUDIENCE):
        for where, names in FIELDS.items():
            for name in names:
                yield raw, where, name


def test_every_value_at_every_field_is_read_as_the_model_reads_it() -> None:
    read = 0
    for raw, where, name in _each():
        for value in VALUES:
            made = deepcopy(raw)
            inner = made if not where else made[where]
            inner[name] = value
            if isinstance(made.get("kind"), str):
                read += holds(made)
    assert read > 500


def test_every_value_at_every_field_of_what_is_inside_is_read_as_the_model_reads_it() -> None:
    for raw, where in ((JOB, "retry"), (JOB, "schedule"), (STREAM, "timestamp"), (AUTHORIZATION, "credentials")):
        for name in (*raw["spec"][where], "every", "once", "other"):
            for value in VALUES:
                made = deepcopy(raw)
                made["spec"][where][name] = value
                holds(made)


def test_what_only_a_model_knows_is_left_to_it() -> None:
    for name, value in (
        ("lane", "live"),
        ("expiresAt", "2027-06-30T00:00:00Z"),
        ("quiet", {"from": "22:00", "to": "06:00"}),
    ):
        made = deepcopy(JOB)
        made["spec"][name] = value
        assert plainly(made) is None
        assert by_model(made) is not None


def test_it_imports_no_model() -> None:
    code = "import sys, reconciler.core.spec_plain; print(sorted({'pydantic', 'pydantic_core'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
