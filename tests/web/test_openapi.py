"""The OpenAPI document that is served tells the truth: schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from reconciler.web.describe import DOCUMENT
from tests.web.served import TOKEN, Served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"]
QUICK: Any = settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)


@pytest.fixture(scope="module")
def operation(served: Served) -> Callable[[str, str], Any]:
    document = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    return lambda method, path: document[path][method]


@schemathesis.serializer("application/x-ndjson", "text/csv")
def as_it_is(_: Any, value: Any) -> Any:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else str(value).encode()


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in GenerationMode
        if method == "post" or mode is GenerationMode.POSITIVE  # a GET without parameters allows everything
    ],
)
def test_whatever_is_asked_is_answered_as_the_document_says(
    served: Served, operation: Callable[[str, str], Any], method: str, path: str, mode: GenerationMode
) -> None:
    served.look()  # however long the tests before it took
    one = operation(method, path)

    @given(case=one.as_strategy(generation_mode=mode))
    @QUICK
    def ask(case: Case) -> None:
        if "stream" in case.path_parameters and len(repr(case.body)) % 4:  # most of them reach the body
            case.path_parameters["stream"] = "orders"
        response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
        case.validate_response(response, checks=CHECKS)

    ask()


@pytest.mark.parametrize(("method", "path"), [one for one in OPERATIONS if one[0] == "post"])
def test_nothing_is_taken_without_a_token_and_by_no_other_method(
    operation: Callable[[str, str], Any], method: str, path: str
) -> None:
    case = operation(method, path).Case(
        path_parameters={"stream": "orders"}, body={"a": 1}, media_type="application/json"
    )
    response = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
    case.validate_response(response, checks=[ignored_auth])
    other = operation(method, path).Case(path_parameters={"stream": "orders"}, method="PATCH")
    other.validate_response(other.call(), checks=[unsupported_method])


def test_an_object_alone_is_a_bulk_body_too_and_the_document_says_so(served: Served) -> None:
    operation = served.client.get("/openapi.json").json()["paths"]["/collect/bulk/json/{stream}"]["post"]
    kinds = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [one["type"] for one in kinds] == ["object", "array"]
    assert served.post("/collect/bulk/json/orders?dryrun=true", b"{}").json() == {
        "dryrun": True,
        "messages": 1,
        "omitted": 0,
    }
