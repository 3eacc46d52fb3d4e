"""What a pass makes of each edit, through all hands: the files, the record, the runs and what is written beside."""

from __future__ import annotations

from typing import Final

import pytest

from reconciler.controller.deeds import perform
from reconciler.core.state import Outcome, Reason, Status
from tests.controller.conftest import Shop
from tests.end_to_end.inprocess import Died, Fuse
from tests.servers import serving

DAY_MS: Final = 24 * 3600 * 1000


def test_a_new_job_runs_at_once_and_a_second_pass_finds_nothing_to_do(shop: Shop) -> None:
    shop.job()
    assert shop.go() == {"create": 2}
    assert shop.row().state.status is Status.COMPLETED
    assert shop.row().totals.rows == 2
    assert shop.events() == ["Created", "Started", "Synced", "Completed"]
    assert shop.go() == {}
    assert shop.report.ran == 0


def test_an_import_reads_a_time_in_the_format_that_its_stream_declares_for_that_field(shop: Shop) -> None:
    stream = shop.root / "stream.yaml"
    stream.write_text(stream.read_text().replace("spec: {}", "spec: {timestamp: {field: amount, format: epoch_s}}"))
    shop.job(config='{path: "in/*.csv", stream: orders, timestampField: amount}')
    shop.go()  # 10 and 20 are no times in ISO 8601
    assert (shop.row().state.status, shop.row().totals.rows) == (Status.COMPLETED, 2)


def test_a_job_that_is_suspended_from_the_start_never_runs(shop: Shop) -> None:
    shop.job(suspend="true")
    shop.go()
    assert shop.row().state.status is Status.PAUSED
    assert shop.report.ran == 0
    shop.job()
    assert shop.go() == {"resume": 1}
    assert shop.row().state.status is Status.COMPLETED


def test_an_edit_of_title_and_comments_restarts_nothing(shop: Shop) -> None:
    path = shop.job()
    shop.go()
    path.write_text("# a comment\n" + path.read_text())
    assert shop.go() == {}
    shop.job(metadata=", title: Orders")
    assert shop.go() == {"update": 1}
    assert (shop.report.ran, shop.row().title, shop.row().generation) == (0, "Orders", 1)


def test_a_changed_config_runs_a_completed_job_again_from_its_cursor(shop: Shop) -> None:
    shop.job()
    shop.go()
    shop.job(config='{path: "in/*.csv", stream: orders, maxRejects: 5}')
    assert shop.go() == {"update": 1}
    assert (shop.report.ran, shop.row().generation, shop.row().totals.rows) == (1, 2, 2)


def test_rerun_goes_on_from_the_cursor_and_restart_begins_again(shop: Shop) -> None:
    shop.job()
    shop.go()
    shop.job(rerun='"1"')
    assert shop.go() == {"rerun": 1}
    assert (shop.report.ran, shop.row().totals.rows) == (1, 2)
    shop.job(rerun='"1"', restart='"1"')
    assert shop.go() == {"rerun": 1}
    assert shop.row().totals.rows == 4
    assert shop.events()[-4:] == ["Restarted", "Started", "Synced", "Completed"]


def test_a_moved_file_is_the_same_job_and_its_files_follow(shop: Shop) -> None:
    path = shop.job()
    shop.go()
    (shop.root / "team").mkdir()
    path.rename(shop.root / "team" / "orders.yaml")
    assert shop.go() == {"move": 1}
    assert (shop.report.ran, shop.row().path, shop.row().generation) == (0, "team/orders.yaml", 1)
    assert not (shop.root / "import-orders.status.yaml").exists()
    assert "status: Completed" in (shop.root / "team" / "import-orders.status.yaml").read_text()
    log = (shop.root / "team" / "import-orders.log").read_text()
    assert "event=Created" in log
    assert "event=Moved" in log


