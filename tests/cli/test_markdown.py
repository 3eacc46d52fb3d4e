"""A plan as a comment: most dangerous first, never too long, never cut in silence, and nothing in it obeyed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reconciler.cli.markdown import LIMIT, code, markdown, words
from reconciler.cli.options import Call
from reconciler.cli.terminal import Terminal
from reconciler.controller.looking import Preview
from reconciler.core.change import Change
from reconciler.core.planned import Action, Plan, PlannedBackfill, PlannedExport, PlannedRun, Rebuild, Verb, Waiting
from reconciler.errors import Problem
from tests.cli.conftest import STREAM, World, job_text
from tests.cli.test_plan_base import commit, git

CALL = Call(root=Path("jobs.d"), state=Path("jobs.d/.reconciler"), terminal=Terminal(out=None, err=None))
#: The only HTML that a comment holds, and it is ours.
OURS = re.compile(r"<!-- reconcile plan: root=[A-Za-z0-9%/._-]* -->|</?details>|<summary>\d+ fields?</summary>|\s")


def action(verb: Verb, name: str = "a", **more: Any) -> Action:
    return Action(**{"verb": verb, "kind": "Job", "name": name, "path": "a.yaml", "reason": "for a reason", **more})


def preview(*actions: Action, problems: tuple[Problem, ...] = (), **more: Any) -> Preview:
    made = Plan(actions=actions, errors=problems, **more)
    return Preview(root="jobs.d", plan=made, problems=problems, revision="")


def comment(found: Preview, limit: int = LIMIT) -> str:
    return markdown(CALL, found, None, limit)


def tokens(text: str) -> list[Token]:
    """What a reader of GitHub's Markdown makes of it."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text):
        found += [token, *(token.children or ())]
    return found


def obeyed(text: str) -> list[str]:
    """Everything in a comment that is more than our own markup: links, images, foreign HTML, and words in the open that
    GitHub or GitLab would make something of."""
    found = []
    for token in tokens(text):
        if token.type in ("link_open", "image", "table_open", "s_open", "blockquote_open"):
            found.append(token.type)
        elif token.type in ("html_block", "html_inline"):
            found += [OURS.sub("", token.content)]
        elif token.type == "text":
            found += re.findall(r"[@#!~$%&]|https?:|www\.|:\w+:|^/\w+|\b[0-9a-f]{7,}\b|\b[A-Z]+-\d", token.content)
    return [one for one in found if one]


# --- what stands there ----------------------------------------------------------------------------------------------------


def test_the_most_dangerous_comes_first_each_under_its_heading() -> None:
    found = comment(
        preview(
            action(Verb.UPDATE, "plain"),
            action(Verb.CREATE, "new"),
            action(Verb.UPDATE, "mirror", is_export=True, changes=(Change("spec.config.url", "x", "y"),)),
            action(Verb.UPDATE, "batch", is_export=True, changes=(Change("spec.config.batchSize", 1, 2),)),
            action(Verb.UPDATE, "buyers", kind="Audience", changes=(Change("spec.where", "x", "y"),)),
            action(Verb.UPDATE, "reset", resets_cursor=True, message="the cursor is dropped: rows may land again"),
            action(Verb.RERUN, "again", resets_cursor=True),
            action(Verb.PURGE, "old"),
            action(Verb.DELETE, "gone"),
            action(Verb.PAUSE, "quiet"),
        )
    )
    assert re.findall(r"#### (.*)|- \*\*(\w+)\*\* \w+ `(\w+)`", found) == [
        ("Deletes", "", ""),
        ("", "delete", "gone"),
        ("", "purge", "old"),
        ("Lands, or is sent, a second time", "", ""),
        ("", "rerun", "again"),
        ("", "update", "reset"),
        ("Changes what is sent, or to whom", "", ""),
        ("", "update", "buyers"),
        ("", "update", "mirror"),
        ("Everything else", "", ""),
        ("", "create", "new"),
        ("", "update", "batch"),
        ("", "update", "plain"),
        ("", "pause", "quiet"),
    ]
    assert found.startswith(
        "<!-- reconcile plan: root=jobs.d -->\n"
        "### Plan: 1 to create, 5 to update, 1 to pause, 1 to rerun, 1 to delete, 1 to purge.\n"
        "\n**Look at these first:** 2 would delete, 2 would land or send something a second time, "
        "2 would change what is sent, or to whom.\n"
    )
    assert "\n  - the cursor is dropped: rows may land again\n" in found


def test_what_an_edit_changes_is_folded_up_below_it() -> None:
    found = comment(preview(action(Verb.UPDATE, changes=(Change("spec.a", None, [1]), Change("spec.b", "x", "```")))))
    assert found.endswith(
        "- **update** Job `a` in `jobs.d/a.yaml`: for a reason\n"
        "\n  <details><summary>2 fields</summary>\n\n"
        '  ````diff\n    spec.a\n  + [1]\n    spec.b\n  - "x"\n  + "```"\n  ````\n\n'
        "  </details>\n\n"
    )
    assert [token.content for token in tokens(found) if token.type == "fence"] == [
        '  spec.a\n+ [1]\n  spec.b\n- "x"\n+ "```"\n'
    ]


