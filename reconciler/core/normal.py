"""A job's config in its one form: sorted, and without what equals its job type's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def without_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config says more than the defaults of its schema do; keys sorted, at every depth."""
    return {
        name: _sorted(config[name])
        for name in sorted(config)
        if not (name in defaults and _same(config[name], defaults[name]))
    }


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(one) for one in value]
    return value


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON, where 1 is not true (as Python has it)."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return type(left) is type(right) and bool(left == right)
