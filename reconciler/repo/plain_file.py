"""Reading the files beside the root that are no specs (`reconciler.yaml`, `policy.yaml`): by the same door as a spec, with every
error at its place.

What a content says is kept in the cache folder by its digest, so that a command which finds the file unchanged imports no parser
and no model.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler import __version__
from reconciler.errors import Problem, SpecInvalid

if TYPE_CHECKING:
    from reconciler.core.operator_file import OperatorFile
    from reconciler.core.policy_file import PolicyFile

#: As a spec file.
MAX_BYTES: Final = 1 << 20


def content_of(path: Path, shown: str) -> bytes | None:
    """The bytes of a file; None where there is none: a link that leads nowhere is there. `shown` is its path in problems.
    Raises SpecInvalid."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SpecInvalid([Problem(shown, 1, 1, "", "is not a regular file")])
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        if os.path.islink(path):
            raise SpecInvalid([Problem(shown, 1, 1, "", "is a link that leads nowhere")]) from error
        return None
    except OSError as error:
        raise SpecInvalid([Problem(shown, 1, 1, "", f"cannot be read: {error.strerror}")]) from error


def _open_at_once(path: str, flags: int) -> int:
    """Waits for nobody to write into a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def digest_of_content(content: bytes) -> str:
    """What a content says depends on it and on this version of the program alone."""
    return hashlib.sha256(f"{__version__}\n".encode() + content).hexdigest()


def parse_document(
    content: bytes, shown: str, model: type[OperatorFile] | type[PolicyFile], kind: str
) -> tuple[dict[str, Any], list[Problem]]:
    """The normalised values of the one document of a content, or everything that is wrong with it."""
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
    read, problems = parse_plain(chunks[0], shown, model, kind)
    return (read.normal(), []) if isinstance(read, model) else ({}, problems)


# --- kept -----------------------------------------------------------------------------------------------------------


def known_values(cache_dir: Path | None, name: str, digest: str) -> dict[str, Any] | None:
    """The values of a content that was met before."""
    if cache_dir is None:
        return None
    try:
        kept = json.loads((cache_dir / name).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.get("digest") != digest or not isinstance(kept.get("values"), dict):
        return None
    return dict(kept["values"])


def keep_values(cache_dir: Path | None, name: str, digest: str, values: Mapping[str, Any]) -> None:
    if cache_dir is None or not cache_dir.is_dir():
        return
    beside = cache_dir / f".{name}.{os.getpid()}"
    try:
        beside.touch(mode=0o600)
        beside.write_text(json.dumps({"digest": digest, "values": values}), "utf-8")
        beside.replace(cache_dir / name)
    except OSError:
        beside.unlink(missing_ok=True)  # without it the file is parsed again