def test_everything_else_that_a_plan_says_is_there_too() -> None:
    problem = Problem("b.yaml", 4, 2, "spec.x", "unknown field")
    found = comment(
        preview(
            problems=(problem,),
            runs=(PlannedRun("r", "first run"),),
            waiting=(Waiting("Stream", "s", "no file declares it"),),
            backfills=(PlannedBackfill(name="b", stream="s", unknown="it cannot tell"),),
            exports=(PlannedExport(name="e", audience="buyers", adds=3, requests=1),),
            rebuild=Rebuild(streams=("s",), messages=1_000, size=1, because=("s",)),
        )
    )
    assert found == (
        "<!-- reconcile plan: root=jobs.d -->\n"
        "### No changes, but some specs are invalid.\n"
        "\n#### Invalid specs\n\n- `jobs.d/b.yaml:4:2`: `spec.x: unknown field`\n"
        "\n#### Profiles are built anew\n\n- `1,000 messages of s, because of s`\n"
        "\n#### Backfills\n\n- `b: how much it adds to stream s is not known: it cannot tell.`\n"
        "\n#### Exports of audiences\n\n- `e`: `add 3, change 0, remove 0 of buyers, in 1 request`\n"
        "\n#### Waiting\n\n- Stream `s`: no file declares it\n"
        "\n#### Runs that are due\n\n- `r`: first run\n"
    )


def test_an_empty_plan_is_a_comment_too(world: World) -> None:
    expected = "<!-- reconcile plan: root=jobs.d -->\n### No changes. The record is what the specs declare.\n"
    assert world.run("plan", "-o", "markdown").out == expected


def test_a_root_with_an_odd_name_stays_within_its_hidden_line(world: World) -> None:
    root = world.folder / "a --> @b"
    root.mkdir()
    first = world.run("plan", "-o", "markdown", "--root", "a --> @b").out.splitlines()[0]
    assert first == "<!-- reconcile plan: root=a%20%2D%2D%3E%20%40b -->"


def test_the_comment_of_a_merge_says_what_was_compared(world: World) -> None:
    git(world.folder, "init", "-qb", "main")
    world.write("orders.yaml", STREAM + job_text("nightly") + job_text("stays"))
    one = commit(world.folder, "one")[:12]
    git(world.folder, "branch", "odd_@name_")
    world.write("orders.yaml", STREAM + job_text("stays"))
    result = world.run("plan", "--base", "odd_@name_", "-o", "markdown")
    assert result.out == (
        "<!-- reconcile plan: root=jobs.d -->\n"
        "### Plan: 0 to create, 0 to update, 1 to delete.\n"
        f"\nWhat a merge into `odd_@name_` would do: `{one}`, where both parted, against the work tree, at `{one}`.\n"
        "\n**Look at these first:** 1 would delete.\n"
        "\n#### Deletes\n\n- **delete** Job `nightly` in `jobs.d/orders.yaml`: no file declares it\n"
    )


def test_deletions_over_the_budget_come_first_with_the_command_that_approves_them(world: World) -> None:
    git(world.folder, "init", "-qb", "main")
    world.write("orders.yaml", STREAM + job_text("nightly"))
    one = commit(world.folder, "one")[:12]
    world.write("orders.yaml", STREAM)
    result = world.run("plan", "--base", "main", "-o", "markdown")
    approve = re.findall(r"``?(reconcile approve --prune [0-9a-f]+)`", result.out)
    assert len(approve) == 1
    assert result.out == (
        "<!-- reconcile plan: root=jobs.d -->\n"
        "### No other changes; 1 deletion is blocked.\n"
        f"\nWhat a merge into `main` would do: `{one}`, where both parted, against the work tree, at `{one}`.\n"
        "\n**PruneBlocked:** `no file declares the only job, and that no job is left always needs an approval`. Nothing is "
        f"deleted until a person approves exactly these after the merge, with `{approve[0]}`.\n"
        "\n#### Over the deletion budget\n\n- Job `nightly` in `jobs.d/orders.yaml`\n"
    )
    assert world.run("plan", "--base", "main").out.splitlines()[-1] == "No other changes; 1 deletion is blocked."


# --- its length -----------------------------------------------------------------------------------------------------------


def many(count: int, size: int = 100) -> Preview:
    changes = (Change("spec.config.path", "x" * size, "y" * size),)
    return preview(*(action(Verb.UPDATE, f"job-{number:05}", changes=changes) for number in range(count)))


def shown(text: str) -> int:
    return len(re.findall(r"^- \*\*update", text, re.MULTILINE))


def test_details_go_first_and_what_is_missing_is_counted_with_the_command_that_shows_it() -> None:
    assert "Not shown here" not in comment(many(100))
    found = comment(many(500))
    folded = found.count("<details>")
    assert (len(found) <= LIMIT, shown(found), 0 < folded < 500) == (True, 500, True)
    assert found.endswith(
        "\n---\n\n**Not shown here**, because a comment has no room for more: "
        f"the details of {500 - folded} actions. `reconcile plan -v` shows all.\n"
    )


