"""Reading delimited text: the same rows as Python's csv module, whatever the blocks are cut like."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.core.provider import Block, Reject
from reconciler.data import blocks as blocks_module
from reconciler.data.blocks import CHANGED, Reader
from reconciler.data.delimited import Delimited
from reconciler.data.records import Dialect
from reconciler.errors import Fatal

SOUP = st.text(alphabet=',;"\n\r aé0', max_size=60)


def read(
    path: Path, mark: Any = None, *, block_bytes: int = 16 << 20, delimiter: str = ",", quote: str = '"',
    header: bool = True, columns: list[str] | None = None, encoding: str = "utf-8", now_ms: int = 10**13,
) -> list[Block]:  # fmt: skip
    reader = Reader(block_bytes=block_bytes, compression="auto", encoding=encoding, now_ms=now_ms)
    return list(reader.blocks(path, mark, lambda: Delimited(Dialect(delimiter, quote), header, columns)))


def rows(found: list[Block]) -> list[list[str]]:
    return [list(row.values()) for block in found for row in block.table.to_pylist()]


def rejects(found: list[Block]) -> list[Reject]:
    return [reject for block in found for reject in block.rejects]


def by_python_raw(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def by_python(text: str) -> list[list[str]]:
    return [row for row in by_python_raw(text) if row]


def first_record_is_open(text: str) -> bool:
    """Whether more text could still belong to the first record: a mark behind it would become part of it."""
    first = next((row for row in by_python_raw(text + "\nMARK") if row), [])
    return any("MARK" in field for field in first) and first != ["MARK"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "a.csv"


@given(text=SOUP, block_bytes=st.integers(1, 40))
@example(text='a,b\n"x\n', block_bytes=3)
@example(text='a"b,c\n"x"y"z,1\r\r\n\n2,3', block_bytes=4)
@settings(max_examples=200, deadline=None)
def test_any_text_reads_as_pythons_csv_module_reads_it(path: Path, text: str, block_bytes: int) -> None:
    path.write_bytes(text.encode())
    if first_record_is_open(text):
        with pytest.raises(Fatal, match=r"a quote is opened in the first record and never closed$"):
            read(path, block_bytes=block_bytes)
        return
    found = read(path, block_bytes=block_bytes)
    expected = by_python(text)
    width = len(expected[0]) if expected else 0
    open_ended = any(reject.reason == "a quote is opened and never closed" for reject in rejects(found))
    body = expected[1:-1] if open_ended else expected[1:]
    assert rows(found) == [row for row in body if len(row) == width]
    wrong = [len(row) for row in body if len(row) != width]
    assert [
        int(reject.reason.rsplit(" ", 1)[1]) for reject in rejects(found) if reject.reason.startswith("expected")
    ] == wrong


@given(
    table=st.lists(st.lists(st.text(max_size=12), min_size=3, max_size=3), max_size=12),
    block_bytes=st.integers(1, 60),
    delimiter=st.sampled_from(",;\t|"),
    quote=st.sampled_from("\"'"),
    ending=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=100, deadline=None)
def test_whatever_python_writes_is_read_back(
    path: Path, table: list[list[str]], block_bytes: int, delimiter: str, quote: str, ending: str
) -> None:
    out = io.StringIO(newline="")
    kept = [[field.encode("utf-8", "ignore").decode() for field in row] for row in [["a", "b", "c"], *table]]
    quoting: Any = csv.QUOTE_MINIMAL if ending == "\r\n" else csv.QUOTE_ALL  # with LF it leaves a CR unquoted
    csv.writer(out, delimiter=delimiter, quotechar=quote, lineterminator=ending, quoting=quoting).writerows(kept)
    path.write_bytes(out.getvalue().encode())
    found = read(path, block_bytes=block_bytes, delimiter=delimiter, quote=quote)
    assert rows(found) == kept[1:]
    assert rejects(found) == []


@given(text=SOUP, cut=st.integers(0, 60), first=st.integers(1, 30), second=st.integers(1, 30))
@example(text="éé\r\n0", cut=5, first=1, second=2)
@settings(max_examples=150, deadline=None)
def test_a_file_read_before_and_after_it_grew_lands_as_if_read_once_or_lands_whole(
    path: Path, text: str, cut: int, first: int, second: int
) -> None:
    content = b"a,b\n" + text.encode()
    path.write_bytes(content[: 4 + cut])
    before = read(path, block_bytes=first)
    path.write_bytes(content)
    after = read(path, before[-1].mark, block_bytes=second, now_ms=0)
    whole = read(path, block_bytes=second)
    if after and after[0].note == CHANGED:
        before = []
    assert rows(before) + rows(after) == rows(whole)
    assert [one.line for one in (*rejects(before), *rejects(after))] == [one.line for one in rejects(whole)]


@given(text=SOUP, stop=st.integers(0, 10), block_bytes=st.integers(1, 30))
@settings(max_examples=80, deadline=None)
def test_reading_goes_on_from_the_mark_of_any_block(path: Path, text: str, stop: int, block_bytes: int) -> None:
    path.write_bytes(b"a,b\n" + text.encode())
    whole = read(path, block_bytes=block_bytes)
    head = whole[: stop + 1]
    rest = read(path, head[-1].mark, block_bytes=7)
    assert all(block.note != CHANGED for block in rest)
    assert rows(head) + rows(rest) == rows(whole)
    assert [one.line for one in (*rejects(head), *rejects(rest))] == [one.line for one in rejects(whole)]


@given(
    table=st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=1, max_size=8),
    block_bytes=st.integers(1, 40),
)
@settings(max_examples=50, deadline=None)
def test_a_row_is_located_by_its_line_and_text(path: Path, table: list[list[str]], block_bytes: int) -> None:
    out = io.StringIO(newline="")
    kept = [[field.encode("utf-8", "ignore").decode() for field in row] for row in table]
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(kept)
    text = out.getvalue()
    path.write_bytes(b"a,b\n" + text.encode())
    for block in read(path, block_bytes=block_bytes):
        assert block.locate is not None
        for row, (line, found) in enumerate(block.locate(range(block.table.num_rows))):
            assert by_python(found) == [list(block.table.slice(row, 1).to_pylist()[0].values())]
            joined = "a,b\n" + text
            before = joined.replace("\r\n", "\n").replace("\r", "\n").split("\n")[line - 1 :]
            normal = found.replace("\r\n", "\n").replace("\r", "\n")
            assert "\n".join(before).startswith(normal)


def test_names_are_made_distinct_and_case_is_kept(path: Path) -> None:
    path.write_text("a,A,a,,a_1\n1,2,3,4,5\n")
    (block,) = read(path)
    assert block.table.column_names == ["a", "A", "a_2", "column3", "a_1"]


def test_columns_take_the_place_of_a_header_or_stand_for_it(path: Path) -> None:
    path.write_text("a,b\n1,2\n")
    assert read(path, columns=["x", "y"])[0].table.to_pylist() == [{"x": "1", "y": "2"}]
    assert len(rows(read(path, header=False, columns=["x", "y"]))) == 2
    assert read(path, header=False)[0].table.column_names == ["column0", "column1"]
    with pytest.raises(Fatal, match="the header has 2 columns, and `columns` names 1"):
        read(path, columns=["x"])


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)  # fmt: skip
def test_encodings_are_read_and_a_byte_order_mark_is_no_data(path: Path, encoding: str, written: str) -> None:
    path.write_bytes("näme,b\né,ü\n".encode(written))
    assert read(path, encoding=encoding, block_bytes=4)[0].table.column_names == ["näme", "b"]
    assert rows(read(path, encoding=encoding, block_bytes=4)) == [["é", "ü"]]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("utf-8", b"a\n1\n\xff\n2\n"), ("cp1252", b"a\n1\n\x81\n2\n"), ("utf-16-le", "a\n1\n".encode("utf-16-le") + b"\x00\xdc\n\x002\x00\n\x00")],
)  # fmt: skip
def test_what_is_not_text_in_the_encoding_is_rejected_by_line(path: Path, encoding: str, content: bytes) -> None:
    path.write_bytes(content)
    found = read(path, encoding=encoding)
    assert rows(found) == [["1"], ["2"]]
    assert [(one.line, one.reason) for one in rejects(found)] == [(3, "not valid text in the file's encoding")]


@pytest.mark.parametrize("value", [b"\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x82"])
@pytest.mark.parametrize("record", [b"%b,\xac", b'"%b",\xac', b"\xc3\xa9,%b"])
def test_a_value_that_ends_inside_a_character_is_never_made_whole_by_what_follows(
    path: Path, record: bytes, value: bytes
) -> None:
    path.write_bytes("a,b\né,€\n".encode() + record % value + "\n€,é\n".encode())
    found = read(path)
    assert rows(found) == [["é", "€"], ["€", "é"]]
    assert [(one.line, one.reason) for one in rejects(found)] == [(3, "not valid text in the file's encoding")]


def test_a_mark_that_begins_a_record_is_a_field_s_own_in_every_block(path: Path) -> None:
    path.write_bytes("a,b\n\ufeff1,2\n\ufeff3,4\n".encode())
    for block_bytes in (8, 1 << 20):
        assert rows(read(path, block_bytes=block_bytes)) == [["\ufeff1", "2"], ["\ufeff3", "4"]]
    path.write_bytes("a,b\n\ufeff1\n".encode())
    assert [one.reason for one in rejects(read(path))] == ["expected 2 columns, found 1"]


def test_a_nul_is_an_ordinary_character(path: Path) -> None:
    path.write_bytes(b"a,b\n\x00,x\x00y\n")
    assert rows(read(path)) == [["\x00", "x\x00y"]]


def test_a_record_longer_than_the_limit_is_fatal(path: Path) -> None:
    path.write_bytes(b"a\n1\n" + b"x" * (blocks_module.RECORD_BYTES + 10) + b"\n")
    with pytest.raises(Fatal, match=r"^line 3: a record is longer than 32 MiB; is a quote left open\?$"):
        read(path, block_bytes=8 << 20)


def test_more_columns_than_the_limit_are_fatal(path: Path) -> None:
    path.write_text(",".join("a" * 10_002) + "\n")
    with pytest.raises(Fatal, match="line 1: 10002 columns; a file may have 10000"):
        read(path)


def test_an_empty_file_and_a_lone_header_hold_no_rows_and_may_grow(path: Path) -> None:
    for before in ("", "a,b", "a,b\n"):
        path.write_text(before)
        (block,) = read(path)
        assert block.table.num_rows == 0
        path.write_text("a,b\n1,2\n")
        assert rows(read(path, block.mark)) == [["1", "2"]]


def test_without_a_quote_character_none_quotes(path: Path) -> None:
    path.write_text('a,b\n"x,y\n')
    assert rows(read(path, quote="")) == [['"x', "y"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\xff,b\n1,2\n", r"^line 1: the header is not valid text in the file's encoding$"),
        (b'\n\n"a,b\n', r"^line 3: a quote is opened in the first record and never closed$"),
        (b"a" * 200_000 + b",b\n", r"^line 1: the name of a column is longer than 131072 characters$"),
        (b"a" * (blocks_module.RECORD_BYTES + 1), r"^line 1: the header is longer than 32 MiB$"),
    ],
)
def test_a_header_that_is_none_is_fatal(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(Fatal, match=message):
        read(path, block_bytes=8 << 20)


@pytest.mark.parametrize("before", [b"", b"\n", b"\r\n\r\n", b"\xef\xbb\xbf\r\n"])
def test_what_is_wrong_with_a_header_is_said_with_its_line(path: Path, before: bytes) -> None:
    path.write_bytes(before + b"a,\xff\n1,2\n")
    line = 1 + before.count(b"\n")
    with pytest.raises(Fatal, match=rf"^line {line}: the header is not valid text"):
        read(path)
    path.write_bytes(before + b"a,b\n1,2\n")
    with pytest.raises(Fatal, match=rf"^line {line}: the header has 2 columns, and `columns` names 1"):
        read(path, columns=["one"])


def test_a_first_record_without_a_header_may_hold_a_field_of_any_length(path: Path) -> None:
    long = "a" * 200_000
    path.write_text(f"{long},1\n2,{long}\n")
    assert rows(read(path, header=False, columns=["one", "two"])) == [[long, "1"], ["2", long]]
