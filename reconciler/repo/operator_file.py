"""Reading `reconciler.yaml`: the operator's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from reconciler.errors import Problem, SpecInvalid
from reconciler.repo.plain_file import content_of, digest_of_content, keep_values, known_values, parse_document

CACHE_NAME: Final = "operator.json"


def read_operator_file(path: Path, shown: str, cache_dir: Path | None) -> dict[str, Any]:
    """The normalised values of the file; none where there is no file. `shown` is its path in problems. `cache_dir` is used
    where it exists. Raises SpecInvalid with every problem."""
    content = content_of(path, shown)
    if content is None:
        return {}
    digest = digest_of_content(content)
    known = known_values(cache_dir, CACHE_NAME, digest)
    if known is not None:
        return known
    values, problems = parse_operator_file(content, shown)
    if problems:
        raise SpecInvalid(problems)
    keep_values(cache_dir, CACHE_NAME, digest, values)
    return values


def parse_operator_file(content: bytes, shown: str) -> tuple[dict[str, Any], list[Problem]]:
    """The normalised values of a content, or everything that is wrong with it."""
    from reconciler.core.operator_file import KIND, OperatorFile

    return parse_document(content, shown, OperatorFile, KIND)
