"""Secrets are taken out of text, in whatever clothing they travel."""

from __future__ import annotations

import base64
import html
import json
import traceback
from urllib.parse import quote, quote_plus, urlencode

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor

TOKEN = "p4ß\"w/o\\r'd+&<%\t=end"
CLOTHING = {
    "as it is": lambda s: s,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda s: json.dumps(s, ensure_ascii=False),
    "JSON in JSON": lambda s: json.dumps({"a": s}),
    "repr": repr,
    "repr of bytes": lambda s: repr(s.encode()),
    "repr in a list": lambda s: repr([s]),
    "percent": lambda s: quote(s, safe=""),
    "percent, as in a path": quote,
    "percent, lower case": lambda s: quote(s, safe="").lower() if s.islower() else quote(s, safe=""),
    "a form": lambda s: urlencode({"k": s}),
    "plus": quote_plus,
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in a URL": lambda s: quote(base64.b64encode(s.encode()), safe=""),
    "a host's name": str.lower,
    "hex": lambda s: s.encode().hex(),
    "HEX": lambda s: s.encode().hex().upper(),
    "HTML": html.escape,
    "escapes": lambda s: s.encode("unicode_escape").decode(),
}


def masked(text: str, *secrets: str) -> str:
    return Redactor([Secret(one) for one in secrets]).redact(text)


@pytest.mark.parametrize("clothing", CLOTHING)
def test_a_secret_is_found_in_its_usual_encodings(clothing: str) -> None:
    dressed = CLOTHING[clothing](TOKEN)
    text = masked(f"before {dressed} after", TOKEN)
    assert "***" in text
    assert dressed.strip("'\"[]{}k=b") not in text
    assert text.startswith("before ")
    assert text.endswith(" after")


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=8, max_size=40)
    .map(str.strip)
    .filter(lambda s: len(s) >= 8),
    st.sampled_from(sorted(CLOTHING)),
)
@example("aaaaaaaa", "as it is")
def test_no_secret_of_eight_characters_is_left_standing(secret: str, clothing: str) -> None:
    dressed = CLOTHING[clothing](secret)
    core = dressed.strip("'\"[]{}k=b ")
    if "*" in core:
        return
    assert core not in masked(f"x={dressed};", secret)


@pytest.mark.parametrize("user", ["", "u", "us", "user", "someone"])
def test_a_password_is_found_in_basic_authorization(user: str) -> None:
    header = base64.b64encode(f"{user}:{TOKEN}".encode()).decode()
    text = masked(f"Authorization: Basic {header}", TOKEN)
    assert "***" in text
    left = text.replace("Authorization: Basic ", "").replace("***", "")
    assert len(left) <= len(base64.b64encode(f"{user}:".encode())) + 4


def test_user_and_password_together_are_found_whole() -> None:
    header = base64.b64encode(f"maria:{TOKEN}".encode()).decode()
    assert masked(f"Basic {header}!", "maria", TOKEN) == "Basic ***!"


def test_the_longest_secret_is_replaced_first() -> None:
    assert masked("token-123-456", "token-123", "token-123-456") == "***"


def test_a_secret_of_several_lines_is_found_line_by_line() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----"
    text = masked("line 2: MIIEvQIBADANBg; line 3: kqhkiG9w0BAQEF", key)
    assert text == "line 2: ***; line 3: ***"
    assert masked(json.dumps(key), key) == '"***"'


def test_a_short_secret_is_replaced_only_where_it_stands_alone() -> None:
    assert masked("a cat ate a=a, pan", "a") == "*** cat ate ***=***, pan"


def test_without_secrets_a_text_stays_as_it_is() -> None:
    assert Redactor([]).redact("anything") == "anything"
    assert Redactor({}).redact_bytes(b"\xff") == b"\xff"


def test_bytes_need_not_be_text() -> None:
    redactor = Redactor({"token": Secret("geheimnis-ü")})
    assert redactor.redact_bytes(b"\xff\xfe geheimnis-\xc3\xbc \x00") == b"\xff\xfe *** \x00"


def test_a_traceback_holds_no_secret() -> None:
    secret = Secret("canary-1234")
    try:
        raise ValueError(f"bad value {secret.reveal()!r} of {secret} {secret!r} {secret:>20}")
    except ValueError as error:
        text = "".join(traceback.format_exception(error))
    assert "canary" in text
    assert "canary-1234" not in Redactor([secret]).redact(text).replace('f"bad', "")


def test_an_end_that_may_be_half_a_secret_goes_with_a_text_that_was_cut() -> None:
    redactor = Redactor([Secret("0123456789abcdef")])
    assert redactor.redact("said 0123456789ab") == "said 0123456789ab"
    assert "0123" not in redactor.redact_beginning("said " * 100 + "0123456789ab")
    assert redactor.redact_beginning("0123456789abcdef " * 100).startswith("*** *** ***")
    assert Redactor([]).redact_beginning("anything") == "anything"


def test_only_a_secret_that_is_too_long_for_chance_shows() -> None:
    redactor = Redactor([Secret("orders"), Secret("0123456789abcdef")])
    assert not redactor.shows_in("orders/2026.csv")
    assert redactor.shows_in("https://example.com/?token=0123456789abcdef")
    assert redactor.shows_in(base64.b64encode(b"0123456789abcdef").decode())
    assert not Redactor([Secret("orders")]).shows_in("orders")
    assert not Redactor([]).shows_in("anything")


@pytest.mark.parametrize("form", ["/a/{}", "/a/?b={}"])
def test_a_secret_is_found_in_an_address_that_was_made_regular(form: str) -> None:
    secret = 'a"b%41c<d>e{f}g`h%zz i#'
    url = str(httpx.URL("http://example.com").join(form.format(secret.replace("#", ""))))
    assert "%41c" not in masked(url, secret.replace("#", ""))


def test_a_long_run_of_letters_is_found_whatever_was_done_to_what_is_around_it() -> None:
    secret = '"0123456789abcdef"'
    assert masked(repr(json.dumps(json.dumps(secret))), secret).count("0123456789abcdef") == 0


def test_a_secret_is_masked_in_much_text_fast() -> None:
    redactor = Redactor([Secret("0123456789abcdef" * 4), Secret("another-secret")])
    text = "nothing to see here " * 20_000
    assert redactor.redact(text + "another-secret") == text + "***"
