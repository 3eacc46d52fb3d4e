"""The transforms of an export's field mapping: what becomes of a value on its way to a destination.

    transform: [trim, lower, sha256]          steps, one after the other
    transform: [e164(DE)]                     with an argument
    transform: [meta@1.email]                 a vendor's published normalisation, hashed where the vendor asks for it

`parse_transforms` reads such a list. A value that a step makes nothing of stays nothing (the empty text) through all
that follow, and is never hashed: the digest of nothing would match everybody else without a value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final

from reconciler.core.suggest import did_you_mean
from reconciler.core.transforms import dates
from reconciler.core.transforms.phones import REGIONS, e164
from reconciler.core.transforms.text import trim
from reconciler.core.transforms.vendors import PROFILES, Field
from reconciler.core.value import dataclass

#: More steps than this are a mistake.
MAX_STEPS: Final = 20
#: A longer step is quoted by its beginning.
MAX_QUOTED: Final = 60

Step = Callable[[str], str]

_STEP: Final = re.compile(r"(?P<name>[^()]*)(?:\((?P<argument>.*)\))?", re.DOTALL)
_ARROW: Final = re.compile(r"\s*->\s*")


class BadTransform(ValueError):
    """A list of transforms that cannot be meant; the message is a clause that says which step and why."""


@dataclass(frozen=True, slots=True)
class Transform:
    """The steps of a field. `name` says all of them with their versions, in one spelling: it goes into digests.
    `hashes` says whether the result is a digest, which tells nobody the value."""

    name: str
    steps: tuple[Step, ...]
    hashes: bool = False

    def apply(self, value: str) -> str:
        """The value after all steps; empty where it normalises to nothing. Raises nothing, whatever the text."""
        for step in self.steps:
            if not value:
                return ""
            value = step(value)
        return value


@dataclass(frozen=True, slots=True)
class _Parsed:
    name: str
    step: Step
    hashes: bool = False


def parse_transforms(names: Sequence[str]) -> Transform:
    """The transform that a list of steps writes; the empty list leaves values as they are. Raises BadTransform."""
    if len(names) > MAX_STEPS:
        raise BadTransform(f"{len(names)} transforms are more than the {MAX_STEPS} that a field may have")
    parsed = [_parsed(name) for name in names]
    for before, after in pairwise(parsed):
        if before.hashes:
            raise BadTransform(f"{after.name!r} follows {before.name!r}, whose result is a digest already")
    return Transform(
        name=" | ".join(one.name for one in parsed),
        steps=tuple(one.step for one in parsed),
        hashes=bool(parsed) and parsed[-1].hashes,
    )


def transform_names() -> tuple[str, ...]:
    """Every transform by its name, without arguments, sorted."""
    vendors = (f"{profile}.{field}" for profile, fields in PROFILES.items() for field in fields)
    return tuple(sorted((*_PLAIN, *_WITH_ARGUMENT, *vendors)))


def _parsed(text: str) -> _Parsed:
    found = _STEP.fullmatch(text.strip())
    name, argument = (found["name"].strip(), found["argument"]) if found else (text, None)
    if name in _PLAIN:
        if argument is not None:
            raise BadTransform(f"{name!r} takes nothing in parentheses")
        return _Parsed(name, _PLAIN[name], hashes=name == "sha256")
    if name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name]((argument or "").strip())
    profile, _, field = name.partition(".")
    if profile in PROFILES:
        return _of_vendor(profile, field, argument)
    known = [one for one in transform_names() if ("." in one) == ("." in name)]
    raise BadTransform(f"unknown transform {_quoted(name)}{did_you_mean(name, known)}")


def _of_vendor(profile: str, field: str, argument: str | None) -> _Parsed:
    fields = PROFILES[profile]
    if not field:
        raise BadTransform(f"{profile!r} needs a field, as in {profile}.email; it has {', '.join(fields)}")
    if field not in fields:
        raise BadTransform(
            f"{profile} has no field {_quoted(field)}{did_you_mean(field, fields) or '; it has ' + ', '.join(fields)}"
        )
    name, one = f"{profile}.{field}", fields[field]
    region = ""
    if argument is not None:
        if not one.takes_region:
            raise BadTransform(f"{name!r} takes nothing in parentheses")
        region = _region(name, argument)
        name = f"{name}({region})"
    return _Parsed(name, partial(_vendor_step, one, region), hashes=one.hashed)


def _vendor_step(field: Field, region: str, value: str) -> str:
    found = field.normalize(value, region)
    return sha256(found) if found and field.hashed else found


def _phone(argument: str) -> _Parsed:
    if not argument:
        raise BadTransform("'e164' needs the region whose numbers have no country code, as in e164(DE)")
    region = _region("e164", argument)
    return _Parsed(f"e164({region})", partial(_read_phone, region))


def _read_phone(region: str, value: str) -> str:
    return e164(value, region)


def _region(name: str, argument: str) -> str:
    region = argument.strip().upper()
    if region not in REGIONS:
        raise BadTransform(f"{name!r}: {_quoted(argument)} is not a region; use two letters of ISO 3166-1, such as DE")
    return region


def _date(argument: str) -> _Parsed:
    pattern, *rest = _ARROW.split(argument)
    out = rest[0] if rest else dates.ISO
    if not argument or len(rest) > 1:
        raise BadTransform("'date' needs how dates are written, as in date(%d/%m/%Y) or date(%d/%m/%Y -> %Y%m%d)")
    for one in (pattern, out):
        if one != dates.ISO and not dates.is_pattern(one):
            raise BadTransform(
                f"'date': {_quoted(one)} is not {dates.ISO}, and no strptime pattern that says year, month and day"
            )
    name = f"date({pattern})" if out == dates.ISO else f"date({pattern} -> {out})"
    return _Parsed(name, partial(_read_date, pattern, out))


def _read_date(pattern: str, out: str, value: str) -> str:
    return dates.reformatted(value, pattern, out)


def sha256(value: str) -> str:
    """64 lower-case hexadecimal digits: SHA-256 of the text in UTF-8."""
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


def _quoted(text: str) -> str:
    return repr(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…")


_PLAIN: Final[dict[str, Step]] = {"lower": str.lower, "upper": str.upper, "trim": trim, "sha256": sha256}
_WITH_ARGUMENT: Final[dict[str, Callable[[str], _Parsed]]] = {"e164": _phone, "date": _date}
