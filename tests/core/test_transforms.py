"""What becomes of a value on its way to a destination.

The vectors of `vectors/transforms.json` were worked out by hand or are the vendors' own examples (`source: vendor`);
their digests come from `sha256sum`. None of them comes from the code that they test.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.transforms import (
    MAX_STEPS,
    BadTransform,
    parse_transforms,
    transform_names,
)
from reconciler.core.transforms.countries import country_code
from reconciler.core.transforms.phones import REGIONS
from reconciler.core.transforms.text import MAX_LENGTH
from reconciler.core.transforms.vendors import PROFILES

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "transforms.json").read_text())

#: Every transform, in a spelling that can be parsed.
SPELLED = [
    {"e164": "e164(DE)", "date": "date(%d/%m/%Y)"}.get(name, name) for name in transform_names()
] + ["meta@1.phone(JP)", "google@1.phone(FR)", "date(iso8601 -> %Y%m%d)"]  # fmt: skip


def named(vector: dict[str, Any]) -> str:
    return f"{'|'.join(vector['transform'])}:{vector['input']!a}"


@pytest.mark.parametrize("vector", VECTORS, ids=named)
def test_a_vector_becomes_what_was_worked_out(vector: dict[str, Any]) -> None:
    expected = vector.get("sha256", vector["normal"])
    assert parse_transforms(vector["transform"]).apply(vector["input"]) == expected


def test_there_are_three_hundred_vectors_in_many_scripts_and_of_every_transform() -> None:
    assert len(VECTORS) >= 300
    scripts = Counter(
        unicodedata.name(letter, "?").split()[0] for one in VECTORS for letter in one["input"] if letter.isalpha()
    )
    assert {
        "LATIN", "GREEK", "CYRILLIC", "ARABIC", "HEBREW", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "DEVANAGARI",
        "TAMIL", "BENGALI", "ARMENIAN", "GEORGIAN", "ETHIOPIC", "KHMER", "MYANMAR",
    } <= scripts.keys()  # fmt: skip
    tested = {step.partition("(")[0] for one in VECTORS for step in one["transform"]}
    assert tested == set(transform_names())


def test_the_digest_of_a_vector_is_that_of_its_normal_form() -> None:
    assert all(
        one["sha256"] == hashlib.sha256(one["normal"].encode()).hexdigest() for one in VECTORS if "sha256" in one
    )


def test_the_digests_that_vendors_publish_are_ours() -> None:
    published = {
        ("meta@1.email", "John_Smith@gmail.com"): "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
        ("meta@1.phone(US)", "(650)555-1212"): "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176",
        ("meta@1.first_name", "Mary"): "6915771be1c5aa0c886870b6951b03d7eafc121fea0e80a5ea83beb7c449f4ec",
        ("meta@1.first_name", "정"): "8fa8cd9c440be61d0151429310034083132b35975c4bea67fdd74158eb51db14",
        ("meta@1.last_name", "Valéry"): "08e1996b5dd49e62a4b4c010d44e4345592a863bb9f8e3976219bac29417149c",
        ("meta@1.dob", "2/16/1997"): "01acdbf6ec7b4f478a225f1a246e5d6767eeab1a7ffa17f025265b5b94f40f0c",
        ("meta@1.country", "United States"): "79adb2a2fce5c6ba215fe5f27f532d4e7edbac4b6a5e09e1ef3a08084a904621",
        ("google@1.email", "dana@example.com"): "07e2f1394b0ea80e2adca010ea8318df697001a005ba7452720edda4b0ce57b3",
        ("google@1.email", "cloudySanFrancisco@GMAIL.com"): (
            "223ebda6f6889b1494551ba902d9d381daf2f642bae055888e96343d53e9f9c4"
        ),
        ("google@1.email", "alexF@altostrat.com"): "063c45291827d4994f98357b72862b25885834fd53cf8f0e4af359916fc03c62",
        ("google@1.phone", "+1-800-555-0100"): "fb4f73a6ec5fdb7077d564cdd22c3554b43ce49168550c3b12c547b78c517b30",
        ("google@1.phone", "+1-800-555-0110"): "525c2390a4e2a9766fa8ddc341dd10414603baebefa401f5a5e29f55e176525d",
        ("google@1.first_name", "  GivenName  "): "128a07bfe2df877c52076e60d7774cf5baaa046c5a6c48daf30ff43ecca2f814",
        ("google@1.last_name", "Familyname"): "77762c287e61ce065bee5c15464012c6fbe088398b8057627d5577249430d574",
    }
    assert {(step, text): parse_transforms([step]).apply(text) for step, text in published} == published


# --- laws -----------------------------------------------------------------------------------------------------------


@given(step=st.sampled_from(SPELLED), value=st.text(st.characters(), max_size=60))
def test_any_text_becomes_a_text_and_nothing_stays_nothing(step: str, value: str) -> None:
    transform = parse_transforms([step])
    made = transform.apply(value)
    assert isinstance(made, str)
    assert transform.apply("") == ""
    if transform.hashes and made:
        assert len(made) == 64
        assert set(made) <= set("0123456789abcdef")


@given(st.sampled_from(sorted(PROFILES)), st.data())
def test_what_is_normal_already_stays_as_it_is(profile: str, data: st.DataObject) -> None:
    field = PROFILES[profile][data.draw(st.sampled_from(sorted(PROFILES[profile])))]
    normal = field.normalize(data.draw(st.text(max_size=40)), "")
    assert field.normalize(normal, "") == normal


@given(st.text(st.characters(categories=["L", "M", "Nd"]), min_size=1, max_size=20))
def test_a_composed_and_a_decomposed_spelling_are_one_value(value: str) -> None:
    for step in ("meta@1.first_name", "google@1.first_name", "meta@1.city"):
        transform = parse_transforms([step])
        assert transform.apply(unicodedata.normalize("NFD", value)) == transform.apply(
            unicodedata.normalize("NFC", value)
        )


@given(st.text(st.characters(categories=["Lo"]), min_size=1, max_size=20))
def test_a_name_in_a_script_without_case_keeps_every_letter(value: str) -> None:
    composed = unicodedata.normalize("NFC", value)
    for profile in PROFILES.values():
        assert profile["last_name"].normalize(value, "") == composed


def test_a_value_that_is_too_long_normalises_to_nothing_in_every_profile() -> None:
    for profile, fields in PROFILES.items():
        for field in fields:
            assert parse_transforms([f"{profile}.{field}"]).apply("a@" + "b" * MAX_LENGTH) == ""


def test_the_digest_of_nothing_is_never_sent() -> None:
    of_nothing = hashlib.sha256(b"").hexdigest()
    for step in SPELLED:
        assert parse_transforms([step]).apply("\u200b \ufeff") != of_nothing


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_transform_says_all_its_steps_with_their_versions_in_one_spelling() -> None:
    assert parse_transforms([" trim", "google@1.phone( de )"]).name == "trim | google@1.phone(DE)"
    assert parse_transforms(["date( %d/%m/%Y ->%Y%m%d )", "sha256"]).name == "date(%d/%m/%Y -> %Y%m%d) | sha256"
    assert parse_transforms(["date(%d/%m/%Y -> iso8601)"]).name == "date(%d/%m/%Y)"
    assert parse_transforms([]).name == ""


def test_a_transform_says_whether_its_result_is_a_digest() -> None:
    assert parse_transforms(["trim", "sha256"]).hashes
    assert parse_transforms(["meta@1.zip"]).hashes
    assert not parse_transforms(["google@1.zip"]).hashes
    assert not parse_transforms(["google@1.country"]).hashes
    assert not parse_transforms(["trim"]).hashes
    assert not parse_transforms([]).hashes


def test_what_is_not_hashed_by_its_vendor_may_be_hashed_after_it() -> None:
    made = parse_transforms(["google@1.zip", "sha256"]).apply(" 94035 ")
    assert made == hashlib.sha256(b"94035").hexdigest()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["lowre"], "unknown transform 'lowre'; did you mean 'lower'?"),
        (["sha-256"], "unknown transform 'sha-256'; did you mean 'sha256'?"),
        (["rot13"], "unknown transform 'rot13'"),
        ([""], "unknown transform ''"),
        (["x" * 100], f"unknown transform '{'x' * 60}…'"),
        (["trim(3)"], "'trim' takes nothing in parentheses"),
        (["meta@1.email(DE)"], "'meta@1.email' takes nothing in parentheses"),
        (["meta@1.emial"], "meta@1 has no field 'emial'; did you mean 'email'?"),
        (["google@1"], "'google@1' needs a field, as in google@1.email; it has email, phone, first_name, last_name, zip, country"),
        (["google@1.dob"], "google@1 has no field 'dob'; it has email, phone, first_name, last_name, zip, country"),
        (["meta@2.email"], "unknown transform 'meta@2.email'; did you mean 'meta@1.email'?"),
        (["e164"], "'e164' needs the region whose numbers have no country code, as in e164(DE)"),
        (["e164()"], "'e164' needs the region whose numbers have no country code, as in e164(DE)"),
        (["e164(Germany)"], "'e164': 'Germany' is not a region; use two letters of ISO 3166-1, such as DE"),
        (["meta@1.phone(XX)"], "'meta@1.phone': 'XX' is not a region; use two letters of ISO 3166-1, such as DE"),
        (["date"], "'date' needs how dates are written, as in date(%d/%m/%Y) or date(%d/%m/%Y -> %Y%m%d)"),
        (["date(%Y -> %m -> %d)"], "'date' needs how dates are written, as in date(%d/%m/%Y) or date(%d/%m/%Y -> %Y%m%d)"),
        (["date(%Y-%m)"], "'date': '%Y-%m' is not iso8601, and no strptime pattern that says year, month and day"),
        (["date(%Q)"], "'date': '%Q' is not iso8601, and no strptime pattern that says year, month and day"),
        (["date(%d.%m.%Y -> %d.)"], "'date': '%d.' is not iso8601, and no strptime pattern that says year, month and day"),
        (["sha256", "lower"], "'lower' follows 'sha256', whose result is a digest already"),
        (["meta@1.email", "sha256"], "'sha256' follows 'meta@1.email', whose result is a digest already"),
        (["trim"] * (MAX_STEPS + 1), f"{MAX_STEPS + 1} transforms are more than the {MAX_STEPS} that a field may have"),
    ],
)  # fmt: skip
def test_a_transform_that_cannot_be_meant_is_named_with_its_reason(steps: list[str], message: str) -> None:
    with pytest.raises(BadTransform) as refused:
        parse_transforms(steps)
    assert str(refused.value) == message


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_regions_are_those_that_the_library_knows() -> None:
    assert phonenumbers.SUPPORTED_REGIONS == REGIONS


def test_every_region_but_three_is_a_country() -> None:
    assert {region for region in REGIONS if country_code(region) != region.lower()} == {"AC", "TA", "XK"}


def test_a_word_names_one_country_at_most() -> None:
    table = country_code.__globals__["_TABLE"]
    words = Counter(word for line in table.splitlines() for word in line.split())
    assert [word for word, count in words.items() if count > 1] == []


def test_reading_a_spec_does_not_import_the_library_of_telephones() -> None:
    program = (
        "import sys; from reconciler.core.transforms import parse_transforms;"
        "parse_transforms(['e164(DE)', 'google@1.email']); print('phonenumbers' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said == "False\n"
