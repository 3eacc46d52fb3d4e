"""Backfills beside live jobs: slots of their own, and a limit past which a person is asked."""

from __future__ import annotations

from reconciler.core.state import Status
from tests.controller.conftest import Shop
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