def test_a_declared_rename_is_the_same_job(shop: Shop) -> None:
    path = shop.job()
    shop.go()
    path.unlink()
    shop.job("orders-in", metadata=", renamedFrom: import-orders")
    assert shop.go() == {"move": 1}
    assert (shop.report.ran, shop.row("orders-in").totals.rows) == (0, 2)
    assert shop.events("orders-in")[0] == "Created"
    assert not (shop.root / "import-orders.log").exists()
    assert (shop.root / "orders-in.log").exists()


def test_deletion_takes_cursor_runs_log_and_status_and_leaves_the_messages(shop: Shop) -> None:
    shop.stay()
    path = shop.job()
    shop.go()
    path.unlink()
    assert shop.go() == {"delete": 1}
    assert shop.read(lambda record: record.jobs.job("import-orders")) is None
    assert not list(shop.root.glob("import-orders.*"))
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 2
    shop.job()
    assert shop.go() == {"create": 1}
    assert shop.row().totals.rows == 2  # a new job: it lands the file again
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 4


def test_an_orphan_keeps_its_cursor_for_a_job_declared_again_under_its_name(shop: Shop) -> None:
    shop.stay()
    path = shop.job(deletionPolicy="orphan")
    shop.go()
    path.unlink()
    assert shop.go() == {"delete": 1}
    shop.job(deletionPolicy="orphan")
    assert shop.go() == {"create": 1}
    assert shop.report.ran == 1
    assert shop.row().totals.rows == 2
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 2


@pytest.mark.parametrize("policy", ["orphan", "delete"])
def test_other_work_that_is_declared_under_the_name_of_a_kept_cursor_does_not_go_on_from_it(
    shop: Shop, policy: str
) -> None:
    path = shop.stay()
    path.write_text(path.read_text().replace("suspend: true", "schedule: {once: true}"))
    gone = shop.job(deletionPolicy=policy)
    shop.go()
    gone.unlink()
    assert shop.go() == {"delete": 1}
    if policy == "delete":
        perform(shop.world.state, "undelete", job="import-orders")
    shop.job(config='{path: "in/*.csv", stream: others}')
    assert shop.go() == {"create": 1}
    (action,) = shop.report.plan.actions
    assert action.reason == "declared again, as other work than that of which the cursor was kept; it begins anew"
    assert action.message == (
        "the cursor is dropped: the 2 rows of earlier runs may be landed a second time on stream others"
    )
    assert shop.read(lambda record: record.streams.counts("others"))[0] == 4, "that of the other job, and this one's"


def test_what_is_protected_stays_when_its_file_goes(shop: Shop) -> None:
    path = shop.job(deletionPolicy="protect")
    shop.go()
    path.unlink()
    assert shop.go() == {}
    assert [(one.name, one.reason) for one in shop.report.plan.waiting] == [
        (
            "import-orders",
            "no file declares it, but its deletionPolicy is protect; to delete it, restore its file with deletionPolicy: delete, let that be applied, and remove it then",
        )
    ]
    assert shop.row().life == "live"


def test_a_stream_that_holds_messages_is_archived_and_comes_back_with_them(shop: Shop) -> None:
    shop.stay()
    job = shop.job()
    shop.go()
    job.unlink()
    (shop.root / "stream.yaml").rename(shop.root / "stream.txt")
    assert shop.go() == {"delete": 2}
    assert shop.read(lambda record: record.resources.resource("Stream", "orders")).life == "archived"
    (shop.root / "stream.txt").rename(shop.root / "stream.yaml")
    assert shop.go() == {"create": 1}
    assert shop.read(lambda record: record.streams.counts("orders"))[0] == 2


def test_a_spec_that_becomes_invalid_leaves_its_job_as_it_was_and_says_so(shop: Shop) -> None:
    path = shop.job(schedule="{every: 1h}")
    shop.go()
    path.write_text(path.read_text().replace("every: 1h", "every: never"))
    assert shop.go() == {}
    assert shop.report.exit_code == 1
    assert shop.row().state.reason is Reason.SCHEDULED
    status = (shop.root / "import-orders.status.yaml").read_text()
    assert "reason: Invalid" in status
    assert "import-orders.yaml:8:21" in status
    assert shop.go() == {}
    assert shop.report.exit_code == 1  # nothing changed, and yet it says so
    shop.job(schedule="{every: 2h}")
    assert shop.go() == {"update": 1}
    assert shop.report.exit_code == 0
    assert "reason: Invalid" not in (shop.root / "import-orders.status.yaml").read_text()


