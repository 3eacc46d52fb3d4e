"""What each vendor's publication asks of a field before it is sent, as named and versioned profiles.

A profile never changes: where a vendor changes its rules, a new version is added, because a changed digest would send
a whole audience again. All of them compose Unicode (NFC) and take out what cannot be seen; no page asks for that, but
neither vendor could match anything else.

`meta@1`  Meta, "Customer Information Parameters" (developers.facebook.com, Conversions API, of 9 January 2026). Where the
          page leaves a choice it is made as Meta's own library capi-param-builder makes it: names lose punctuation and
          spaces, external ids white space and case. Every field is hashed.
`google@1` Google, "Format user data" (developers.google.com, Data Manager API) and "Customer data formatting guidelines"
          (Google Ads Help). E-mail, telephone and names are hashed; postal code and country never are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from reconciler.core.transforms.countries import country_code
from reconciler.core.transforms.dates import birth_date
from reconciler.core.transforms.phones import e164
from reconciler.core.transforms.text import letters, lower, plain, single_spaced, visible, without_space
from reconciler.core.value import dataclass

Normalize = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a profile: what becomes of a value (and of the region, where the field takes one: a telephone's),
    and whether the result is hashed."""

    normalize: Normalize
    hashed: bool = True
    takes_region: bool = False


#: Where dots and a plus sign say nothing about who gets the mail.
_GOOGLE_MAIL: Final = frozenset({"gmail.com", "googlemail.com"})

#: A US ZIP code with its four further digits.
_ZIP_PLUS_4: Final = re.compile(r"(\d{5})-?\d{4}", re.ASCII)

_GENDERS: Final = {
    **dict.fromkeys(("f", "female", "woman", "girl", "lady", "miss", "ms", "mrs", "madam", "she", "her"), "f"),
    **dict.fromkeys(("m", "male", "man", "boy", "gentleman", "mr", "mister", "sir", "he", "him"), "m"),
}

#: The states of the US by their ANSI abbreviations, and by their names without spaces.
_US: Final = (
    "al=alabama ak=alaska az=arizona ar=arkansas ca=california co=colorado ct=connecticut de=delaware fl=florida "
    "ga=georgia hi=hawaii id=idaho il=illinois in=indiana ia=iowa ks=kansas ky=kentucky la=louisiana me=maine "
    "md=maryland ma=massachusetts mi=michigan mn=minnesota ms=mississippi mo=missouri mt=montana ne=nebraska "
    "nv=nevada nh=newhampshire nj=newjersey nm=newmexico ny=newyork nc=northcarolina nd=northdakota oh=ohio "
    "ok=oklahoma or=oregon pa=pennsylvania ri=rhodeisland sc=southcarolina sd=southdakota tn=tennessee tx=texas "
    "ut=utah vt=vermont va=virginia wa=washington wv=westvirginia wi=wisconsin wy=wyoming dc=districtofcolumbia"
)
_STATES: Final = {name: code for code, _, name in (pair.partition("=") for pair in _US.split())}


def _address(value: str) -> tuple[str, str] | None:
    """The two sides of an e-mail address; None where it is none."""
    local, at, domain = value.partition("@")
    if not at or not local or not domain or "@" in domain or without_space(value) != value:
        return None
    return local, domain


# --- Meta -----------------------------------------------------------------------------------------------------------


def _meta_email(value: str, _: str) -> str:
    """Trimmed and in lower case; dots and +suffixes stay, at every domain."""
    text = lower(visible(value))
    return text if _address(text) else ""


def _meta_phone(value: str, region: str) -> str:
    """Digits only, the country's code first, no leading zeros."""
    return e164(visible(value), region).removeprefix("+")


def _meta_word(value: str, _: str) -> str:
    """In lower case, without punctuation, symbols and spaces; letters of every script stay."""
    return letters(lower(visible(value)))


def _meta_state(value: str, _: str) -> str:
    """The two letters of a state of the US; what is none is in lower case without punctuation and spaces."""
    name = _meta_word(value, "")
    return _STATES.get(name, name)


def _meta_zip(value: str, _: str) -> str:
    """In lower case, without spaces and dashes; of a US code the first five digits."""
    text = without_space(lower(plain(visible(value))))
    us = _ZIP_PLUS_4.fullmatch(text)
    return us[1] if us else letters(text)


def _meta_country(value: str, _: str) -> str:
    return country_code(visible(value))


def _meta_birth(value: str, _: str) -> str:
    return birth_date(visible(value))


def _meta_gender(value: str, _: str) -> str:
    return _GENDERS.get(letters(lower(visible(value))), "")


def _meta_external_id(value: str, _: str) -> str:
    return without_space(lower(visible(value)))


# --- Google ---------------------------------------------------------------------------------------------------------


def _google_email(value: str, _: str) -> str:
    """In lower case without any white space; at gmail.com and googlemail.com, and nowhere else, without dots and
    +suffix before the @."""
    sides = _address(without_space(lower(visible(value))))
    if sides is None:
        return ""
    local, domain = sides
    if domain in _GOOGLE_MAIL:
        local = local.partition("+")[0].replace(".", "")
    return f"{local}@{domain}" if local else ""


def _google_phone(value: str, region: str) -> str:
    return e164(visible(value), region)


def _google_name(value: str, _: str) -> str:
    """In lower case, without superfluous spaces. Titles and suffixes (Mrs., Jr.) must not be in it to begin with."""
    text = lower(visible(value))
    return single_spaced(text) if letters(text) else ""


def _google_zip(value: str, _: str) -> str:
    return plain(visible(value))


def _google_country(value: str, _: str) -> str:
    """The two upper-case letters of ISO 3166-1."""
    return country_code(visible(value)).upper()


#: Every profile: `vendor@version`, and its fields.
PROFILES: Final[Mapping[str, Mapping[str, Field]]] = {
    "meta@1": {
        "email": Field(_meta_email),
        "phone": Field(_meta_phone, takes_region=True),
        "first_name": Field(_meta_word),
        "last_name": Field(_meta_word),
        "city": Field(_meta_word),
        "state": Field(_meta_state),
        "zip": Field(_meta_zip),
        "country": Field(_meta_country),
        "dob": Field(_meta_birth),
        "gender": Field(_meta_gender),
        "external_id": Field(_meta_external_id),
    },
    "google@1": {
        "email": Field(_google_email),
        "phone": Field(_google_phone, takes_region=True),
        "first_name": Field(_google_name),
        "last_name": Field(_google_name),
        "zip": Field(_google_zip, hashed=False),
        "country": Field(_google_country, hashed=False),
    },
}
