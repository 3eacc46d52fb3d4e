"""What reaches a terminal: nothing that it obeys, nothing that it cannot show, nothing that breaks a command."""

from __future__ import annotations

import io
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.terminal import Terminal, cells, cut, escape, fit, json_line, json_text


def on(encoding: str = "utf-8", **options: bool) -> tuple[Terminal, io.BytesIO]:
    raw = io.BytesIO()
    return Terminal(out=io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace"), err=None, **options), raw


@given(st.text())
def test_no_text_reaches_a_terminal_as_anything_but_printable_characters(text: str) -> None:
    shown = escape(text)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in shown)
    assert not set(shown) & set("\u202e\u2066\u200f\u2028\ufeff")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_json_is_safe_to_print_and_means_the_same(value: object) -> None:
    for text in (json_text(value), json_line(value)):
        assert json.loads(text) == value
        assert not any((ord(char) < 32 and char != "\n") or 127 <= ord(char) < 160 for char in text)


def test_wide_and_combining_characters_are_counted_as_a_terminal_counts_them() -> None:
    assert (cells("abc"), cells("注文"), cells("e\u0301")) == (3, 4, 1)
    assert cut("注文書類", 5) == "注文…"
    assert cut("short", 5) == "short"


def test_a_table_that_is_too_wide_gives_up_its_widest_columns_first_and_the_name_last() -> None:
    widths = [30, 40, 10]
    fit(widths, 60)
    assert widths == [30, 16, 10]
    fit(widths, 20)
    assert widths[1:] == [8, 8]


def test_columns_line_up_under_wide_characters() -> None:
    terminal, raw = on()
    terminal.table(("Name", "Type"), [("注文", "import"), ("orders", "export")])
    assert raw.getvalue().decode() == "Name    Type\n注文    import\norders  export\n"


def test_an_output_that_is_no_utf8_gets_ascii_instead_of_an_error() -> None:
    terminal, raw = on("ascii")
    terminal.print("a → b … é")
    assert raw.getvalue() == b"a -> b ... \\xe9\n"


def test_colours_are_there_only_where_they_are_wanted() -> None:
    assert on(colour=True)[0].status("Failed") == "\x1b[31mFailed\x1b[0m"
    assert on()[0].status("Failed") == "Failed"


def test_many_lines_are_seen_together_each_as_if_it_had_been_printed_alone() -> None:
    class Counted(io.TextIOWrapper):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1
            super().flush()

    raw = io.BytesIO()
    out = Counted(raw, encoding="ascii", errors="backslashreplace")
    Terminal(out=out, err=None).print_all(f"{number} → {number + 1}" for number in range(3))
    assert raw.getvalue() == b"0 -> 1\n1 -> 2\n2 -> 3\n"
    assert out.flushed == 1


def test_a_reader_that_went_away_silences_the_output_and_is_no_failure() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    terminal = Terminal(out=Gone(), err=None)
    terminal.print("a")
    terminal.print("b")
    assert not terminal.is_open
    assert terminal.failure is None


def test_a_full_disk_is_remembered_as_a_failure() -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        terminal = Terminal(out=full, err=None)
        terminal.print("a")
        assert terminal.failure is not None
        assert terminal.failure.strerror == "No space left on device"


def test_a_closed_output_is_as_good_as_none() -> None:
    terminal = Terminal(out=None, err=None)
    terminal.print("a")
    terminal.warn("b")
    terminal.flush()
    assert not terminal.is_open
