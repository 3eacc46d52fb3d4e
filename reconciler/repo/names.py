"""Which files of a tree are specs, and which are ours: the one secret that reading, watching and writing share.

Hidden files and folders (`.git`, `.reconciler`, an editor's swap files) are neither. What we write beside a spec
(design, section 4) is `NAME.status.yaml` and `NAME.log` for a Job; for the other kinds a word stands between, so that
a job and a stream of one name do not meet. Names are DNS-1123 labels: they hold no dot, so no name can make the word.
"""

from __future__ import annotations

from typing import Final

from reconciler.core.document import Kind

SPEC_SUFFIXES: Final = (".yaml", ".yml")
STATUS_SUFFIX: Final = ".status.yaml"
LOG_SUFFIX: Final = ".log"

#: How many rotated logs are kept beside the one that grows.
ROTATED_LOGS: Final = 3

LOG_SUFFIXES: Final = (LOG_SUFFIX, *(f"{LOG_SUFFIX}.{number}" for number in range(1, ROTATED_LOGS + 1)))
OUR_SUFFIXES: Final = (STATUS_SUFFIX, *LOG_SUFFIXES)

_WORD: Final[dict[Kind, str]] = {"Job": "", "Authorization": ".auth", "Stream": ".stream", "Audience": ".audience"}


def is_hidden(name: str) -> bool:
    return name.startswith(".")


def is_ours(name: str) -> bool:
    """Whether a file of this name is written by us, and so never read as a spec and never a reason to wake."""
    return name.endswith(OUR_SUFFIXES)


def is_spec(name: str) -> bool:
    """Whether a file of this name (its last part) may hold specs."""
    return name.endswith(SPEC_SUFFIXES) and not is_hidden(name) and not is_ours(name)


def is_spec_path(path: str) -> bool:
    """Whether a path relative to the root, with forward slashes, is one that a look reads: no part of it hidden."""
    return path.endswith(SPEC_SUFFIXES) and not (is_ours(path) or is_hidden(path) or "/." in path)


def status_name(kind: Kind, name: str) -> str:
    return f"{name}{_WORD[kind]}{STATUS_SUFFIX}"


def log_name(kind: Kind, name: str) -> str:
    return f"{name}{_WORD[kind]}{LOG_SUFFIX}"