def test_nothing_is_deleted_while_a_file_cannot_be_parsed(shop: Shop) -> None:
    one, other = shop.job("one"), shop.job("other")
    shop.go()
    one.unlink()
    other.write_text("kind: [")
    assert shop.go() == {}
    assert {waiting.name for waiting in shop.report.plan.waiting} == {"one", "other"}
    shop.job("other")
    assert shop.go() == {"delete": 1}


def test_one_bad_file_does_not_hold_up_the_others(shop: Shop) -> None:
    (shop.root / "bad.yaml").write_text("kind: Job\nmetadata: {name: bad}\n")
    shop.job()
    assert shop.go() == {"create": 2}
    assert shop.report.ran == 1
    assert shop.report.exit_code == 1


def test_ninety_days_after_completion_a_job_is_purged_and_its_tombstone_keeps_it_from_being_made_anew(
    shop: Shop,
) -> None:
    shop.job()
    shop.go()
    shop.world.ahead_ms = 91 * DAY_MS
    assert shop.go() == {"purge": 1}
    assert not list(shop.root.glob("import-orders.status.yaml")) + list(shop.root.glob("import-orders.log"))
    assert (shop.row().life, shop.row().totals.rows) == ("purged", 2)
    assert shop.go() == {}
    assert "purged after 90 days as Completed" in shop.report.plan.waiting[0].reason
    shop.job(rerun='"again"')
    assert shop.go() == {"rerun": 1}
    assert (shop.row().life, shop.report.ran, shop.row().totals.rows) == ("live", 1, 2)
    assert (shop.root / "import-orders.status.yaml").exists()


def test_ticks_missed_while_nobody_was_there_are_one_run(shop: Shop) -> None:
    shop.job(schedule="{every: 1h}")
    shop.go()
    shop.world.ahead_ms = 30 * DAY_MS
    shop.go()
    assert shop.report.ran == 1
    shop.go()
    assert shop.report.ran == 0


def test_a_dependent_starts_in_the_same_pass_and_waits_while_its_dependency_fails(shop: Shop) -> None:
    shop.job(
        "export", jobType="export-csv", dependsOn="[import-orders]", config="{stream: orders, path: out/orders.csv}"
    )
    shop.job(config='{path: "in/missing.csv", stream: orders}')
    shop.go()
    assert shop.report.failures[0][0] == "import-orders"
    assert shop.row("export").state.reason is Reason.WAITING_FOR_DEPENDENCY
    assert "waits for import-orders" in (shop.root / "export.status.yaml").read_text()
    shop.job()
    shop.go()
    assert shop.row("export").state.status is Status.COMPLETED
    assert (shop.root / "out" / "orders.csv").read_text() == "id,amount\n1,10\n2,20\n"


def test_an_error_opens_a_window_and_ten_hours_of_uptime_later_the_job_has_failed(shop: Shop) -> None:
    shop.job(config='{path: "in/missing.csv", stream: orders}', retry="{failAfter: 0s}")
    shop.go()
    assert shop.row().state.status is Status.FAILED
    assert shop.report.exit_code == 1
    assert "status: Failed" in (shop.root / "import-orders.status.yaml").read_text()
    shop.go()
    assert (shop.report.ran, shop.report.exit_code) == (0, 0)
    shop.job(config='{path: "in/1.csv", stream: orders}', retry="{failAfter: 0s}")
    shop.go()
    assert shop.row().state.status is Status.COMPLETED


def test_a_job_past_its_date_is_completed_and_a_later_date_undoes_only_that(shop: Shop) -> None:
    shop.job(schedule="{every: 1h}", expiresAt="2020-01-01T00:00:00Z")
    shop.go()
    assert (shop.row().state.status, shop.report.ran) == (Status.COMPLETED, 0)
    shop.job(schedule="{every: 1h}", expiresAt="2999-01-01T00:00:00Z")
    shop.go()
    assert shop.row().state.status is Status.SLEEPING
    assert shop.report.ran == 1


