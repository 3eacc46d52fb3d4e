"""A backfill as a person meets it: `plan` says how much it would add, a pass holds it, `approve` lets it go on."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.cli.plan import backfill_words
from reconciler.core.planned import PlannedBackfill
from reconciler.core.provider import Estimate
from tests.cli.conftest import STREAM, World

PEOPLE = STREAM.replace("spec: {}", "spec:\n  identity: [{key: email, from: email}]")
TIMED = PEOPLE + "  timestamp: {field: at}\n"


def backfill(name: str = "history", *, config: str = "", extra: str = "", job_type: str = "import-csv") -> str:
    return (
        "---\napiVersion: reconciler/v1\nkind: Job\n"
        f"metadata: {{name: {name}}}\nspec:\n  provider: files\n  jobType: {job_type}\n  lane: backfill\n{extra}"
        f'  config: {{path: "old/*", stream: orders{config}}}\n'
    )


def plan(world: World) -> list[str]:
    """What the plan says of backfills."""
    lines = world.run("plan").out.splitlines()
    begin = lines.index("Backfills:") + 1
    return [line.strip() for line in lines[begin : lines.index("", begin)]]


@pytest.fixture
def old(world: World) -> World:
    """Two files with five messages."""
    world.write("old/1.csv", "email,at\na@x.org,2020-01-01\nb@x.org,2020-01-02\n")
    world.write("old/2.csv", "email,at\na@x.org,2021-01-01\nb@x.org,2021-01-02\nc@x.org,2021-01-03\n")
    return world


def test_before_a_backfill_the_plan_says_how_many_messages_and_bytes_it_would_add(old: World) -> None:
    old.write("orders.yaml", STREAM + backfill(config=", timestampField: at"))
    assert old.run("plan").out == (
        "  + create Stream orders  declared in orders.yaml\n"
        "  + create Job history  declared in orders.yaml\n"
        "\n"
        "Runs that are due:\n"
        "    history  first run\n"
        "\n"
        "Backfills:\n"
        "    history adds 5 messages from 2 files (0.0 MB) to stream orders, which grows\n"
        "    by about 0.0 MB.\n"
        "\n"
        "Plan: 2 to create, 0 to update, 0 to delete.\n"
    )
    assert not old.state.exists()


def test_messages_without_a_time_of_their_own_are_warned_of(old: World) -> None:
    warning = (
        "Its messages have no time of their own (neither timestampField nor the stream's timestamp is given), so they "
        "count as newer than all that is there."
    )
    for stream, config, warned in (
        (PEOPLE, "", True),
        (PEOPLE, ", timestampField: at", False),
        (TIMED, "", False),
    ):
        old.write("orders.yaml", stream + backfill(config=config))
        assert (warning in " ".join(plan(old))) is warned


def test_past_its_limit_a_backfill_waits_for_the_approval_of_exactly_these_files(old: World) -> None:
    old.write("orders.yaml", STREAM + backfill(extra="  backfill: {maxMessages: 4}\n"))
    held = "it would add 5 messages from 2 files (0.0 MB), more than backfill.maxMessages (4)"
    assert " ".join(plan(old)).endswith(
        "It waits for approval, because that is more than backfill.maxMessages (4); once a run has found that, "
        "`reconcile approve history` lets it go on."
    )
    assert old.run().code == 0
    assert held in " ".join(old.run("why", "history").out.split())
    assert json.loads(old.run("show", "history", "-o", "json").out)["status"]["reason"] == "AwaitingApproval"
    assert json.loads(old.run("streams", "-o", "json").out)[0]["messages"] == 0
    assert old.run("approve", "history", "--yes").code == 0
    assert "It waits for approval" not in " ".join(plan(old))
    assert old.run().code == 0
    assert json.loads(old.run("streams", "-o", "json").out)[0]["messages"] == 5
    assert json.loads(old.run("show", "history", "-o", "json").out)["status"]["status"] == "Completed"


def test_a_plan_says_that_a_backfill_is_held_for_files_that_have_changed_and_what_lets_it_look_again(
    old: World,
) -> None:
    old.write("orders.yaml", STREAM + backfill(extra="  backfill: {maxMessages: 4}\n"))
    assert old.run().code == 0
    old.write("old/2.csv", "email,at\na@x.org,2021-01-01\nb@x.org,2021-01-02\nc@x.org,2021-01-03\nd@x.org,2021-01-04\n")
    assert " ".join(plan(old)).endswith(
        "It waits for approval, because that is more than backfill.maxMessages (4); it is held for what a run found before, "
        "and `reconcile rerun history` lets it look again."
    )
    old.write("old/2.csv", "email,at\na@x.org,2021-01-01\n")
    said = " ".join(plan(old))
    assert said.startswith("history adds 3 messages from 2 files (0.0 MB) to stream orders")
    assert said.endswith(
        "It is held, because a run found more than backfill.maxMessages (4) before; `reconcile rerun history` lets it look "
        "again."
    )
    assert json.loads(old.run("plan", "-o", "json").out)["backfills"][0]["waitsForApproval"] is True
    assert old.run("rerun", "history").code == 0
    assert "held" not in " ".join(plan(old))
    assert old.run().code == 0
    assert json.loads(old.run("streams", "-o", "json").out)[0]["messages"] == 3


def test_a_plan_does_not_say_of_a_paused_backfill_that_an_approval_lets_it_go_on(old: World) -> None:
    limited = "  backfill: {maxMessages: 4}\n"
    old.write("orders.yaml", STREAM + backfill(extra=limited))
    assert old.run().code == 0
    old.write("orders.yaml", STREAM + backfill(extra=limited + "  suspend: true\n"))
    for _ in range(2):
        said = " ".join(plan(old))
        assert "lets it" not in said
        assert said.endswith("` approves it. It is paused, and adds nothing before `reconcile resume history`.")
        assert old.run().code == 0


def test_what_cannot_be_known_is_said_to_be_unknown_and_why(old: World) -> None:
    web = backfill("web").replace("provider: files", "provider: http").replace("import-csv", "import-json")
    web = web.replace('path: "old/*"', 'url: "https://example.com/"')
    gone = backfill("gone").replace('"old/*"', "gone.csv")
    old.write("orders.yaml", PEOPLE + web + gone)
    said = " ".join(plan(old))
    assert (
        "gone: how much it adds to stream orders is not known: There is no file 'gone.csv'. A rebuild of the profiles, "
        "which reads 0 messages now, grows by as many."
    ) in said
    assert (
        "web: how much it adds to stream orders is not known: job type import-json cannot tell beforehand, so its messages "
        "are counted as they come, and it waits for approval before they are more than backfill.maxMessages (10,000,000)."
    ) in said


def test_a_plan_as_json_has_the_same_figures_and_only_where_there_are_backfills(old: World) -> None:
    old.write("orders.yaml", PEOPLE + backfill(extra="  backfill: {maxMessages: 4}\n"))
    body = json.loads(old.run("plan", "-o", "json").out)
    sizes = sum((old.root / "old" / name).stat().st_size for name in ("1.csv", "2.csv"))
    assert body["backfills"] == [
        {
            "name": "history",
            "stream": "orders",
            "messages": 5,
            "bytes": sizes,
            "exact": True,
            "files": 2,
            "fileBytes": sizes,
            "unknown": "",
            "timed": False,
            "rebuild": {"messagesNow": 0, "messagesAfter": 5},
            "maxMessages": 4,
            "waitsForApproval": True,
            "approve": "",
        }
    ]
    old.write("orders.yaml", PEOPLE + backfill().replace("  lane: backfill\n", ""))
    assert "backfills" not in json.loads(old.run("plan", "-o", "json").out)


def test_a_plan_resolves_no_secret_and_a_backfill_with_an_authorization_is_planned(old: World) -> None:
    auth = (
        "---\napiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: main}\n"
        "spec: {provider: http, method: bearer, credentials: {token: {file: missing}}}\n"
    )
    web = backfill("web", extra="  authorization: main\n").replace("provider: files", "provider: http")
    web = web.replace("import-csv", "import-json").replace('path: "old/*"', 'url: "https://example.com/"')
    old.write("orders.yaml", STREAM + auth + web)
    result = old.run("plan")
    assert (result.code, result.err) == (0, "")


def test_the_slots_of_backfills_are_at_least_one(old: World) -> None:
    refused = old.run("--backfill-slots", "0")
    assert refused.code == 2
    assert "--backfill-slots" in refused.err


LAKE = PlannedBackfill(
    name="history",
    stream="orders",
    estimate=Estimate(messages=5_000_000, size=1_204_500_000, parts=12, exact=False, digest="d"),
    adds=400_000_000,
    rebuild=(10_000_000, 15_000_000),
    limit=1_000_000,
)


@pytest.mark.parametrize(
    ("planned", "words"),
    [
        (
            LAKE,
            "history adds about 5,000,000 messages from 12 files (1,204.5 MB) to stream orders, which grows by about "
            "400.0 MB. A rebuild of the profiles then reads about 15,000,000 messages instead of 10,000,000 (50% more).",
        ),
        (
            replace(LAKE, rebuild=None, waits=True),
            "history adds about 5,000,000 messages from 12 files (1,204.5 MB) to stream orders, which grows by about "
            "400.0 MB. It waits for approval, because that is more than backfill.maxMessages (1,000,000); once a run has "
            "found that, `reconcile approve history` lets it go on.",
        ),
        (
            replace(LAKE, estimate=Estimate(messages=0, size=0, parts=0, exact=True, digest="d"), timed=False),
            "history finds nothing new for stream orders.",
        ),
        (
            replace(LAKE, estimate=None, unknown="it is hidden"),
            "history: how much it adds to stream orders is not known: it is hidden. A rebuild of the profiles, which "
            "reads 10,000,000 messages now, grows by as many.",
        ),
    ],
    ids=["growing", "waiting", "nothing", "unknown"],
)
def test_the_words_of_a_plan_name_what_a_person_must_know(planned: PlannedBackfill, words: str) -> None:
    assert backfill_words(planned) == words