def test_actions_go_next_the_least_dangerous_first() -> None:
    deletions = [action(Verb.DELETE, f"gone-{number}") for number in range(50)]
    found = comment(preview(*many(2_000).plan.actions, *deletions))
    assert (len(found) <= LIMIT, found.count("**delete**"), found.count("<details>")) == (True, 50, 0)
    left = 2_000 - shown(found)
    assert 0 < left < 2_000
    assert (
        f"for more: {left:,} actions, the details of {2_000 - left} actions. `reconcile plan -v` shows all.\n" in found
    )


def test_each_kind_of_thing_that_is_missing_is_counted() -> None:
    problem = Problem("b.yaml", 4, 2, "spec.x", "unknown field")
    found = comment(
        preview(
            *many(3).plan.actions,
            problems=(problem, problem),
            runs=(PlannedRun("r", "first run"),),
            waiting=(Waiting("Stream", "s", "no file declares it"),),
        ),
        limit=1_600,
    )
    assert found.endswith(
        "has no room for more: 2 problems, 3 actions, 1 waiting thing, 1 run. `reconcile plan -v` shows all.\n"
    )


def test_a_single_value_that_is_too_long_is_left_out_whole_and_a_reason_is_shortened_with_a_sign() -> None:
    changes = (Change("spec.config.path", "x", "y" * 70_000),)
    found = comment(preview(action(Verb.UPDATE, reason="z" * 1_000, changes=changes)))
    assert "yy" not in found
    assert f"`{'z' * 399}…`" in found
    assert "for more: the details of 1 action." in found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 600), st.integers(0, 300), st.sampled_from("xж😀`"))
def test_no_plan_is_longer_than_what_github_takes_and_none_is_cut_in_silence(count: int, size: int, sign: str) -> None:
    changes = (Change("spec.config.path", sign, sign * size),)
    found = comment(preview(*(action(Verb.UPDATE, f"{sign}{number}", changes=changes) for number in range(count))))
    assert len(found.encode("utf-16-le")) // 2 <= LIMIT
    whole = shown(found) == count and found.count("<details>") == count
    assert whole == ("Not shown here" not in found)


# --- what others wrote ------------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>",
    "</details><img src=x onerror=alert(1)>",
    "[click](https://evil.example)",
    "![x](https://evil.example/pixel.png)",
    "@everyone and @org/team",
    "fixes #1, GH-2, org/repo#3, JIRA-123, deadbeefcafe",
    "https://evil.example www.evil.example ftp://x someone@example.com",
    "`code` ``more`` ```",
    "``` \n\n# heading\n\n> quote\n\n/close\n\n- [x] done",
    "*bold* _it_ ~~gone~~ | a | b |",
    "\u202ereversed\u202c \x1b[31mred\x1b[0m\r\nnew",
    "<!-- --> :smile: $x$ &amp; \\",
    "`",
    "``",
    " ",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_others_wrote_is_obeyed(text: str) -> None:
    changes = (Change(text, text, {text: [text]}), Change("spec.x", None, text))
    problem = Problem(text, 1, 1, text, text)
    found = comment(
        preview(
            action(Verb.UPDATE, text, path=text, reason=text, message=text, changes=changes),
            problems=(problem,),
            runs=(PlannedRun(text, text),),
            waiting=(Waiting("Job", text, text),),
            rebuild=Rebuild(streams=(text,), messages=1, size=1, because=(text,)),
            exports=(PlannedExport(name=text, audience=text, unknown=text),),
            backfills=(PlannedBackfill(name=text, stream=text, unknown=text),),
        )
    )
    assert obeyed(found) == []
    headings = [token.content for token in tokens(found) if token.type == "inline" and token.level == 1]
    assert "heading" not in headings
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e]", found)


def test_the_search_for_what_is_obeyed_finds_it() -> None:
    for text in ("<b>x</b>", "[a](https://b.example)", "hello @you", "see #1", "www.evil.example", "/close"):
        assert obeyed(f"{text}\n"), text


@given(st.text(st.sampled_from("`ab \n\\<@#*")))
def test_a_code_span_holds_exactly_its_text(text: str) -> None:
    shown_text = text.replace("\n", "\\n")
    spans = [token for token in tokens(f"x {code(text)} y") if token.type == "code_inline"]
    assert (
        [span.content.strip(" ") for span in spans] == [shown_text.strip(" ")]
        if shown_text.strip(" ")
        else len(spans) == 1
    )


@pytest.mark.parametrize(
    "text", ["no file declares it", "spec.config and spec.schedule changed", "the cursor: all of it, again"]
)
def test_plain_words_stand_in_the_open(text: str) -> None:
    assert words(text) == text


@pytest.mark.parametrize(
    "text", ["", "ends with a stop.", "see #1", "at www.x", "12 rows", "a  b", "x@y", "a/b", "JIRA-1", "x_y_"]
)
def test_anything_else_is_code(text: str) -> None:
    assert words(text).startswith("`")
