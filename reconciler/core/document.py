"""What one YAML document declares, once it is known to be valid: plain values, so that a pass which only compares
digests imports no model (design, section 5).

`reconciler.core.spec` makes these out of parsed YAML; the planner, the record and the controller use them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Final, Literal

import orjson

from reconciler.core.value import dataclass

Kind = Literal["Job", "Authorization", "Stream", "Audience"]
KINDS: Final[tuple[Kind, ...]] = ("Job", "Authorization", "Stream", "Audience")

#: The parts of a Job's spec that its work digest covers.
WORK_FIELDS: Final = ("provider", "jobType", "schedule", "config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One valid document.

    `spec` is normalised and JSON-able: camelCase names, every duration an integer of milliseconds, fields that equal
    their default left out, keys sorted. `path` is relative to the root, with forward slashes; `line` counts from 1
    and is where the document begins. `ordinal` is its number in the file, from 0.
    """

    kind: Kind
    name: str
    path: str
    ordinal: int = 0
    line: int = 1
    title: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    renamed_from: str = ""
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Over the whole normalised spec, nothing else."""
        return digest_of(self.spec)

    @property
    def work_digest(self) -> str:
        """Over provider, jobType, schedule and config alone."""
        return digest_of({name: self.spec[name] for name in WORK_FIELDS if name in self.spec})

    @property
    def metadata_digest(self) -> str:
        """Over what may be edited without restarting anything."""
        return digest_of([self.title, self.description, dict(self.labels)])


#: Made once: `json.dumps` with other than its defaults makes an encoder for each value.
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
#: What both write alike, however it is nested: the fractions of a number are not among it, nor is what only orjson knows.
_ALIKE: Final = frozenset({str, int, bool, type(None)})


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, as UTF-8 text. Raises ValueError for NaN and infinities. The text
    is that of the standard library's encoder; orjson, which is quicker, writes it where the two surely agree."""
    if not _is_alike(value):
        return _ENCODER.encode(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits, half of a surrogate pair, a key that is no string, too deep
        return _ENCODER.encode(value)


def _is_alike(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        value = value.values()
    elif kind is not list and kind is not tuple:
        return kind in _ALIKE
    for one in value:  # noqa: SIM110 (a generator takes three times as long)
        if type(one) not in _ALIKE and not _is_alike(one):
            return False
    return True


def digest_of(value: Any) -> str:
    """The first 32 hexadecimal digits of SHA-256 over the canonical JSON of `value`."""
    return digest_of_text(canonical(value))


def digest_of_text(text: str) -> str:
    """The same, of a value whose canonical JSON is at hand."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
