"""What is found valid without a library is what the library finds valid."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.core.config_schema import FEW, compile_schema
from reconciler.core.plain_schema import surely
from reconciler.providers import catalogue

CONFIG: dict[str, Any] = {"path": "data/orders-*.csv.gz", "stream": "orders", "delimiter": ",", "maxRejects": 3}


def shipped(provider: str, job_type: str) -> Mapping[str, Any]:
    found = catalogue()[provider].job_type(job_type)
    assert found is not None
    return found.schema


PATTERNS = [
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "^(iso8601|epoch_s|epoch_ms|[^%]*%.*)$", "^[\\t !#-&(-_a-~]$", "^[^*?\\[\\]]+$",
    "a|b", "^.$", "x+", "[", "(", "(?i)a", "a++", "[a--b]", "\\d", "\\.csv$", "a{2}", "é", "^a$b", "z-a", "[z-a]",
]  # fmt: skip
texts = st.one_of(
    st.sampled_from(
        ["", "a", "orders", "orders\n", "%d", "%", "aa", "é", ",", "\t", "a.csv", "x" * 64, "-", "epoch_s"]
    ),
    st.text(max_size=5),
)
numbers = st.one_of(st.integers(-3, 70), st.sampled_from([1.0, 2.5, 2**53, True, False]))
scalars = st.one_of(st.none(), texts, numbers)
notes = st.fixed_dictionaries(
    {},
    optional={
        "description": scalars,
        "examples": st.one_of(scalars, st.just(["a"])),
        "default": scalars,
        "x-path": scalars,
    },
)
plain = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "boolean", "number", "text", 1, ["string"]]),
            "minLength": numbers, "maxLength": numbers, "minimum": numbers, "maximum": numbers,
            "pattern": st.sampled_from(PATTERNS), "format": st.just("email"), "const": scalars,
            "enum": st.one_of(scalars, st.lists(scalars, max_size=3)),
        },
    ),
    st.sampled_from([True, False, None, {}]),
)  # fmt: skip
described = st.builds(lambda one, two: {**two, **one} if isinstance(one, dict) else one, plain, notes)
arrays = st.fixed_dictionaries(
    {"type": st.just("array")}, optional={"items": described, "minItems": numbers, "maxItems": numbers}
)
objects = st.fixed_dictionaries(
    {"properties": st.dictionaries(st.sampled_from("ab"), st.one_of(described, arrays), max_size=2)},
    optional={
        "type": st.sampled_from(["object", "array"]),
        "additionalProperties": st.sampled_from([True, False, None, {"type": "string"}]),
        "required": st.one_of(scalars, st.lists(st.sampled_from([*"abc", 1]), max_size=3)),
    },
)
values = st.dictionaries(
    st.sampled_from("abc"), st.one_of(scalars, st.lists(scalars, max_size=3), st.just({})), max_size=3
)


@settings(max_examples=400)
@example({"properties": {}, "type": "object"}, None)
@given(objects, st.one_of(values, scalars, st.lists(scalars, max_size=2)))
def test_what_is_surely_valid_the_library_finds_valid(schema: dict[str, Any], value: Any) -> None:
    found = surely(schema)
    if found is not None:
        decider = jsonschema_rs.Draft202012Validator(schema)  # a schema that cannot be used is declined
        if found(value):
            assert decider.is_valid(value)


@settings(max_examples=300)
@given(st.sampled_from(PATTERNS), texts)
def test_patterns_mean_the_same_to_both(pattern: str, text: str) -> None:
    schema = {"pattern": pattern}
    found = surely(schema)
    if found is not None and found(text):
        assert jsonschema_rs.Draft202012Validator(schema).is_valid(text)


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True), ({"stream": "Orders"}, False), ({"stream": "orders\n"}, False), ({"maxRejects": -1}, False),
        ({"maxRejects": True}, False), ({"columns": ["a", ""]}, False), ({"columns": ["a"]}, True),
        ({"compression": "gzip"}, True), ({"compression": "zip"}, False), ({"strem": "orders"}, False),
    ],
)  # fmt: skip
def test_a_config_of_a_shipped_job_type_is_decided_alike_without_the_library(
    change: dict[str, Any], valid: bool
) -> None:
    schema = shipped("files", "import-csv")
    found = surely(schema)
    assert found is not None
    config = {**CONFIG, **change}
    assert found(config) is valid
    assert [compile_schema(schema).is_valid(config) for _ in range(FEW + 2)] == [valid] * (FEW + 2)


def test_a_whole_number_that_is_written_as_a_fraction_is_for_the_library() -> None:
    schema = shipped("files", "import-csv")
    found = surely(schema)
    assert found is not None
    assert not found({**CONFIG, "maxRejects": 3.0})
    assert compile_schema(schema).is_valid({**CONFIG, "maxRejects": 3.0})


def test_the_library_is_loaded_for_many_configs_and_not_for_a_few() -> None:
    program = f"""
import sys
from reconciler.core.config_schema import FEW, compile_schema
from reconciler.providers import catalogue
one = compile_schema(catalogue()["files"].job_type("import-csv").schema)
for number in range(FEW):
    assert one.is_valid({CONFIG!r})
assert "jsonschema_rs" not in sys.modules
assert one.is_valid({CONFIG!r})
assert "jsonschema_rs" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
