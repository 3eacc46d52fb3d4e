"""What is read line by line is read as the careful parser reads it; what is not surely so is declined."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.repo import yaml_plain
from reconciler.repo.yaml_nodes import Malformed, Node, compose
from reconciler.repo.yaml_text import FORBIDDEN
from tests.repo.test_parse_fast import PIECES
from tests.specs import AUTHORIZATION, CRON_JOB, JOB, STREAM


class Refused(Exception):
    """The careful parser has no value for it."""


def careful(text: str) -> Any:
    if FORBIDDEN.search(text):
        raise Refused
    try:
        node = compose(text)
    except Malformed:
        raise Refused from None
    return _value(node)


def _value(node: Node | None) -> Any:
    if node is None or node.wrong or node.merge:
        raise Refused
    if node.kind == "list":
        return [_value(one) for one in node.items]
    if node.kind == "scalar":
        return node.value
    keys = [_value(key) for key, _ in node.pairs]
    if len(set(keys)) != len(keys) or not all(type(key) is str for key in keys):
        raise Refused
    return {key: _value(value) for key, (_, value) in zip(keys, node.pairs, strict=True)}


def holds(text: str) -> bool:
    """The law; whether the text was read."""
    found = yaml_plain.load(text)
    if found is not None:
        assert repr(found) == repr(careful(text)), text  # True is not 1, nor 1.0
    return found is not None


SCALARS = (
    "plain", "two  words", "a-b/c.d", "orders-*.csv.gz", "http://x/y", "a:b", "a: b", "a :b", "a:", "it's", 'say "no"', "a & b", "a, b",
    "'quoted'", '"quoted"', "'a''b'", '"a\\nb"', "''", '""', '"a # b"', "'# a'", '"a" b', "'a'b", "'2'", '"é: ü"', "Größe", "\u0663", "数",
    "true", "True", "yes", "no", "on", "y", "null", "~", "Null", "0", "7", "12", "012", "-1", "+1", "1_000", "0x1F", "0o14", "0b1", "1e3",
    "0.5", "1.", ".5", "00.5", "123456789012345", "1234567890123456", "1h", "30s", "1h30m", "5ms", "1e", "10d", "2027-06-30", "/a/b", "./a", "../a", "./", "..", ".", "_", "...", "/", "//",
    "2027-06-30T00:00:00Z", "12:30:45", "22:00", "{}", "[]", "{ }", "[ ]", "{a: b}", "{a: b, c: 1}", "{a: b,}", "{a: 'x, y', b: \"{\"}",
    "{a: {b: c}}", "{a}", "{a: }", "{a: b, a: c}", "{a:b}", "{a: b c, d: 0.5}", "{every: 1h}", "[a, b]", "[a, 'b', \"c\", 1]", "[a,]", "[,]",
    "[a b, c]", "[a: b]", "[[a]]", "[a, b", "{a: b", "{a: b} c", "[a] # c", "*a", "&a b", "!x y", "!!str a", "|", ">", "|-", "%a", "@a", "`a",
    "- a", "-", "--", "?", "? a", "#a", "a#b", "a #b", "<<", "=", ".inf", ".nan", "a\\b", "a\tb", "a\u00a0b", "a\u2028b", "\ufeffa", "a ", "a\r",
    "{a: b#c}", "[a #b]", "{a: [b]}", "{on: yes}", "{no: y}", "{null: a}", "{true: a}", "{a: null}", "[null]", "[~]", "{a: 1h, b: 012}", "{ a: b }",
)  # fmt: skip
KEYS = ("a", "b", "c", "key", "no", "on", "y", "true", "null", "1", "'q'", "a b", "é", "a.b", "-", "<<", "x-y", "")
AFTER = ("", "", "", "", "", " ", " # why", " #", "# no", "   # x: y", " \t")


@st.composite
def lines(draw: st.DrawFn) -> str:
    indent = " " * draw(st.sampled_from((0, 0, 0, 2, 2, 2, 2, 4, 4, 1, 3)))
    scalar = draw(st.one_of(st.sampled_from(SCALARS), st.sampled_from(PIECES)))
    after = draw(st.sampled_from(AFTER))
    match draw(st.integers(0, 9)):
        case 0:
            return indent + after.lstrip("# ") + draw(st.sampled_from(("", "", "# a: b", "---", "...")))
        case 1 | 2:
            return f"{indent}- {scalar}{after}"
        case 3 | 4 | 5:
            return f"{indent}{draw(st.sampled_from(KEYS))}:{after}"
        case _:
            return f"{indent}{draw(st.sampled_from(KEYS))}: {scalar}{after}"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(lines(), min_size=1, max_size=7), min_size=8, max_size=8))
def test_lines_in_any_order_are_read_as_the_careful_parser_reads_them(texts: list[list[str]]) -> None:
    for text in texts:
        holds("\n".join(text))


@pytest.mark.parametrize("scalar", [*SCALARS, *PIECES])
def test_any_scalar_is_read_alike_wherever_it_stands(scalar: str) -> None:
    for text in (
        f"k: {scalar}\n", f"k:   {scalar}   # c\n", f"k:\n- {scalar}\n- z\n", f"k:\n  - {scalar}\nl: m\n", f"a:\n  k: {scalar}\n  l: m\nn: o\n",
        f"{scalar}: v\n", f"k: {{a: {scalar}, b: c}}\n", f"k: [{scalar}, z]\n", f"k: {{{scalar}: c}}\n", f"k: v\n{scalar}\n", f"k: v\n  {scalar}\n",
        f"k:\n  {scalar}\n", f"k: '{scalar}'\n", f'k: "{scalar}"\n', f"---\nk: {scalar}\n", f"k: v # {scalar}\n", f"# {scalar}\nk: v\n",
        f"k: w {scalar}\n", f"k: {scalar} w\n", f"k: w{scalar}\n",
    ):  # fmt: skip
        holds(text)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_specs_are_read_as_the_careful_parser_reads_them(data: st.DataObject) -> None:
    for spec in (JOB, CRON_JOB, AUTHORIZATION, STREAM):
        for _ in range(8):
            at, cut = data.draw(st.integers(0, len(spec))), data.draw(st.sampled_from((0, 0, 1, 2, 9)))
            holds(spec[:at] + data.draw(st.sampled_from(PIECES)) + spec[at + cut :])


@pytest.mark.parametrize("spec", [JOB, AUTHORIZATION, STREAM])
def test_a_spec_as_people_write_it_is_read(spec: str) -> None:
    assert holds(spec)


@pytest.mark.parametrize(
    "text",
    [
        "", "# nothing\n", "- a\n", "a\n", "a:\n", "a: b\na: c\n", "a:\n  b: c\n   d: e\n", "a:\n    b: c\n  d: e\n", "a: b\n  c: d\n",
        "a: b\n  c\n", "a:\n  - b\n   - c\n", "a:\n  - b\n  c: d\n", "a:\n- b: c\n", "a: |\n  b\n", "a: &x b\n", "a: *x\n", "a: !!str b\n",
        "<<: {a: b}\n", "a: 012\n", "a: ~\n", "null: a\n", "true: a\n", "a: {b: {c: d}}\n", "a: 'b\n  c'\n", "a: \"\\n\"\n", "a:\tb\n",
        "%YAML 1.2\n---\na: b\n", "--- {a: b}\n", "? a\n: b\n", "a: b\r", "a: b\x85", " a: b\n", "a: 'b'c\n", "a: b # c\n  d\n",
    ],
)  # fmt: skip
def test_what_is_not_plain_is_declined(text: str) -> None:
    assert yaml_plain.load(text) is None


def test_depth_and_length_are_bounded() -> None:
    deep = "".join(f"{' ' * depth}a:\n" for depth in range(30)) + " " * 30 + "b: c\n"
    assert yaml_plain.load(deep) is None
    assert yaml_plain.load("a: " + "b" * yaml_plain.MAX_TEXT) is None


def test_a_value_is_nobody_else_s() -> None:
    first, second = (yaml_plain.load("a: {b: c}\nd: [e]\n") for _ in range(2))
    assert first is not None
    first["a"]["b"] = first["d"][0] = "changed"
    assert second == {"a": {"b": "c"}, "d": ["e"]}
    assert yaml_plain.load("a: {b: c}\nd: [e]\n") == second


def test_lines_are_kept_for_other_files_until_they_are_let_go_and_no_more_than_so_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    yaml_plain.forget()
    yaml_plain.load("a: b\nc: d\n")
    assert set(yaml_plain._known) == {"a: b", "c: d", ""}
    monkeypatch.setattr(yaml_plain, "MAX_LINES", 4)
    yaml_plain.load("e: f\ng: h\n")
    assert len(yaml_plain._known) <= 4
    yaml_plain.forget()
    assert not yaml_plain._known
