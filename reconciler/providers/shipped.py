"""What a provider of ours says of itself without loading its code: schemas from a file, functions by their place.

Every command that reads a spec asks the catalogue, and few run anything. The models of a provider's configs are the source
of truth; `schemas.json` beside each provider is made of them, and a test holds the two equal. It is written anew by

    python -m reconciler.providers.shipped
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

_HERE: Final = Path(__file__).parent

#: Where the schema of each job type's config is made, by provider: `module:function` or `module:model` below the provider.
MADE_BY: Final[Mapping[str, Mapping[str, str]]] = {
    "files": {
        "import-csv": "config:ImportCsv",
        "import-ndjson": "config:ImportNdjson",
        "import-parquet": "config:ImportParquet",
        "export-csv": "config:ExportCsv",
        "export-ndjson": "config:ExportNdjson",
        "export-parquet": "config:ExportParquet",
        "export-audience": "audience_config:audience_schema",
        "enrich-join": "enrich_config:enrich_schema",
    },
    "http": {
        "import-json": "config:ImportJson",
        "export-webhook": "config:ExportWebhook",
        "export-audience": "config:ExportAudience",
        "enrich-lookup": "enrich_config:lookup_schema",
    },
}


def later(place: str) -> Callable[..., Any]:
    """The function at `module:attribute` below the providers, whose module is imported when it is called."""
    module, _, attribute = place.partition(":")

    def call(*arguments: Any) -> Any:
        found: Any = importlib.import_module(f"{__package__}.{module}")
        for name in attribute.split("."):
            found = getattr(found, name)
        return found(*arguments)

    return call


def schemas(provider: str) -> dict[str, dict[str, Any]]:
    """The JSON Schema of each job type's config, as it was written."""
    found: dict[str, dict[str, Any]] = json.loads((_HERE / provider / "schemas.json").read_text(encoding="utf-8"))
    return found


def render(provider: str) -> str:
    """The text of a provider's `schemas.json`, made of its models."""
    from reconciler.providers.schemas import in_words

    made = {name: in_words(_made(provider, place)) for name, place in MADE_BY[provider].items()}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _made(provider: str, place: str) -> dict[str, Any]:
    module, _, name = place.partition(":")
    loaded: Any = importlib.import_module(f"{__package__}.{provider}.{module}")
    maker = getattr(loaded, name)
    if not isinstance(maker, type):
        schema: dict[str, Any] = maker()
    else:
        schema = loaded.schema_of(maker)
    return schema


if __name__ == "__main__":
    for name in MADE_BY:
        (_HERE / name / "schemas.json").write_text(render(name), encoding="utf-8")
