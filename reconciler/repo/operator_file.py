"""Reading `reconciler.yaml`: the operator's settings, by the same door as a spec, with every error at its place.

What a content says is kept in the cache folder by its digest, so that a command which finds the file unchanged imports no
parser and no model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler import __version__
from reconciler.errors import Problem, SpecInvalid

CACHE_NAME: Final = "operator.json"
#: As a spec file.
MAX_BYTES: Final = 1 << 20


def read_operator_file(path: Path, shown: str, cache_dir: Path | None) -> dict[str, Any]:
    """The normalised values of the file; none where there is no file. `shown` is its path in problems. `cache_dir` is used
    where it exists. Raises SpecInvalid with every problem."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpecInvalid([Problem(shown, 1, 1, "", f"cannot be read: {error.strerror}")]) from error
    digest = hashlib.sha256(f"{__version__}\n".encode() + content).hexdigest()
    known = _known(cache_dir, digest)
    if known is not None:
        return known
    values, problems = parse_operator_file(content, shown)
    if problems:
        raise SpecInvalid(problems)
    _keep(cache_dir, digest, values)
    return values


def parse_operator_file(content: bytes, shown: str) -> tuple[dict[str, Any], list[Problem]]:
    """The normalised values of a content, or everything that is wrong with it."""
    from reconciler.core.operator_file import KIND, OperatorFile
    from reconciler.repo.parse_careful import parse_plain
    from reconciler.repo.yaml_text import NotText, decode, split

    try:
        chunks = split(decode(content))
    except NotText as error:
        return {}, [Problem(shown, error.line, error.column, "", str(error))]
    if not chunks:
        return {}, []
    if len(chunks) > 1:
        return {}, [Problem(shown, chunks[1].line, 1, "", "expected one document, found another")]
    model, problems = parse_plain(chunks[0], shown, OperatorFile, KIND)
    return (model.normal(), []) if isinstance(model, OperatorFile) else ({}, problems)


def _known(cache_dir: Path | None, digest: str) -> dict[str, Any] | None:
    if cache_dir is None:
        return None
    try:
        kept = json.loads((cache_dir / CACHE_NAME).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("digest") != digest or not isinstance(kept.get("values"), dict):
        return None
    return dict(kept["values"])


def _keep(cache_dir: Path | None, digest: str, values: Mapping[str, Any]) -> None:
    if cache_dir is None or not cache_dir.is_dir():
        return
    beside = cache_dir / f".{CACHE_NAME}.{os.getpid()}"
    try:
        beside.write_text(json.dumps({"digest": digest, "values": values}), "utf-8")
        beside.replace(cache_dir / CACHE_NAME)
    except OSError:
        beside.unlink(missing_ok=True)  # without it the file is parsed again
