"""The fast way through a document that is valid: line by line (`yaml_plain`) and field by field (`spec_plain`), as most
specs go; else ryaml (the Rust port of the parser that PyYAML uses), else the model.

It may only accept what the careful parser accepts, and must then yield exactly the same; whatever it is not sure of it
declines, and the careful parser decides. What ryaml reads otherwise than YAML 1.2's core schema is declined beforehand
by a look at the text, or afterwards by one at the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from reconciler.core import spec_plain
from reconciler.core.document import KINDS, Document
from reconciler.core.spec_rules import Rules
from reconciler.repo import yaml_plain
from reconciler.repo.yaml_text import FORBIDDEN, MAX_DEPTH, Chunk

#: Longer documents, and those with more brackets, are declined: a value takes a character at least, so that shorter ones
#: are within the careful parser's bound; and ryaml's time grows with the square of nested brackets.
MAX_TEXT: Final = 90_000
MAX_BRACKETS: Final = 2_000

_MARKS: Final = ("&", "*", "!", "%")
#: Where an anchor, an alias, a tag or a directive may begin.
_PROPERTY: Final = re.compile(r"(?:^|[\s,\[{:])(?:[&*][0-9A-Za-z_-]|!)|^%", re.MULTILINE)
#: Integers that ryaml knows and the core schema does not, in either direction (`0b1`, `-0x1`); merge keys; tabs, which
#: the two would have to take for indentation at the same places.
_UNSURE: Final = ("0x", "0o", "0b", "<<", "\t")
_NUMBER: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
#: Numbers that ryaml too takes for numbers wherever they stand plain: as strings they were in quotes.
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?")
_NUMBER_BEGINS: Final = frozenset("0123456789+-.")
_MAX_INT: Final = 2**63 - 1
#: From here on a float may have been an integer of too many digits.
_MAX_FLOAT: Final = 2.0**53


def parse_chunk(chunk: Chunk, path: str, rules: Rules) -> Document | None:
    """The document of a chunk; None where the careful parser has to look."""
    raw = yaml_plain.load(chunk.text) or _load_surely(chunk.text)
    kind = raw.get("kind") if raw is not None else None
    if raw is None or not isinstance(kind, str) or kind not in KINDS:
        return None
    if next(rules.issues(kind, raw), None) is not None:
        return None
    try:
        return spec_plain.read(
            raw, path=path, ordinal=chunk.ordinal, line=chunk.content, defaults=_schema_defaults(raw, rules)
        )
    except ValueError:
        return _by_model(kind, raw, chunk, path, rules)


def _by_model(kind: str, raw: Mapping[str, Any], chunk: Chunk, path: str, rules: Rules) -> Document | None:
    from reconciler.core.spec import MODELS, document

    try:
        read = MODELS[kind].model_validate(raw)
    except ValueError:
        return None
    return document(
        read, path=path, ordinal=chunk.ordinal, line=chunk.content, config_defaults=config_defaults(raw, rules)
    )


def _load_surely(text: str) -> dict[str, Any] | None:
    """What ryaml reads as the careful parser would."""
    if _is_unsure(text):
        return None
    raw = _load(text)
    return raw if isinstance(raw, dict) and _is_sound(raw, 1) else None


def _is_unsure(text: str) -> bool:
    if len(text) > MAX_TEXT or text.count("{") + text.count("[") > MAX_BRACKETS:
        return True
    if any(one in text for one in _UNSURE) or (not _is_printable(text) and FORBIDDEN.search(text)):
        return True
    return any(mark in text and _has_property(text, mark) for mark in _MARKS)


def _has_property(text: str, mark: str) -> bool:
    """Whether one begins with any of these marks: a search that tries every character takes longer than the parser."""
    at = text.find(mark)
    while at >= 0:
        if _PROPERTY.match(text, at) or (at > 0 and _PROPERTY.match(text, at - 1)):
            return True
        at = text.find(mark, at + 1)
    return False


def _is_printable(text: str) -> bool:
    """Far quicker than the search for what is forbidden, which remains for rare characters."""
    return text.replace("\n", "").isprintable()


def _load(text: str) -> Any:
    """The values, or None for what ryaml refuses. Its panics are no Exceptions."""
    import ryaml

    try:
        return ryaml.loads(text)  # type: ignore[attr-defined]
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return None


def _is_sound(value: Any, depth: int) -> bool:
    """Whether these values are what the core schema gives too: keys are strings, no string reads like a number that
    ryaml does not know (012 may have been plain), numbers are moderate, nesting is bounded."""
    kind = type(value)
    if kind is str:
        return not value or value[0] not in _NUMBER_BEGINS or _is_no_doubt(value)
    if kind is dict:
        for key in value:
            if type(key) is not str or (key and key[0] in _NUMBER_BEGINS and not _is_no_doubt(key)):
                return False
        return depth <= MAX_DEPTH and _are_sound(value.values(), depth + 1)
    if kind is list:
        return depth <= MAX_DEPTH and _are_sound(value, depth + 1)
    if kind is int:
        return bool(-_MAX_INT <= value <= _MAX_INT)
    return kind is not float or bool(-_MAX_FLOAT < value < _MAX_FLOAT)


def _are_sound(values: Iterable[Any], depth: int) -> bool:
    for one in values:
        if type(one) is str:  # most are: no call for each
            if one and one[0] in _NUMBER_BEGINS and not _is_no_doubt(one):
                return False
        elif not _is_sound(one, depth):
            return False
    return True


def _is_no_doubt(text: str) -> bool:
    """Whether a string that begins like a number is surely none, or was surely in quotes."""
    return _NUMBER.fullmatch(text) is None or _PLAIN_NUMBER.fullmatch(text) is not None


def config_defaults(raw: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    """The defaults of a valid Job's config; none for the other kinds."""
    spec = raw["spec"]
    schema = rules.schema(spec["provider"], spec["jobType"]) if raw["kind"] == "Job" else None
    return schema.defaults if schema else {}


def _schema_defaults(raw: Mapping[str, Any], rules: Rules) -> Mapping[str, Any]:
    """The same of values that no model has looked at yet."""
    spec = raw.get("spec")
    if raw["kind"] != "Job" or type(spec) is not dict:
        return {}
    provider, job_type = spec.get("provider"), spec.get("jobType")
    schema = rules.schema(provider, job_type) if type(provider) is str and type(job_type) is str else None
    return schema.defaults if schema else {}


def load() -> None:
    """Imports what most documents would import."""
    import jsonschema_rs

    del jsonschema_rs


def forget() -> None:
    """Lets go of what is kept from one document to the next."""
    yaml_plain.forget()
