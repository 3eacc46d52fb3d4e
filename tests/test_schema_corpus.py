"""The schemas never refuse what `validate` accepts: over all that ships, and over specs made of it at random.

The converse does not hold, and the README says so: names that others declare, cron, time zones, SQL are `validate`'s alone.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest

from reconciler.core.document import KINDS
from reconciler.core.schema import json_schema, spec_schema
from reconciler.providers import collect, files, http
from reconciler.repo.parse import parse_file
from tests.test_schemas import fields

REPOSITORY: Final = Path(__file__).parents[1]
CATALOGUE: Final = {one.PROVIDER.name: one.PROVIDER for one in (collect, files, http)}
SEED: Final = 20_261_128
DOCUMENTS: Final = int(os.environ.get("RECONCILE_SPECS", "4000"))

#: Values at the edges of what the fields take, and beyond them, by the field's name; the others are the schemas' own.
EDGES: Final[Mapping[str, list[Any]]] = {
    "name": ["a", "a" * 63, "a" * 64, "-a", "A"],
    "title": ["", "é" * 200, "two\nlines"],
    "description": ["", "two\nlines\tand a tab"],
    "labels": [{}, {"a/b.c-d_e": ""}, {"x" * 100: "y" * 200}, {"-": "x"}],
    "every": ["1ms", "1w2d3h4m5s6ms", "3660d", "0s", "1h 30m", 5],
    "timeout": ["007s", "90m"],
    "failAfter": ["0s", "0w", "10h"],
    "cron": ["@daily", "*/5 * * * mon-fri", "0  3 * * *", "61 * * * *"],
    "timezone": ["UTC", "America/Argentina/Buenos_Aires", "Nowhere"],
    "rerun": ["", 0, -5, "x" * 200, True, 1.5],
    "restart": [12_345_678_901_234_567_890, "ä"],
    "expiresAt": ["2027-06-30T00:00Z", "2027-06-30t00:00:00.123456+05:30", "2027-06-30 00:00:00z", "2027-02-30T00:00Z"],
    "dependsOn": [[], ["a", "b"]],
    "factor": [1, 1.0, 100, 0.5],
    "jitter": [0, 1, 0.25],
    "from": ["00:00", "23:59", "24:00", "a" * 256, "attribute:x", "key:email", "profile-id"],
    "columns": [{}, {"a": "TEXT", "b": "Decimal( 38 , 0 )", "c": "VarChar"}, {"ä ö": "DateTime"}, ["a"], {"a": "blob"}],
    "merge": ["set", "any"],
    "maxPerKey": [1, 1_000_000],
    "credentials": [{}, {"token": {"exec": ["a b", "-"]}}, {"token": {"env": "A", "file": "b"}}, {"token": {}}],
    "url": ["http://127.0.0.1:1/x?y=z", "https://ä.example", "https://user@example.com", "https://example.com/{value}"],
    "headers": [{}, {"X-A": "b c"}, {"Host": "x"}],
    "params": [{"a": 1, "b": True, "c": "d", "e": 1.5}],
    "pagination": [{"type": "link"}, {"type": "cursor", "cursorPath": "a"}, {"type": "page", "size": 5}],
    "where": ["true", "spent > 1"],
    "transform": [["e164(DE)"], ["meta@1.email"]],
    "guard": [{}, {"maxRemovePercent": 0.5}],
    "config": [{}],
    "attributes": [{}, {"n": {"merge": "count"}}, {"n": {"merge": "sum"}}, {"n": {"from": "a", "expr": "b"}}],
    "identity": [[], [{"key": "a", "from": "b"}, {"key": "a", "from": "c"}]],
    "suspend": [True, "no"],
    "lane": ["backfill"],
    "backfill": [{}, {"maxMessages": 1}, True],
    "schedule": [{"continuous": True}, {"once": True}, {"once": False}, {"cron": "0 3 * * *", "timezone": "UTC"}],
}  # fmt: skip
ODD: Final = [None, "", 0, [], {}, True, "x"]


def shipped() -> Iterator[tuple[str, str]]:
    """Every file of specs in the repository, and every one that the README shows."""
    for folder in ("jobs.d", "examples"):
        for path in sorted((REPOSITORY / folder).rglob("*.yaml")):
            if not path.name.endswith(".status.yaml"):
                yield str(path.relative_to(REPOSITORY)), path.read_text(encoding="utf-8")
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)):
        if "apiVersion: reconciler/v1" in block:
            yield f"README.md, block {number}", block


def documents(text: str) -> list[Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Only the JSON types: a date stays a text."""

    Loader.yaml_implicit_resolvers = {
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return [one for one in yaml.load_all(text, Loader) if one is not None]


@cache
def validators() -> Mapping[str, Any]:
    schemas = {kind: json_schema(kind, CATALOGUE) for kind in KINDS} | {"": spec_schema(CATALOGUE)}
    return {kind: jsonschema_rs.Draft7Validator(schema) for kind, schema in schemas.items()}


def refusals(document: Any) -> list[str]:
    """What the schema of the document's kind, and that of all kinds, say against it."""
    return [
        f"{error.instance_path}: {error.message}"
        for one in (document["kind"], "")
        for error in validators()[one].iter_errors(document)
    ]


def is_accepted(document: Any) -> bool:
    text = json.dumps(document, ensure_ascii=False)
    return not parse_file("a.yaml", text.encode(), CATALOGUE).problems


@pytest.mark.parametrize(("name", "text"), list(shipped()), ids=lambda one: one if "\n" not in one else "")
def test_what_ships_is_valid_by_the_schemas(name: str, text: str) -> None:
    for document in documents(text):
        assert is_accepted(document), name
        assert not refusals(document), name


def known_values() -> Mapping[str, list[Any]]:
    """What the schemas themselves show of each field, by its name."""
    values: dict[str, list[Any]] = {name: list(some) for name, some in EDGES.items()}
    for kind in KINDS:
        for path, field in fields(json_schema(kind, CATALOGUE), kind):
            some = values.setdefault(path.rpartition(".")[2], [])
            some += [
                *field.get("examples", ()),
                *field.get("enum", ()),
                *(field[one] for one in ("default", "const") if one in field),
            ]
    return values


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for one in value.values():
            yield from mappings(one)
    elif isinstance(value, list):
        for one in value:
            yield from mappings(one)


def changed(chance: random.Random, base: Any, values: Mapping[str, list[Any]], names: list[str]) -> Any:
    """One to three fields put in, put otherwise, or taken out; four times in five what a schema knows there."""
    document = copy.deepcopy(base)
    for _ in range(chance.randint(1, 3)):
        held = chance.choice(list(mappings(document)))
        name = chance.choice([*held] * 4 + [chance.choice(names)])
        if name == "kind":
            continue
        if chance.random() < 0.1:
            held.pop(name, None)
        else:
            held[name] = copy.deepcopy(chance.choice(values.get(name) or ODD if chance.random() < 0.9 else ODD))
    return document


def test_what_validate_accepts_the_schemas_accept_in_a_corpus_made_at_random() -> None:
    chance, values = random.Random(SEED), known_values()
    bases, names = [one for _, text in shipped() for one in documents(text)], sorted(values)
    accepted = refused = 0
    for number in range(DOCUMENTS):
        document = changed(chance, chance.choice(bases), values, names)
        if is_accepted(document):
            accepted += 1
            assert not refusals(document), f"document {number} of seed {SEED}: {json.dumps(document)}"
        elif refusals(document):
            refused += 1
    assert accepted > DOCUMENTS / 5, "the corpus says little: too few of its documents are valid"
    assert refused > DOCUMENTS / 5, "the schemas say little: too few of the invalid ones are refused"
