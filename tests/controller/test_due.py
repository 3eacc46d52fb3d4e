"""The runs that a plan names are those that a pass would start."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reconciler.clock import pause
from reconciler.controller import Settings, preview
from tests.controller.conftest import Shop
from tests.controller.specs import job_text


def due(shop: Shop) -> list[tuple[str, str]]:
    found = preview(Settings(root=shop.root, state=shop.world.state))
    return [(run.name, run.reason) for run in found.plan.runs]


def hour(away: int) -> str:
    """So many hours from now, by the clock of UTC."""
    return f"{datetime.now(UTC) + timedelta(hours=away):%H:%M}"


def test_a_plan_names_no_run_that_waits_for_a_person_for_quiet_hours_or_has_expired(shop: Shop) -> None:
    specs = {
        "first": "schedule: {once: true}",
        "second": "dependsOn: [first]",
        "third": "dependsOn: [second, first]",
        "paused": "suspend: true",
        "behind": "dependsOn: [paused, first]",
        "far-behind": "dependsOn: [behind]",
        "quiet": f'quiet: {{from: "{hour(-1)}", to: "{hour(+1)}"}}\n  schedule: {{every: 1h}}',
        "expired": "expiresAt: 2020-01-01T00:00:00Z",
    }
    (shop.root / "jobs.yaml").write_text("---\n".join(job_text(name, more) for name, more in specs.items()))
    assert due(shop) == [(name, "first run") for name in ("first", "second", "third")]
    report = shop.world.live()
    assert report is not None
    assert report.ran == 3


def test_a_plan_names_no_run_that_waits_for_another_that_is_due_and_must_be_quiet(shop: Shop) -> None:
    spec = shop.root / "jobs.yaml"
    spec.write_text(job_text("first", "schedule: {every: 100ms}"))
    shop.world.live()
    quiet = f'schedule: {{every: 100ms}}\n  quiet: {{from: "{hour(-1)}", to: "{hour(+1)}"}}'
    spec.write_text(job_text("first", quiet) + "---\n" + job_text("second", "dependsOn: [first]"))
    pause(0.1)
    assert due(shop) == []
    report = shop.world.live()
    assert report is not None
    assert report.ran == 0


def test_a_known_dependency_that_has_succeeded_lets_a_planned_run_be_named(shop: Shop) -> None:
    spec = shop.root / "jobs.yaml"
    spec.write_text(job_text("first", "schedule: {once: true}"))
    shop.world.live()
    spec.write_text(spec.read_text() + "---\n" + job_text("second", "dependsOn: [first]"))
    assert due(shop) == [("second", "first run")]


def test_a_plan_names_the_runs_that_its_edits_bring_about(shop: Shop) -> None:
    jobs = {
        "changed": "schedule: {once: true}",
        "resumed": "suspend: true",
        "titled": "schedule: {once: true}",
        "follower": "schedule: {afterDependencies: true}\n  dependsOn: [changed]",
        "old-name": "schedule: {once: true}",
    }
    for name, more in jobs.items():
        (shop.root / f"{name}.yaml").write_text(job_text(name, more))
    shop.world.live()
    assert due(shop) == []
    (shop.root / "changed.yaml").write_text(job_text("changed", jobs["changed"]).replace('"*.csv"', '"?.csv"'))
    (shop.root / "resumed.yaml").write_text(job_text("resumed", "suspend: false"))
    (shop.root / "titled.yaml").write_text(job_text("titled", jobs["titled"]).replace("titled}", "titled, title: T}"))
    (shop.root / "old-name.yaml").write_text(job_text("new-name, renamedFrom: old-name", 'rerun: "1"'))
    expected = [("changed", "change"), ("follower", "dependency"), ("new-name", "rerun"), ("resumed", "schedule")]
    assert due(shop) == expected
    report = shop.world.live()
    assert report is not None
    assert report.ran == len(expected)