def test_a_run_of_its_last_words_is_kept_with_its_cost(shop: Shop) -> None:
    shop.job()
    shop.go()
    (run,) = shop.read(lambda record: record.runs.history(shop.row().id))
    assert (run.outcome, run.exit_code, run.signal, run.units) == (Outcome.SUCCEEDED, 0, None, 1)
    assert run.peak_kib > 10_000
    assert run.pid


def test_what_was_left_out_of_a_run_is_kept_where_the_log_says(shop: Shop) -> None:
    (shop.root / "in" / "1.csv").write_text("id,amount\n1,10\n2\n3,30\n")
    shop.job(config='{path: "in/*.csv", stream: orders, maxRejects: 1}')
    shop.go()
    (line,) = [line for line in (shop.root / "import-orders.log").read_text().splitlines() if "Synced" in line]
    told = line.split("kept in ")[1].split('"')[0]
    assert told == ".reconciler/data/rejects/import-orders/run-1-unit-1.ndjson"
    assert '"line":3' in (shop.root / told).read_text().replace(" ", "")


def test_a_lost_cache_loses_nothing(shop: Shop) -> None:
    import shutil

    gone = shop.job("gone")
    shop.job()
    shop.go()
    shutil.rmtree(shop.world.state / "cache")
    gone.unlink()
    assert shop.go() == {"delete": 1}
    assert shop.row().life == "live"


def test_more_jobs_than_slots_take_their_turns(shop: Shop) -> None:
    shop.world.settings = {"slots": 2}
    for number in range(7):
        shop.job(f"import-{number}", config=f'{{path: "in/none-{number}-*.csv", stream: orders}}')
    shop.go()
    assert shop.report.ran == 7
    assert {shop.row(f"import-{number}").state.status for number in range(7)} == {Status.COMPLETED}


def test_a_secret_that_a_run_has_resolved_stands_in_its_authorization_s_status(shop: Shop) -> None:
    with serving() as receiver:
        (shop.root / "token").write_text("s3cret-one")
        (shop.root / "auth.yaml").write_text(
            "apiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: receiver}\n"
            "spec: {provider: http, method: bearer, credentials: {token: {file: token}}}\n"
        )
        shop.job()
        shop.job(
            "send",
            provider="http",
            jobType="export-webhook",
            authorization="receiver",
            dependsOn="[import-orders]",
            config=f'{{stream: orders, url: "{receiver.url}/", allowPrivateAddresses: true}}',
        )
        shop.go()
        status = shop.root / "receiver.auth.status.yaml"
        assert "reason: Checked" in status.read_text()
        assert "field: token" in status.read_text()
        written = status.stat().st_mtime_ns
        (shop.root / "token").write_text("s3cret-two")
        shop.job(rerun='"1"')
        assert shop.row("send").totals.rows == 2
        path = shop.root / "send.yaml"
        path.write_text(path.read_text() + '  rerun: "1"\n')
        shop.go()
    assert shop.events("send").count("SecretRotated") == 1
    assert status.stat().st_mtime_ns > written
    assert [request.headers["authorization"] for request in receiver.requests] == ["Bearer s3cret-one"]


class DiesBeforeTheIndexKnows(Fuse):
    """The record has taken a look in, and the tree's index is not told."""

    def burn(self, name: str) -> None:
        if name == "tree.settle":
            raise Died(name)


def test_a_file_that_comes_back_to_what_it_was_after_a_crash_is_seen(shop: Shop) -> None:
    shop.job(schedule="{every: 1h}")
    shop.go()
    shop.job(schedule="{every: 2h}")
    assert shop.world.live(DiesBeforeTheIndexKnows(0)) is None
    shop.job(schedule="{every: 1h}")
    assert shop.go() == {}
    assert shop.row().spec["schedule"] == {"every": 3_600_000}
