"""Backfills beside live jobs: slots of their own, and a limit past which a person is asked."""

from __future__ import annotations

import pytest

from reconciler.clock import Clock
from reconciler.controller import Settings, preview
from reconciler.controller.deeds import perform
from reconciler.controller.lives import Lives
from reconciler.core.happening import Approved
from reconciler.core.planned import PlannedBackfill
from reconciler.core.state import Reason, Status
from reconciler.record.store import Record
from tests.controller.conftest import STREAM, Shop
from tests.servers import Play, Request, as_json, serving


def test_live_jobs_start_while_a_backfill_fills_the_slot_of_its_lane(shop: Shop) -> None:
    """Each backfill waits until a live job has been served; were there one queue, the live one would come last."""

    def answer(request: Request) -> Play:
        if request.path == "/new":
            server.release()
        return Play(body=b'[{"id": 1}]', hold=request.path != "/new")

    shop.world.settings = {"slots": 1, "backfill_slots": 1}
    with serving(answer) as server:
        for name, lane in (("a-old-1", "backfill"), ("a-old-2", "backfill"), ("b-new", "live")):
            path = name[2:]
            config = f'{{url: "{server.url}/{path}", stream: orders, allowPrivateAddresses: true}}'
            shop.job(name, provider="http", jobType="import-json", lane=lane, config=config)
        shop.go()
    asked = [request.path for request in server.requests]
    assert sorted(asked) == ["/new", "/old-1", "/old-2"]
    assert asked.index("/new") < asked.index("/old-2")
    assert asked.index("/old-1") < asked.index("/old-2")
    assert {shop.row(name).state.status for name in ("a-old-1", "a-old-2", "b-new")} == {Status.COMPLETED}


def test_a_backfill_starts_while_a_live_job_fills_the_slot_of_its_lane(shop: Shop) -> None:
    def answer(request: Request) -> Play:
        if request.path == "/old":
            server.release()
        return as_json([{"id": 1}]) if request.path == "/old" else Play(body=b"[]", hold=True)

    shop.world.settings = {"slots": 1, "backfill_slots": 1}
    with serving(answer) as server:
        for name, lane in (("a-new-1", "live"), ("a-new-2", "live"), ("b-old", "backfill")):
            path = name[2:]
            config = f'{{url: "{server.url}/{path}", stream: orders, allowPrivateAddresses: true}}'
            shop.job(name, provider="http", jobType="import-json", lane=lane, config=config)
        shop.go()
    asked = [request.path for request in server.requests]
    assert asked.index("/old") < asked.index("/new-2")


def test_as_many_backfills_run_at_a_time_as_they_have_slots(shop: Shop) -> None:
    def answer(request: Request) -> Play:
        if len(server.requests) == 3:
            server.release()
        return Play(body=b"[]", hold=True)

    shop.world.settings = {"slots": 1, "backfill_slots": 3}
    with serving(answer) as server:
        for number in range(3):
            config = f'{{url: "{server.url}/{number}", stream: orders, allowPrivateAddresses: true}}'
            shop.job(f"old-{number}", provider="http", jobType="import-json", lane="backfill", config=config)
        shop.go()
    assert len(server.requests) == 3
    assert shop.report.ran == 3


# --- the limit ------------------------------------------------------------------------------------------------------


def approve(shop: Shop, name: str = "import-orders") -> None:
    """A person approves what is held."""
    with Record.writing(shop.world.state) as record, record.transaction():
        job = record.jobs.job(name)
        assert job is not None
        held = record.approvals.held(job.id)
        assert held is not None
        record.approvals.approve(job.id, held.digest, "ada", 1)
        Lives(record, lambda: 0.5).advance(job, Approved(held.digest), Clock().now())


def planned(shop: Shop) -> PlannedBackfill:
    """The one backfill of the plan."""
    found = preview(Settings(root=shop.root, state=shop.world.state), backfills=True)
    (one,) = found.plan.backfills
    return one


def messages(shop: Shop) -> int:
    return int(shop.read(lambda record: record.streams.counts("orders"))[0])


LIMITED = {"lane": "backfill", "backfill": "{maxMessages: 1}"}


@pytest.fixture
def held(shop: Shop) -> Shop:
    """A backfill of two messages that may add one, held back."""
    shop.job(**LIMITED)
    shop.go()
    assert shop.row().state.reason is Reason.AWAITING_APPROVAL
    assert messages(shop) == 0
    return shop


