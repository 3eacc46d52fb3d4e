"""Where in a job's config a schema's annotation applies (`x-stream`, `x-resetsCursor`), as paths of property names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

#: Annotations are looked for in properties within properties down to here.
MAX_DEPTH: Final = 8


def annotated(schema: Mapping[str, Any], annotation: str) -> Iterator[tuple[str, ...]]:
    """The properties whose schemas carry `annotation` with anything but false, in nested objects too."""
    return (path for path, found in _properties(schema, ()) if found.get(annotation, False) is not False)


def stream_paths(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The properties that name a declared Stream."""
    return annotated(schema, "x-stream")


def _properties(
    schema: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    properties = schema.get("properties", {})
    if len(path) >= MAX_DEPTH or not isinstance(properties, Mapping):
        return
    for name, one in properties.items():
        if isinstance(one, Mapping):
            yield (*path, name), one
            yield from _properties(one, (*path, name))


def value_at(config: Any, path: tuple[str | int, ...]) -> Any:
    """The value at a path of a config; None where there is none."""
    for part in path:
        if not isinstance(config, Mapping) or part not in config:
            return None
        config = config[part]
    return config
