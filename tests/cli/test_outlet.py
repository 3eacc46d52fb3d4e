"""Output that nobody reads holds nobody up, and comes in order when it is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.outlet import KEPT
from reconciler.cli.terminal import Terminal


@pytest.fixture
def pipe() -> Iterator[tuple[int, Terminal]]:
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as out:
        yield reading, Terminal(out=out, err=out)
    os.close(reading)


def read_until(fd: int, last: str) -> list[str]:
    data = b""
    while not data.endswith(f"{last}\n".encode()):
        data += os.read(fd, 1 << 16)
    return data.decode().splitlines()


def test_what_is_printed_while_nobody_reads_comes_in_order_later(pipe: tuple[int, Terminal]) -> None:
    fd, terminal = pipe
    lines = [f"{number} {'é' * 50}" for number in range(5_000)]  # some 500 KiB, of which the pipe takes 64
    with terminal.never_waiting():
        for number, line in enumerate(lines):
            (terminal.warn if number % 2 else terminal.print)(line)
        assert read_until(fd, lines[-1]) == lines
    assert terminal.failure is None


def test_of_more_lines_than_are_kept_the_oldest_give_way_and_that_is_said(pipe: tuple[int, Terminal]) -> None:
    fd, terminal = pipe
    with terminal.never_waiting():
        for number in range(KEPT + 5_000):
            terminal.print(f"{number:06d} {'x' * 50}")
        terminal.print("last")
        said = read_until(fd, "last")
    left_out = [line for line in said if line.startswith("(")]  # said wherever lines are missing: once, or more often
    assert left_out
    assert all(line.endswith(" lines were left out here, because nobody read them)") for line in left_out)
    numbers = [int(line.split()[0]) for line in said if not line.startswith(("(", "last"))]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + sum(int(line[1:].split()[0].replace(",", "")) for line in left_out) == KEPT + 5_000


def test_a_reader_that_went_away_is_no_failure_and_a_file_is_written_as_ever(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    path = tmp_path / "said"
    with open(writing, "w", encoding="utf-8") as out, path.open("w") as err:
        terminal = Terminal(out=out, err=err)
        with terminal.never_waiting():
            terminal.print("nobody hears")
            terminal.print("this")
            terminal.warn("but this")
            assert not terminal.is_open
            assert path.read_text() == "but this\n"
    assert terminal.failure is None
    assert not [one for one in threading.enumerate() if one.name == "output"]