def test_past_its_limit_a_backfill_adds_nothing_until_it_is_approved(held: Shop) -> None:
    assert held.row().state.awaiting == (
        "it would add 2 messages from 1 file (0.0 MB), more than backfill.maxMessages (1)"
    )
    assert held.events() == ["Created", "Started", "Sleeping"]
    held.go()
    assert (held.report.ran, messages(held)) == (0, 0)
    approve(held)
    held.go()
    assert (held.row().state.status, messages(held)) == (Status.COMPLETED, 2)
    assert held.events()[-3:] == ["Approved", "Synced", "Completed"]


def test_what_waits_for_approval_is_in_the_plan_until_it_has_landed(held: Shop) -> None:
    digest = held.read(lambda record: record.approvals.held(held.row().id)).digest
    found = planned(held)
    assert (found.waits, found.approve) == (True, f"reconcile approve import-orders {digest}")
    approve(held)
    assert not planned(held).waits
    held.go()
    assert not preview(Settings(root=held.root, state=held.world.state), backfills=True).plan.backfills


def test_what_is_approved_while_a_run_finds_it_once_more_is_not_asked_again(shop: Shop) -> None:
    asked = []

    def answer(_request: Request) -> Play:
        asked.append(1)
        if len(asked) == 2:
            held = shop.read(lambda record: record.approvals.held(shop.row().id))
            perform(shop.world.state, "approve", job="import-orders", digest=held.digest)
        return as_json([{"id": 1}, {"id": 2}])

    with serving(answer) as server:
        config = f'{{url: "{server.url}/", stream: orders, allowPrivateAddresses: true}}'
        shop.job(provider="http", jobType="import-json", schedule="{every: 1ms}", config=config, **LIMITED)
        shop.go()
        assert shop.row().state.reason is Reason.AWAITING_APPROVAL
        shop.go()
        assert (shop.row().state.awaiting, messages(shop), len(asked)) == (None, 0, 2)
        shop.go()
    assert (shop.events(), messages(shop)) == (["Created", "Started", "Sleeping", "Approved", "Synced"], 2)


def test_an_approval_is_of_exactly_these_files(held: Shop) -> None:
    approve(held)
    assert not planned(held).waits
    (held.root / "in" / "2.csv").write_text("id,amount\n3,30\n")
    assert planned(held).waits
    held.go()
    assert held.row().state.awaiting == (
        "it would add 3 messages from 2 files (0.0 MB), more than backfill.maxMessages (1)"
    )
    assert messages(held) == 0


def test_a_file_that_has_changed_since_needs_a_new_approval(held: Shop) -> None:
    approve(held)
    (held.root / "in" / "1.csv").write_text("id,amount\n1,10\n2,21\n")
    held.go()
    assert (held.row().state.reason, messages(held)) == (Reason.AWAITING_APPROVAL, 0)


def test_a_raised_limit_or_the_live_lane_lets_a_held_backfill_go_on(held: Shop) -> None:
    held.job(lane="backfill", backfill="{maxMessages: 2}")
    held.go()
    assert messages(held) == 2


def test_out_of_its_lane_a_job_has_no_limit(held: Shop) -> None:
    held.job()
    held.go()
    assert messages(held) == 2


def test_within_its_limit_nobody_is_asked(shop: Shop) -> None:
    shop.job(lane="backfill")
    shop.go()
    assert messages(shop) == 2


def test_where_nobody_can_tell_beforehand_a_backfill_is_counted_and_waits_at_its_limit(shop: Shop) -> None:
    pages = {"1": [{"id": 1}, {"id": 2}], "2": [{"id": 3}], "3": []}
    with serving(lambda request: as_json(pages[request.query["page"]])) as server:
        config = f"{{url: '{server.url}/', stream: orders, pagination: {{type: page}}, allowPrivateAddresses: true}}"
        spec = {"provider": "http", "jobType": "import-json", "config": config, "schedule": "{every: 1s}"}
        shop.job(lane="backfill", backfill="{maxMessages: 2}", **spec)
        shop.go()
        assert (messages(shop), shop.row().state.reason) == (0, Reason.AWAITING_APPROVAL)
        assert shop.row().state.awaiting == (
            "the next 3 messages would take it past backfill.maxMessages (2), and how many are still to come is not known"
        )
        shop.world.ahead_ms += 5_000
        shop.go()
        assert (shop.report.ran, messages(shop)) == (1, 0), "its schedule lets it look again, and it adds nothing"
        approve(shop)
        shop.go()
        assert (messages(shop), shop.row().state.reason) == (3, Reason.SCHEDULED)
        assert shop.read(lambda record: record.approvals.held(shop.row().id)) is None


# --- what the plan says ---------------------------------------------------------------------------------------------

