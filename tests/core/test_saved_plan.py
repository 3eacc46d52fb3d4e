"""Files that somebody hands in as a plan: each oddity is a sentence, and none is a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.basis import Basis, Declared, Observed, moved
from reconciler.core.planned import Action, Plan, PlannedRun, Verb, plan_digest, to_json
from reconciler.core.saved_plan import read_plan
from reconciler.errors import Blocked, ReconcileError, UsageError

BASIS = Basis(
    program="1",
    providers="",
    record="r",
    events=3,
    specs="s",
    settings={},
    declared=(Declared(kind="Job", name="a", path="a.yaml", digest="d", metadata_digest="m"),),
    observed=(Observed(kind="Job", name="a", path="a.yaml", life="orphaned", generation=1, digest="d"),),
)
PLAN = Plan(
    actions=(Action(verb=Verb.CREATE, kind="Job", name="a", path="a.yaml", reason="declared in a.yaml"),),
    runs=(PlannedRun("a", "first run"),),
)


def body(**changed: Any) -> dict[str, Any]:
    return {**to_json(PLAN, "jobs.d", "", basis=BASIS.to_json("jobs.d")), **changed}


def signed(edited: dict[str, Any]) -> bytes:
    """As whoever edits a plan with care would leave it: the digest is of what it holds."""
    return json.dumps({**edited, "digest": plan_digest(edited)}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(UsageError) as found:
        read_plan(content, "plan.json")
    return str(found.value)


def test_a_plan_is_read_however_its_json_is_laid_out() -> None:
    for text in (json.dumps(body()), json.dumps(body(), indent=2), json.dumps(body(), sort_keys=True)):
        saved = read_plan(text.encode(), "plan.json")
        assert (saved.root, saved.event, saved.needs_record, saved.runs) == ("jobs.d", 3, True, {"a"})
        assert saved.digest == body()["digest"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "plan.json is no plan: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\xfe", "plan.json is no plan: it is not UTF-8"),
        (b"[1]", "plan.json is no plan: expected a JSON object"),
        (b'{"a": 1, "a": 2}', "plan.json is no plan: a field stands in it twice"),
        (b'{"a": NaN}', "plan.json is no plan: NaN is no JSON"),
        (b"[" * 100_000, "plan.json is no plan: its JSON is nested too deeply"),
        (b"{}", "plan.json is no plan: it has no formatVersion"),
        (
            b'{"formatVersion": 2}',
            "plan.json: formatVersion: expected 1, found 2; a plan is applied by the reconcile that made it",
        ),
    ],
)
def test_what_is_no_plan_is_said_in_words(content: bytes, words: str) -> None:
    assert refusal(content) == words


def test_an_integer_of_a_million_digits_is_no_plan() -> None:
    assert refusal(b'{"a": ' + b"9" * 1_000_000 + b"}").startswith("plan.json is no plan: Exceeds the limit")


@pytest.mark.parametrize(
    "edit",
    [
        lambda plan: plan["actions"][0].update(name="b"),
        lambda plan: plan["actions"].clear(),
        lambda plan: plan["runs"].append({"name": "b", "reason": "due"}),
        lambda plan: plan["basis"].update(record=None),
        lambda plan: plan.update(revision="main@sha1:0"),
        lambda plan: plan.update(more=1),
        lambda plan: plan.update(digest="0" * 32),
    ],
)
def test_an_edited_plan_is_known_by_its_digest(edit: Callable[[dict[str, Any]], object]) -> None:
    plan = body()
    edit(plan)
    with pytest.raises(Blocked) as found:
        read_plan(json.dumps(plan).encode(), "plan.json")
    assert str(found.value) == (
        f'plan.json has been edited since it was made: it says that its digest is "{plan["digest"]}", and what it holds '
        f"has the digest {plan_digest(plan)}; nothing was done"
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"base": {}}, "plan.json shows what a merge would do (plan --base); only a plan of a record is applied"),
        ({"actions": 1}, "plan.json: actions: found 1, which is not what a plan has there"),
        ({"actions": [1]}, "plan.json: actions[0]: expected an object"),
        (
            {"actions": [{"verb": "destroy"}]},
            "plan.json: actions[0].kind is missing; it is no plan that can be applied",
        ),
        (
            {"actions": [{**body()["actions"][0], "verb": "destroy"}]},
            'plan.json: actions[0].verb: "destroy" is no verb of a plan',
        ),
        ({"actions": [{**body()["actions"][0], "kind": "Pod"}]}, 'plan.json: actions[0].kind: "Pod" is no kind'),
        ({"basis": {}}, "plan.json: basis.program is missing; it is no plan that can be applied"),
        (
            {"basis": {**BASIS.to_json(""), "record": {"id": "r", "events": True}}},
            "plan.json: basis.record.events: found true, which is not what a plan has there",
        ),
        ({"runs": [{}]}, "plan.json: runs[0].name is missing; it is no plan that can be applied"),
        ({"exports": {}}, "plan.json: exports: expected a list"),
        (
            {"revision": ["x" * 100]},
            f'plan.json: revision: found ["{"x" * 55}..., which is not what a plan has there',
        ),
    ],
)
def test_a_made_up_plan_with_a_right_digest_is_refused_at_its_place(changed: dict[str, Any], words: str) -> None:
    assert refusal(signed(body(**changed))) == words


def test_whichever_byte_of_a_plan_is_changed_or_cut_off_it_is_refused_as_one_that_was_edited() -> None:
    content = signed(body())
    read_plan(content, "plan.json")
    edits = [
        content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
        for at in range(len(content))
        for flip in (1, 128)
    ]
    edits += [content[:at] for at in range(len(content) // 2, len(content))]
    for edited in edits:
        with pytest.raises(Blocked, match=r"plan\.json has been edited"):
            read_plan(edited, "plan.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_no_made_up_plan_is_more_than_a_refusal(data: st.DataObject) -> None:
    plan: dict[str, Any] = body()
    where: Any = plan
    for _ in range(4):
        key = data.draw(st.sampled_from(sorted(where)) if isinstance(where, dict) else st.integers(0, len(where) - 1))
        if not isinstance(where[key], dict | list) or not where[key] or data.draw(st.booleans()):
            where[key] = data.draw(JSON)
            break
        where = where[key]
    said = ""
    try:
        moved(read_plan(signed(plan), "plan.json").body, body())
    except ReconcileError as error:
        said = str(error)
    assert not said or said.startswith("plan.json")
