"""What a provider of ours says of itself before its code is loaded is what its code says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler import providers
from reconciler.core.issue import MAX_SHOWN
from reconciler.providers import files, http
from reconciler.providers.shipped import MADE_BY, later, render, schemas

HERE = Path(providers.__path__[0])


@pytest.mark.parametrize("name", sorted(MADE_BY))
def test_the_schemas_beside_a_provider_are_those_of_its_models(name: str) -> None:
    written = (HERE / name / "schemas.json").read_text(encoding="utf-8")
    assert written == render(name), "write them anew: python -m reconciler.providers.shipped"


def test_every_pattern_says_in_words_what_it_asks_for() -> None:
    def patterns(schema: Any) -> Iterator[Mapping[str, Any]]:
        inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        if isinstance(schema, dict) and isinstance(schema.get("pattern"), str):
            yield schema
        for one in inner:
            yield from patterns(one)

    for name in MADE_BY:
        for one in patterns(schemas(name)):
            assert 0 < len(one.get("x-expected", "")) <= MAX_SHOWN, one


def test_every_job_type_has_its_schema_and_its_functions() -> None:
    from reconciler.errors import Fatal

    for provider in (files.PROVIDER, http.PROVIDER):
        assert [one.name for one in provider.job_types] == list(MADE_BY[provider.name])
        for one in provider.job_types:
            with pytest.raises(ValueError, match="validation error"):
                one.config({"nothing": "known"})
            with pytest.raises((AttributeError, Fatal)):  # it is there, and has no context
                list(one.run(None))  # type: ignore[arg-type]


def test_what_comes_later_is_imported_when_it_is_called() -> None:
    assert later("files.config:ImportCsv.model_validate")({"path": "a", "stream": "b"}).stream == "b"


def test_the_catalogue_imports_no_model_and_looks_for_no_distribution_that_ships_none() -> None:
    code = (
        "import sys; from reconciler.providers import catalogue; print(sorted(catalogue()));"
        "print(sorted({'pydantic', 'pydantic_core', 'httpx', 'duckdb', 'pyarrow', 'importlib.metadata'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "['collect', 'files', 'http']\n[]\n"
