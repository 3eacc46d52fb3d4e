"""`pause`, `resume` and `rerun` change one field of one document and nothing else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.errors import Blocked, ReconcileError
from reconciler.repo.edit import set_field, write_edit
from reconciler.repo.walk import content_digest
from tests.repo.worktree import spec

SPEC = """\
# Ünïcode before, to move every byte offset: 😀
apiVersion: reconciler/v1
kind: Job
metadata: {name: a}   # é

spec:
  # the vendor
  provider: s3     # why
  jobType: import-csv
  schedule: {every: 1h} # often

  config:
    # deep
    bucket: "x"
"""


def edited(text: str, name: str = "spec.suspend", value: str | bool = True, ordinal: int = 0, **more: Any) -> str:
    return set_field(text.encode("utf-8"), ordinal, name, value, **more).decode("utf-8")


def difference(before: str, after: str) -> list[str]:
    """The lines between what both texts begin with and what both end with."""
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    while old and new and old[0] == new[0]:
        old, new = old[1:], new[1:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return [*(f"- {line}" for line in old), *(f"+ {line}" for line in new)]


def test_a_missing_field_becomes_one_new_line_below_the_schedule() -> None:
    assert difference(SPEC, edited(SPEC)) == ["+   suspend: true\n"]
    assert "often\n  suspend: true\n\n  config" in edited(SPEC)


@pytest.mark.parametrize(
    ("line", "value", "becomes"),
    [
        ("suspend: false # not yet", True, "suspend: true # not yet"),
        ("suspend:   false", True, "suspend:   true"),
        ("suspend: true", False, "suspend: false"),
        ("suspend:", True, "suspend: true"),
        ("suspend: # why", True, "suspend: true # why"),
        ('suspend: "maybe"', True, "suspend: true"),
        ("'suspend': ~", True, "'suspend': true"),
        ("suspend: one", "two", "suspend: two"),
        ("suspend: one", "2026-11-21T10:00:00Z", 'suspend: "2026-11-21T10:00:00Z"'),
        ("suspend: one", "no", 'suspend: "no"'),
        ("suspend: one", "", 'suspend: ""'),
        ('suspend: ""  # once', "two", 'suspend: "two"  # once'),
        ("suspend: ''", "it's", "suspend: 'it''s'"),
        ("suspend: ''", "a\tb", 'suspend: "a\\tb"'),
    ],
)
def test_a_field_that_is_there_gets_its_new_value_on_its_line(line: str, value: str | bool, becomes: str) -> None:
    for ending in ("\n", "", "\n  more: 1\n", "\n---\nkind: Job\n"):
        before = f"{SPEC}  {line}{ending}"
        assert edited(before, value=value) == f"{SPEC}  {becomes}{ending}"


def test_a_value_over_several_lines_becomes_one() -> None:
    before = SPEC + "  rerun: |\n    one\n    two\n  more: 1\n"
    assert edited(before, "spec.rerun", "three") == SPEC + "  rerun: three\n  more: 1\n"


def test_resuming_what_is_not_paused_leaves_the_file_as_it_is() -> None:
    assert edited(SPEC, value=False, insert=False) == SPEC
    assert edited(SPEC + "  suspend: true\n", value=False, insert=False) == SPEC + "  suspend: false\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("spec: {provider: s3}\n", "spec: {suspend: true, provider: s3}\n"),
        ("spec: {}", "spec: {suspend: true}"),
        ("spec: { }", "spec: {suspend: true}"),
        ("spec: { # why\n  a: 1,\n}\n", "spec: {suspend: true, # why\n  a: 1,\n}\n"),
        ("spec: {suspend: false, a: 1}", "spec: {suspend: true, a: 1}"),
        ("spec: {suspend: , a: 1}", "spec: {suspend: true, a: 1}"),
        ('{"kind": "Job", "spec": {"a": [1]}}', '{"kind": "Job", "spec": {"suspend": true, "a": [1]}}'),
        ('{"spec": {"suspend": false}}', '{"spec": {"suspend": true}}'),
        ("spec:\n  config: 1\n  provider: x", "spec:\n  config: 1\n  provider: x\n  suspend: true"),
        ("spec:\n  config: 1\n", "spec:\n  suspend: true\n  config: 1\n"),
        ("spec:\n\n  # c\n  config: {}", "spec:\n\n  # c\n  suspend: true\n  config: {}"),
        ("spec:\n    schedule:\n        every: 1h\n", "spec:\n    suspend: true\n    schedule:\n        every: 1h\n"),
        ("spec:\n  provider: >\n    s3\n", "spec:\n  suspend: true\n  provider: >\n    s3\n"),
    ],
)
def test_every_layout_of_a_spec_takes_the_field(before: str, after: str) -> None:
    assert edited(before) == after


def test_a_string_in_a_flow_mapping_is_quoted_so_that_no_comma_splits_it() -> None:
    assert edited("spec: {rerun: one}", "spec.rerun", "a,b") == 'spec: {rerun: "a,b"}'
    assert edited("spec: {a: 1}", "spec.rerun", "a]b") == 'spec: {rerun: "a]b", a: 1}'


def test_only_the_named_document_changes() -> None:
    other = "kind: Job\nspec:\n  provider: x\n"
    before = f"---\n{other}---\n{other}...\n---\n{other}"
    for ordinal in range(3):
        after = edited(before, ordinal=ordinal)
        assert difference(before, after) == ["+   suspend: true\n"]
        assert [("suspend" in part) for part in after.split("---\n")[1:]] == [ordinal == n for n in range(3)]


@pytest.mark.parametrize(
    "layout",
    [
        "{a}---\n{b}", "---\n{a}---\n{b}", "{a}---\n---\n{b}", "# c\n---\n{a}---\n# c\n---\n{b}", "---\n# c\n---\n{a}...\n---\n{b}",
        "\n\n---\n\n{a}...\n---\n{b}", "{a}--- # c\n{b}---\n", "{a}...\n# c\n---\n{b}...\n", "\ufeff# c\n\n{a}---\n{b}",
        "---\n---\n---\n{a}\n---\n\n{b}---\n---\n",
    ],
)  # fmt: skip
def test_documents_are_numbered_as_the_parser_numbers_them(layout: str) -> None:
    from reconciler.repo.parse import parse_many

    text = layout.format(a=spec("a"), b=spec("b"))
    parsed = parse_many([("x.yaml", text.encode("utf-8"))], {})[0]
    assert [document.name for document in parsed.documents] == ["a", "b"]
    for document in parsed.documents:
        after = edited(text, "metadata.name", f"new-{document.name}", document.ordinal)
        assert after == text.replace(f"name: {document.name}", f"name: new-{document.name}")


@pytest.mark.parametrize("end", ["\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_are_kept(end: str, mark: str) -> None:
    before = mark + SPEC.replace("\n", end)
    assert edited(before) == mark + edited(SPEC).replace("\n", end)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spec: [", "The file is not valid YAML; it is not edited. `reconcile validate` says where."),
        ("kind: Job\n", "The document has no field 'spec'; edit the file by hand."),
        ("spec: 1\n", "'spec' is not a mapping; edit the file by hand."),
        ("- spec\n", "The document has no field 'spec'; edit the file by hand."),
        ("spec: &x {a: 1}\nmore: *x\n", "'spec' is shared by an anchor; edit the file by hand."),
        ("more: &x {a: 1}\nspec: *x\n", "'spec' is shared by an anchor; edit the file by hand."),
        ("spec: {suspend: [1]}", "The field holds more than one value, or an anchor; edit the file by hand."),
        ("spec: {suspend: &x 1}", "The field holds more than one value, or an anchor; edit the file by hand."),
        (
            "spec: {suspend, a: 1}",
            "'spec.suspend' cannot be set in this layout without changing more; edit the file by hand.",
        ),
        (
            "spec:\n  ? a\n  : 1\n",
            "'spec.suspend' cannot be set in this layout without changing more; edit the file by hand.",
        ),
        ("[" * 100 + "]" * 100, "The file nests more than 64 levels; it is not edited."),
        ("", "The file has 0 documents; number 1 is not among them."),
        ("x" * ((1 << 20) + 1), "The file is larger than 1 MiB; it is not edited."),
    ],
)
def test_what_cannot_be_edited_safely_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ReconcileError) as caught:
        edited(text)
    assert str(caught.value) == said


def test_a_file_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ReconcileError, match=r"^The file is not UTF-8; it is not edited\.$"):
        set_field(b"spec: {a: \xff}", 0, "spec.suspend", True)


# --- the law ----------------------------------------------------------------------------------------------------------

keys = st.sampled_from(["provider", "jobType", "schedule", "config", "retry", "labels", "rerun", "é", "x y"])
plain = st.sampled_from(
    ["a", "1h", "true", "no", '"q: #"', "'it''s'", "1.5", "~", "", "{a: [1, {b: c}]}", "[1, 2]", "{}"]
)
comments = st.sampled_from(["", " # c", "   #", " # {é: 😀"])


@st.composite
def block(draw: st.DrawFn, indent: str, depth: int = 0) -> list[str]:
    lines: list[str] = []
    for key in draw(st.lists(keys, min_size=1, max_size=4, unique=True)):
        lines += draw(st.lists(st.sampled_from(["", f"{indent}# note", "# far left"]), max_size=1))
        nested = depth < 2 and draw(st.integers(0, 3)) == 0
        if nested:
            lines.append(f"{indent}{key}:{draw(comments)}")
            lines += draw(block(indent + draw(st.sampled_from(["  ", " ", "    "])), depth + 1))
        elif draw(st.integers(0, 5)) == 0:
            lines += [f"{indent}{key}: |", f"{indent}  some", "", f"{indent}  text"]
        elif draw(st.integers(0, 5)) == 0:
            lines += [f"{indent}{key}:", f"{indent}- 1", f"{indent}- b: 2"]
        else:
            lines.append(f"{indent}{key}: {draw(plain)}".rstrip() + draw(comments))
    return lines


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """The lines of a document with a spec in some layout, with or without the field."""
    if draw(st.integers(0, 3)) == 0:
        inner = draw(
            st.sampled_from(["", "suspend: false", "provider: s3, a: [1]", "a: {b: 1}, suspend: no", '"a": 1'])
        )
        return ["kind: Job", f"spec: {{{inner}}}{draw(comments)}", *draw(st.sampled_from([[], ["more: 1"]]))]
    lines = draw(block(draw(st.sampled_from(["  ", "    "]))))
    indent = next(line for line in lines if line.strip() and not line.strip().startswith("#"))
    indent = indent[: len(indent) - len(indent.lstrip())]
    if draw(st.booleans()):
        value = draw(st.sampled_from(["false", "true", "", "~", '"x"']))
        lines.append(f"{indent}suspend: {value}".rstrip() + draw(comments))
    return ["kind: Job", f"spec:{draw(comments)}", *lines, *draw(st.sampled_from([[], ["more: 1"], ["# end"]]))]


def loaded(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text.removeprefix("\ufeff")))


@settings(max_examples=120, deadline=None)
@given(
    st.lists(documents(), min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 2), st.sampled_from([True, False, "again", "2026-11-21", "a: b # c, d]", "é\n"]),
)  # fmt: skip
@example([["kind: Job", "spec:", "  provider: |", "    some", "", "    text"]], "\n", False, False, True, 0, True)
def test_whatever_the_layout_the_file_means_the_same_but_for_the_field_and_one_line_differs(
    files: list[list[str]], end: str, last: bool, mark: bool, start: bool, which: int, value: str | bool
) -> None:
    which %= len(files)
    text = ("\ufeff" if mark else "") + ("---" + end if start else "")
    text += f"{end}---{end}".join(end.join(lines) for lines in files) + (end if last else "")
    before, after = loaded(text), edited(text, value=value, ordinal=which)
    before[which]["spec"] = (before[which]["spec"] or {}) | {"suspend": value}
    assert loaded(after) == before
    old, new = text.splitlines(keepends=True), after.splitlines(keepends=True)
    assert len(new) - len(old) in (0, 1)
    if text.endswith(end):
        assert len([line for line in difference(text, after) if line[0] == "+"]) <= 1


# --- writing it -------------------------------------------------------------------------------------------------------


def test_the_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"old")
    file.chmod(0o640)
    inode = file.stat().st_ino
    write_edit(file, content_digest(b"old"), b"new")
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert file.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_has_changed_since_it_was_read_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"theirs")
    with pytest.raises(Blocked, match=r"a\.yaml has changed since it was read; try again\.$"):
        write_edit(file, content_digest(b"old"), b"new")
    assert file.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "a.yaml").symlink_to("real")
    write_edit(tmp_path / "a.yaml", content_digest(b"old"), b"new")
    assert os.readlink(tmp_path / "a.yaml") == "real"
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_file_that_has_gone_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ReconcileError) as caught:
        write_edit(tmp_path / "a.yaml", content_digest(b"old"), b"new")
    assert str(caught.value) == f"{tmp_path}/a.yaml could not be written: No such file or directory."
