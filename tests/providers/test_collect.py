"""The provider `collect`: tokens of senders, and nothing to run."""

from __future__ import annotations

import pytest

from reconciler.core.provider import Secret
from reconciler.errors import Fatal
from reconciler.providers.collect import PROVIDER


def check(token: str) -> str:
    assert PROVIDER.check is not None
    return PROVIDER.check("bearer", {"token": Secret(token)}, [])


def test_there_is_one_method_and_nothing_to_run() -> None:
    assert [(one.name, list(one.fields)) for one in PROVIDER.methods] == [("bearer", ["token"])]
    assert PROVIDER.job_types == ()


def test_a_token_of_sixteen_characters_can_be_used() -> None:
    assert check("0123456789abcdef") == "senders may use this token"


def test_a_short_token_can_be_used_and_is_said_to_be_guessed_easily() -> None:
    assert check("s3cret") == "senders may use this token; one of fewer than 16 characters is guessed easily"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("0123456789 abcdef", "a token is printable ASCII without spaces; nothing else fits into a header"),
        ("0123456789äbcdef", "a token is printable ASCII without spaces; nothing else fits into a header"),
        ("0123456789\tbcdef", "a token is printable ASCII without spaces; nothing else fits into a header"),
    ],
)
def test_a_token_that_cannot_be_used_is_told_apart(token: str, message: str) -> None:
    with pytest.raises(Fatal, match=f"^credentials.token: {message}$"):
        check(token)
