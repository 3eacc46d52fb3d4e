"""The fast parser accepts only what the careful one accepts, and yields exactly the same; and no bytes break either."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.spec_rules import Rules
from reconciler.repo import parse_careful, parse_fast
from reconciler.repo.parse import parse_file
from reconciler.repo.yaml_text import Chunk, NotText, decode, split
from tests.specs import AUDIENCE, AUTHORIZATION, CATALOGUE, CRON_JOB, EVERY_KIND, JOB, STREAM

RULES = Rules(CATALOGUE)
SPECS = (JOB, AUTHORIZATION, STREAM, AUDIENCE, CRON_JOB)
EXTRAS = (
    "apiVersion: reconciler/v1\nkind: Job\nmetadata: {name: extras}\nspec:\n  provider: s3\n  jobType: import-csv\n"
    "  rerun: again\n  config:\n    bucket: b\n    stream: s\n    ratio: 2.5\n    extra:\n      a: 1\n      b: [x, 'y', \"z\"]\n"
    "      c: |\n        text\n        more\n      d: {e: null, f: ~}\n      g: plain words\n"
)

#: What a mutation puts in: YAML's own characters and the scalars that parsers disagree on.
PIECES = (
    ":", ": ", " ", "  ", "\n", "\n  ", "- ", "-", "---", "---\n", "\n---\n", "...", "\n...\n", "#", " #", "'", '"', "[", "]", "{", "}",
    ",", "&a ", "*a", "*", "&", "!", "!!str ", "!x ", "|", ">", "|-\n", ">+\n", "%", "%YAML 1.2\n", "@", "`", "? ", "\t", "\r", "\r\n",
    "\\", "\\n", "\x00", "\x7f", "\x85", "\u2028", "\ufeff", "é", "\U0001f600", "<<: ", "<<: {a: 1}\n", "~", "null", "Null", "true",
    "True", "TRUE", "no", "yes", "on", "off", "0", "1", "012", "-012", "+1", "0o14", "0O14", "0x1F", "0X1f", "-0x1", "0b11", "1_000", "1e3",
    "1E5", "1e400", ".5", "5.", "-.5", "+.5", "+5.5", ".inf", "-.INF", ".nan", "1.5", "-0", "-0.0", "00", "0.10", "1:30", "12:30:45",
    "2027-06-30", "2027-06-30T00:00:00Z", "9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 40, "1h", "1h30m",
    "5m", "", "a", "a: ", "name: ", "spec: ", "kind: Job\n", "suspend: true\n", "\n  suspend: yes", "\n  timeout: 5", "\n  rerun: 012",
    "\n  rerun: 7", "\n  rerun: '7'", "=", "12e03", "0.1e1", "1.", "0x", "- - a", "[[]]", "{a: {b: c}}", "{a, b}", "? a\n: b", "&a [*a]",
)  # fmt: skip


def both(chunk: Chunk) -> tuple[object, object]:
    return parse_fast.parse_chunk(chunk, "a.yaml", RULES), parse_careful.parse_chunk(chunk, "a.yaml", RULES)


def holds(text: str, seen: Counter[str]) -> None:
    """The law, for each document of a text."""
    try:
        chunks = split(decode(text.encode("utf-8", "surrogatepass")))
    except NotText:
        seen["not text"] += 1
        return
    for chunk in chunks:
        fast, (careful, problems) = both(chunk)  # type: ignore[misc]
        seen["fast" if fast else "careful" if careful else "refused"] += 1
        assert (careful is None) == bool(problems)
        assert fast is None or fast == careful
        assert fast is None or repr(fast) == repr(careful)
        for problem in problems:
            assert problem.message
            assert 1 <= problem.line <= text.count("\n") + 2
            assert problem.column >= 1
            assert "\n" not in str(problem)


@pytest.mark.parametrize("spec", [*SPECS, EXTRAS])
def test_a_valid_spec_takes_the_fast_way(spec: str) -> None:
    seen: Counter[str] = Counter()
    holds(spec, seen)
    assert seen == {"fast": 1}


@st.composite
def edits(draw: st.DrawFn) -> tuple[int, int, str]:
    return (
        draw(st.integers(0, 5_000)),
        draw(st.sampled_from((0, 0, 0, 1, 1, 2, 4, 9, 40))),
        draw(st.sampled_from(PIECES)),
    )


def mutated(spec: str, edit: tuple[int, int, str]) -> str:
    at, cut, piece = edit
    at %= len(spec) + 1
    return spec[:at] + piece + spec[at + cut :]


#: Mutations in one example, and examples in one test: together more than ten thousand mutated specs.
BATCH = 26
EXAMPLES = 100


@pytest.mark.parametrize("start", range(4))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_of_mutated_specs_the_fast_way_accepts_only_what_the_careful_one_does(start: int, data: st.DataObject) -> None:
    seen: Counter[str] = Counter()
    spec = (JOB, CRON_JOB, EXTRAS, AUTHORIZATION + "---\n" + STREAM)[start]
    for edit in data.draw(st.lists(edits(), min_size=BATCH, max_size=BATCH)):
        once = mutated(spec, edit)
        holds(once, seen)
        spec = once if sum(edit[:2]) % 5 == 0 else spec  # now and then a mutation stays for those that follow


@pytest.mark.parametrize("piece", PIECES)
def test_any_piece_as_a_value_is_read_alike_everywhere(piece: str) -> None:
    seen: Counter[str] = Counter()
    for old, new in (
        ("a: 1", "a: " + piece), ("g: plain words", "g: " + piece), ("[x,", f"[{piece},"), ("e: null", f"e: {piece}"),
        ("rerun: again", f"rerun: {piece}"), ("a: 1", f"{piece}: 1"), ("e: null", f"{piece}: 1"), ("ratio: 2.5", f"ratio: {piece}"),
        ("plain words", f"plain\n        {piece}"), ("'y'", f"'{piece}'"), ('"z"', f'"{piece}"'), ("name: extras", f"name: {piece}"),
        ("bucket: b", f"bucket:   {piece}   # c"), ("text\n", f"{piece}\n"), ("extra:\n", f"extra: {piece}\n"), ("", piece),
    ):  # fmt: skip
        assert old in EXTRAS
        holds(EXTRAS.replace(old, new, 1), seen)
    assert sum(seen.values())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_anything_and_what_is_not_accepted_has_a_place(content: bytes) -> None:
    parsed = parse_file("a.yaml", content, CATALOGUE)
    assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in parsed.problems)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 5_000), st.binary(max_size=6), st.integers(0, 6))
def test_no_bytes_within_a_valid_file_raise_anything(at: int, piece: bytes, cut: int) -> None:
    content = EVERY_KIND.encode()
    at %= len(content)
    parsed = parse_file("a.yaml", content[:at] + piece + content[at + cut :], CATALOGUE)
    assert len(parsed.documents) + len(parsed.problems) >= 1


_TREE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(PIECES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.sampled_from(PIECES), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(_TREE)
def test_any_values_written_by_pyyaml_are_read_alike(value: object) -> None:
    import yaml

    text = yaml.safe_dump({"extra": value}, allow_unicode=True, width=60)
    inner = "".join("    " + line for line in text.splitlines(keepends=True))
    seen: Counter[str] = Counter()
    holds(re.sub(r"    extra:\n(.|\n)*", "", EXTRAS) + inner, seen)


def test_a_config_of_any_shape_is_judged_alike_by_both_schema_libraries() -> None:
    from jsonschema import Draft202012Validator

    from reconciler.core.config_schema import compile_schema
    from tests.specs import EXPORT_SCHEMA, IMPORT_SCHEMA

    values = [
        None,
        True,
        0,
        -1,
        1.0,
        0.5,
        10,
        10.5,
        "",
        "x",
        "gzip",
        "http://x",
        [],
        ["a"],
        ["a", "a"],
        [1, 1.0],
        [1, True],
        {},
        {"size": 1},
    ]
    values += [
        {"size": 1.0},
        {"size": "x"},
        {"by": "offset"},
        {"by": 1},
        {"file": "x"},
        {"table": "x"},
        {"file": "x", "table": "y"},
        {"file": 1},
    ]
    for schema in (IMPORT_SCHEMA, EXPORT_SCHEMA):
        compiled, reference = compile_schema(schema), Draft202012Validator(schema)
        for name in [*schema["properties"], "other"]:
            for value in values:
                config = {"bucket": "b", "stream": "s", "url": "http://x", name: value}
                config = {key: one for key, one in config.items() if key in schema["properties"] or key == name}
                issues = compiled.issues(config)
                assert (not issues) == reference.is_valid(config), (name, value, issues)
                assert all(issue.message for issue in issues)