PEOPLE = STREAM.replace("spec: {}", "spec:\n  identity: [{key: id, from: id}]")


def test_a_plan_counts_what_is_new_since_the_cursor_and_how_a_rebuild_grows(shop: Shop) -> None:
    (shop.root / "stream.yaml").write_text(PEOPLE)
    shop.job(lane="backfill")
    first = planned(shop)
    assert first.estimate is not None
    assert (first.estimate.messages, first.estimate.exact, first.rebuild) == (2, True, (0, 2))
    assert first.adds == first.estimate.size == (shop.root / "in" / "1.csv").stat().st_size
    shop.world.live()
    (shop.root / "in" / "2.csv").write_text("id,amount\n3,30\n4,40\n5,50\n")
    shop.job(lane="backfill", rerun='"1"')
    second = planned(shop)
    assert second.estimate is not None
    assert (second.estimate.messages, second.estimate.parts, second.rebuild) == (3, 1, (2, 5))
    stored = shop.read(lambda record: record.streams.counts("orders"))[1]
    assert second.adds == round(3 * stored / 2)


def test_a_plan_counts_everything_where_the_cursor_is_dropped(shop: Shop) -> None:
    shop.job(lane="backfill")
    shop.go()
    shop.job(lane="backfill", rerun='"1"')
    nothing = planned(shop)
    assert nothing.estimate is not None
    assert (nothing.estimate.messages, nothing.estimate.parts) == (0, 0)
    shop.job(lane="backfill", rerun='"1"', restart='"1"')
    everything = planned(shop)
    assert everything.estimate is not None
    assert everything.estimate.messages == 2


def test_a_job_under_a_new_name_is_counted_from_the_cursor_it_brings(shop: Shop) -> None:
    shop.stay()
    path = shop.job(lane="backfill", deletionPolicy="orphan")
    shop.go()
    path.unlink()
    renamed = shop.job("old-orders", metadata=", renamedFrom: import-orders", lane="backfill", rerun='"1"')
    assert planned(shop).estimate == planned(shop).estimate
    estimate = planned(shop).estimate
    assert estimate is not None
    assert estimate.messages == 0
    renamed.unlink()
    shop.go()
    shop.job(lane="backfill", deletionPolicy="orphan")
    estimate = planned(shop).estimate
    assert estimate is not None
    assert estimate.messages == 0


def test_only_backfills_that_are_due_are_asked(shop: Shop) -> None:
    shop.job(lane="backfill", schedule='{cron: "0 3 1 1 *"}')
    shop.job("live-orders")
    found = preview(Settings(root=shop.root, state=shop.world.state), backfills=True)
    assert [run.name for run in found.plan.runs] == ["live-orders"]
    assert found.plan.backfills == ()
    assert preview(Settings(root=shop.root, state=shop.world.state)).plan.backfills == ()


# --- times ----------------------------------------------------------------------------------------------------------


def last_run(shop: Shop) -> tuple[str, int]:
    """What the log said of the last unit, and how many messages of the last run have no time of their own."""
    job = shop.row()
    events = shop.read(lambda record: record.events.tail("Job", job.name, limit=100))
    synced = next(event for event in reversed(events) if event.event == "Synced")
    return synced.message, shop.read(lambda record: record.runs.history(job.id))[0].untimed


def test_messages_of_a_backfill_without_a_time_are_counted_and_shown(shop: Shop) -> None:
    shop.job(lane="backfill")
    shop.go()
    assert last_run(shop) == ("2 without a time", 2)


def test_messages_whose_field_for_the_time_is_empty_are_counted_in_any_lane(shop: Shop) -> None:
    (shop.root / "in" / "1.csv").write_text("id,at\n1,2020-01-01\n2,\n3,\n")
    for lane in ("live", "backfill"):
        config = f'{{path: "in/{"*" if lane == "live" else "?"}.csv", stream: orders, timestampField: at}}'
        shop.job(lane=lane, config=config, restart=f'"{lane}"')
        shop.go()
        assert last_run(shop) == ("2 without a time", 2)


def test_live_messages_that_nobody_has_a_time_for_are_not_spoken_of(shop: Shop) -> None:
    shop.job()
    shop.go()
    assert last_run(shop) == ("", 0)


def test_where_the_stream_tells_the_time_the_import_does_not_speak_of_it(shop: Shop) -> None:
    (shop.root / "stream.yaml").write_text(STREAM.replace("{}", "{timestamp: {field: amount, format: epoch_s}}"))
    shop.job(lane="backfill")
    shop.go()
    assert last_run(shop) == ("", 0)
