"""The YAML that most specs are, read line by line: block mappings, lists of scalars, scalars and flow collections that stand
on one line. What is anything else is declined, never guessed.

Here a line means the same wherever it stands, so that a line that many files share is looked at once: what remains for
each file is to put its lines in one another by their indentation.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

#: Longer texts, deeper ones, and more lines than this in memory are not for here.
MAX_TEXT: Final = 90_000
MAX_LEVELS: Final = 20
MAX_LINES: Final = 100_000


class _Line(NamedTuple):
    """`indent` is below 0 where the line says nothing or is declined. `key` is None for an item of a list."""

    indent: int
    key: str | None = None
    value: Any = None


#: The value of a key with nothing behind it: a block follows.
_OPEN: Final = object()
_NOTHING: Final = _Line(-1)
_DECLINED: Final = _Line(-2)

_LINE: Final = re.compile(
    r"(?P<indent> *)(?:#.*|(?:(?P<key>[A-Za-z][A-Za-z0-9_-]*):|-(?= +[^ #]))(?: +(?P<value>[^ #].*?))?(?: +#.*)?)? *"
)
#: The same of a line in which no comment can begin, as most are: its value goes on to its end, which need not be searched for.
_WITHOUT_COMMENT: Final = re.compile(
    r"(?P<indent> *)(?:(?:(?P<key>[A-Za-z][A-Za-z0-9_-]*):|-(?= +[^ ]))(?: +(?P<value>[^ ](?:.*[^ ])?))?)? *"
)
#: Characters of a plain scalar that have no meaning inside of a word; a colon only before another one. Nothing is tried twice
#: (`++`): what can follow a word is in no word.
_WORD: Final = r"(?:[^\x00-\x20:#\[\]{},]++|:(?=[^\s:#\[\]{},]))"
_WORD_IN_BLOCK: Final = r"(?:[^\x00-\x20:#\[\]{}]++|:(?=[^\s:#\[\]{},]))"
_FIRST: Final = r"(?:[^\x00-.0-@\[-^`{-\x7f]|\.\.?/)"  # a letter, _, / or what is not ASCII; so it compiles in no time
_STRING: Final = re.compile(rf"{_FIRST}{_WORD}*+(?: ++{_WORD}++)*+")
_STRING_IN_BLOCK: Final = re.compile(rf"{_FIRST}{_WORD_IN_BLOCK}*+(?: ++{_WORD_IN_BLOCK}++)*+")
_QUOTED: Final = re.compile(r"\"([^\"\\]*)\"|'([^']*)'")
#: What begins with a digit and is no number in any version of YAML: durations, dates and times.
_TIME: Final = re.compile(r"(?:[0-9]+(?:ms|[wdhms]))+|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_INT: Final = re.compile("0|[1-9][0-9]{0,14}")
_FLOAT: Final = re.compile(r"(?:0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
_WORDS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS: Final = frozenset({"null", "Null", "NULL"})
_ONE_SCALAR: Final = r"""(?:"[^"\\]*"|'[^']*'|[^\s,:#\[\]{}"'](?:[^,:#\[\]{}]*[^\s,:#\[\]{}])?)"""
_PAIR: Final = re.compile(rf"\s*([A-Za-z][A-Za-z0-9_-]*): +({_ONE_SCALAR}) *(?:,|\Z)")
_ITEM: Final = re.compile(rf" *({_ONE_SCALAR}) *(?:,|\Z)")

_known: Final[dict[str, _Line]] = {}


def load(text: str) -> dict[str, Any] | None:
    """The mapping that a document is; None where it is not surely one, with each key once."""
    if len(text) > MAX_TEXT:
        return None
    lines = text.split("\n")
    return _composed(lines[1:] if lines[0] == "---" else lines)


def _composed(lines: list[str]) -> dict[str, Any] | None:
    top: dict[str, Any] = {}
    within: list[tuple[int, dict[str, Any]]] = []
    here, level, opened = top, 0, ""
    items: list[Any] | None = None
    beside = 0  # the indent of these items
    for line in lines:
        indent, key, value = _known.get(line) or _learn(line)
        if indent < 0:
            if indent == -1:
                continue
            return None
        if type(value) is dict or type(value) is list:
            value = value.copy()
        if key is None:
            if opened and indent >= level:
                here[opened] = items = []
                opened, beside = "", indent
            elif items is None or indent != beside:
                return None
            items.append(value)
            continue
        if opened:
            if indent <= level or len(within) == MAX_LEVELS:
                return None
            within.append((level, here))
            inner: dict[str, Any] = {}
            here[opened] = inner
            here, level, opened = inner, indent, ""
        elif indent > level:
            return None
        items = None
        while indent < level:
            level, here = within.pop()
        if indent != level or key in here:
            return None
        if value is _OPEN:
            opened = key
        here[key] = value
    return None if opened or not top else top


def forget() -> None:
    """Lets go of the lines in memory: who reads many files does so once."""
    _known.clear()


def _learn(line: str) -> _Line:
    if len(_known) >= MAX_LINES:
        _known.clear()
    found = _known[line] = _read(line)
    return found


def _read(line: str) -> _Line:
    pattern = _LINE if "#" in line else _WITHOUT_COMMENT
    match = pattern.fullmatch(line) if line.isprintable() else None
    if match is None:
        return _DECLINED
    indent, key, text = match.group("indent", "key", "value")
    if text is None:
        if key is None:
            return _NOTHING
        value: Any = _OPEN
    else:
        value = _value(text)
    if value is None or key in _WORDS or key in _NULLS:
        return _DECLINED
    return _Line(len(indent), key, value)


def _value(text: str) -> Any:
    """None where it is not sure."""
    if text[0] == "{" and text[-1] == "}":
        return _mapping(text[1:-1])
    if text[0] == "[" and text[-1] == "]":
        return _list(text[1:-1])
    return _scalar(text, _STRING_IN_BLOCK)


def _scalar(text: str, plain: re.Pattern[str]) -> Any:
    if text[0] in "\"'":
        quoted = _QUOTED.fullmatch(text)
        return None if quoted is None else quoted[1] if text[0] == '"' else quoted[2]
    if plain.fullmatch(text):
        return None if text in _NULLS else _WORDS.get(text, text)
    if _TIME.fullmatch(text):
        return text
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else None


def _mapping(inner: str) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    at = 0
    while at < len(inner):
        pair = _PAIR.match(inner, at)
        if pair is None or pair[1] in found or pair[1] in _WORDS or pair[1] in _NULLS:
            return None
        value = _scalar(pair[2], _STRING)
        if value is None:
            return None
        found[pair[1]] = value
        at = pair.end()
    return found


def _list(inner: str) -> list[Any] | None:
    found: list[Any] = []
    at = 0
    while at < len(inner):
        item = _ITEM.match(inner, at)
        value = None if item is None else _scalar(item[1], _STRING)
        if item is None or value is None:
            return None
        found.append(value)
        at = item.end()
    return found
