"""Configs that are read without their models: the same fields, the same values, the same errors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import jsonschema_rs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reconciler.core.document import digest_of
from reconciler.providers import files, http
from reconciler.providers.files import config as files_models
from reconciler.providers.http import config as http_models
from reconciler.providers.plain import NotPlain, PlainConfig, plain

READ: Final = {
    (provider.name, one.name): one
    for provider in (files.PROVIDER, http.PROVIDER)
    for one in provider.job_types
    if isinstance(one.config, PlainConfig)
}
VALID: Final = {which: jsonschema_rs.validator_for(one.schema) for which, one in READ.items()}
TEXTS: Final = (
    "a", "orders", "é", "", "X-A", "iso8601", "%d/%m/%Y", "http://a.b/x?y=z", "https://a.b", "out/{run}.csv", ",", ";", "\t",
)  # fmt: skip
NUMBERS: Final = (0, 1, 5, 5.0, 60, 60.0, 599, 10_000, 1.5, -1, 1e300, 2**70)


def values(node: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What is valid in a field."""
    if "properties" in node:
        return configs(node)
    match node["type"]:
        case "array":
            return st.lists(values(node["items"]), min_size=1, max_size=3)
        case "object":
            of = node["additionalProperties"]
            return st.dictionaries(st.sampled_from(("X-A", "since", "b")), values(of), max_size=2)
        case _:
            takes = jsonschema_rs.validator_for(node)
            every = [*node.get("enum", ()), *TEXTS, *NUMBERS, True, False]
            return st.sampled_from([one for one in every if takes.is_valid(one)])


def configs(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    needed = {name: values(schema["properties"][name]) for name in schema.get("required", ())}
    others = {name: values(one) for name, one in schema["properties"].items() if name not in needed}
    return st.fixed_dictionaries(needed, optional=others)


def shown(value: Any) -> Any:
    """What tells 5 from 5.0 and from True, and a tuple from a list, however the fields are ordered."""
    if isinstance(value, dict):
        return sorted((name, shown(one)) for name, one in value.items())
    return type(value).__name__, [shown(one) for one in value] if isinstance(value, list | tuple) else repr(value)


def test_configs_of_what_moves_messages_are_read_without_their_models() -> None:
    kinds = ("csv", "ndjson", "parquet")
    moving = {("files", f"{way}-{kind}") for way in ("import", "export") for kind in kinds}
    assert set(READ) == moving | {("http", "import-json"), ("http", "export-webhook")}


@pytest.mark.parametrize("which", sorted(READ))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_the_schema_takes_is_read_as_the_model_reads_it(which: tuple[str, str], data: st.DataObject) -> None:
    job_type = READ[which]
    config = data.draw(configs(dict(job_type.schema)))
    assume(VALID[which].is_valid(config))  # any other goes to the model as it did
    try:
        read = plain(job_type.schema, config)
    except NotPlain:
        assert "1e+300" in str(config)
        return
    model = job_type.config(config)
    assert type(model).__module__ in (files_models.__name__, http_models.__name__), (
        "the model is loaded, and has read it"
    )
    assert shown(read.model_dump()) == shown(model.model_dump())
    assert digest_of(read.model_dump()) == digest_of(model.model_dump()), "cursors hold such digests"


ALONE: Final = """
import sys
from reconciler.providers import catalogue

webhook = catalogue()["http"].job_type("export-webhook").config
webhook.prepare()
one = webhook({"url": "https://a.b/x", "stream": "orders", "batchSize": 5.0, "signature": {}})
print(one.url, one.batch_size, one.signature.header, one.max_rejects, one.headers)
print("pydantic" in sys.modules)
try:
    webhook({"url": "https://a.b/x", "stream": "orders", "batchSize": 0})
except ValueError as error:
    print("pydantic" in sys.modules, str(error).splitlines()[0])
print(type(webhook({"url": "https://a.b/x", "stream": "orders"})).__name__)
"""


def test_a_model_is_loaded_where_a_config_is_refused_and_says_why() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "https://a.b/x 5 X-Signature None {}",
        "False",
        "True 1 validation error for ExportWebhook",
        "ExportWebhook",
    ]


def test_a_field_that_is_not_known_here_is_the_models_to_read() -> None:
    schema = {"type": "object", "properties": {"share": {"type": "number"}}}
    with pytest.raises(NotPlain, match="a field of type 'number'"):
        plain(schema, {"share": 1})
    config = PlainConfig(schema, "nowhere:Model")
    with pytest.raises(ModuleNotFoundError, match=r"reconciler\.providers\.nowhere"):
        config({"share": 1})
