"""Lines, redacted and bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.provider import Secret
from reconciler.core.redact import Redactor
from reconciler.runner.capture import LINE_CUT, LONGEST_LINE_BYTES, MAX_CHARACTERS, OUTPUT_DROPPED, Capture
from reconciler.runner.wire import MAX_LINE

SECRET = "correct-horse-battery"
REDACTOR = Redactor([Secret(SECRET)])
NO_SECRETS = Redactor([])


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))), st.integers(1, 7))
def test_lines_come_whole_however_they_are_cut(lines: list[str], step: int) -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.redact_with(NO_SECRETS)
    data = "".join(f"{line}\n" for line in lines).encode()
    for at in range(0, len(data), step):
        capture.feed(data[at : at + step])
    capture.close()
    assert sent == lines


def test_nothing_passes_before_the_secrets_are_known() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.feed(f"early {SECRET}\nhalf of {SECRET[:7]}".encode())
    capture.line("said early")
    assert sent == []
    capture.redact_with(REDACTOR)
    capture.feed(f"{SECRET[7:]}\n".encode())
    assert sent == ["early ***", "half of ***"]


def test_what_is_held_back_is_dropped_if_the_secrets_never_come() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.feed(SECRET.encode() * 100_000)
    capture.close()
    assert sent == [OUTPUT_DROPPED]


def test_a_secret_across_the_place_where_a_line_is_cut_is_redacted() -> None:
    for before in range(MAX_LINE - 60, MAX_LINE + 5):
        sent: list[str] = []
        capture = Capture(sent.append)
        capture.redact_with(REDACTOR)
        capture.feed(b"x" * before + SECRET.encode() + b"\n")
        assert SECRET[:4] not in sent[0]
        assert len(sent[0]) <= MAX_LINE


def test_a_line_without_an_end_takes_bounded_memory_and_is_cut_once() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.redact_with(NO_SECRETS)
    for _ in range(100):
        capture.feed(b"x" * LONGEST_LINE_BYTES)
    capture.feed(b"\nnext\r\n\xff\n")
    assert [len(line) for line in sent[:1]] == [MAX_LINE]
    assert sent[0].endswith(LINE_CUT)
    assert sent[1:] == ["next", "\ufffd"]


def test_a_long_line_of_several_bytes_a_letter_is_cut_between_letters() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.redact_with(NO_SECRETS)
    capture.line("ü" * 10_000)
    assert sent == ["ü" * (MAX_LINE - len(LINE_CUT)) + LINE_CUT]


def test_a_line_that_is_cut_ends_with_no_half_of_a_secret() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    capture.redact_with(REDACTOR)
    line = SECRET * (LONGEST_LINE_BYTES // len(SECRET) + 1)
    capture.feed(f"{line}\n".encode())
    capture.line(line)
    assert len(sent) == 2
    assert all(SECRET[:4] not in text and text.endswith(LINE_CUT) for text in sent)


def test_a_last_line_of_which_more_is_to_come_ends_with_no_half_of_a_secret() -> None:
    for whole, end in ((True, f"end of it {SECRET[:9]}"), (False, LINE_CUT)):
        sent: list[str] = []
        capture = Capture(sent.append)
        capture.redact_with(REDACTOR)
        capture.feed(f"first\nend of it {SECRET[:9]}".encode())
        capture.close(whole=whole)
        assert sent[0] == "first"
        assert sent[1].endswith(end)
        assert (SECRET[:4] in sent[1]) is whole


def test_what_is_held_back_is_cut_at_the_end_of_a_line() -> None:
    sent: list[str] = []
    capture = Capture(sent.append)
    lines = f"{SECRET}\n" * (MAX_CHARACTERS // (len(SECRET) + 1))
    capture.feed(f"{lines}{SECRET}{SECRET}".encode())
    capture.redact_with(REDACTOR)
    capture.feed(b" and more\n")
    assert set(sent[:-1]) == {"***"}
    assert SECRET[:4] not in sent[-1]
