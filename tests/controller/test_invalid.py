"""A spec that becomes invalid leaves its job as it was, and says so where its owner looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import yaml

from reconciler.controller.hands import Hands
from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.controller.specs import job_text
from tests.end_to_end.inprocess import Ahead, World


def status_of(shop: Shop, name: str) -> dict[str, object]:
    status: dict[str, object] = yaml.safe_load((shop.root / f"{name}.status.yaml").read_text())["status"]
    return status


def test_a_file_that_no_longer_says_a_name_is_told_of_in_the_status_of_its_jobs(shop: Shop) -> None:
    spec, other = shop.root / "orders.yaml", shop.root / "other.yaml"
    spec.write_text(job_text("orders") + "---\n" + job_text("returns"))
    other.write_text(job_text("other"))
    shop.world.live()
    whole = spec.read_text()
    spec.write_text(whole + "x: [\n")
    report = shop.world.live()
    assert report is not None
    assert report.exit_code == 1
    assert [(one.name, one.reason) for one in report.plan.waiting] == [
        ("returns", "orders.yaml cannot be parsed and may still declare it, so it stays as it was")
    ]
    status = status_of(shop, "returns")
    assert str(status["message"]).startswith("the spec is invalid at orders.yaml:19:1: not valid YAML")
    assert status["status"] == "Sleeping"
    for name in ("orders", "other"):
        assert "invalid" not in str(status_of(shop, name)["message"])
    spec.write_text(whole)
    shop.world.live()
    assert "invalid" not in str(status_of(shop, "returns")["message"])


def test_what_another_file_declares_now_is_not_troubled_by_the_file_it_left(shop: Shop) -> None:
    spec = shop.root / "orders.yaml"
    spec.write_text(job_text("orders"))
    shop.world.live()
    (shop.root / "moved.yaml").write_text(job_text("orders"))
    spec.write_text("x: [\n")
    report = shop.world.live()
    assert report is not None
    assert [str(action.verb) for action in report.plan.actions] == ["move"]
    assert "invalid" not in str(status_of(shop, "orders")["message"])


AUTH = (
    "apiVersion: reconciler/v1\nkind: Authorization\nmetadata: {name: receiver}\n"
    "spec: {provider: http, method: bearer, credentials: {token: {env: TOKEN}}}\n"
)


def test_a_new_job_waits_for_its_authorization_to_be_valid(shop: Shop) -> None:
    auth = shop.root / "auth.yaml"
    auth.write_text(AUTH.replace("token", "tokn"))
    shop.job(
        "send", provider="http", jobType="export-webhook", authorization="receiver", suspend="true",
        config='{stream: orders, url: "https://example.org/in"}',
    )  # fmt: skip
    assert shop.go() == {"create": 1}, "the stream alone"
    assert [(one.name, one.reason) for one in shop.report.plan.waiting] == [
        ("send", "needs Authorization receiver, which is invalid at auth.yaml:4:53")
    ]
    auth.write_text(AUTH)
    assert shop.go() == {"create": 2}
    auth.write_text(AUTH.replace("token", "tokn"))
    shop.job(
        "send-more", provider="http", jobType="export-webhook", authorization="receiver", suspend="true",
        config='{stream: orders, url: "https://example.org/in"}',
    )  # fmt: skip
    assert shop.go() == {"create": 1}, "the last known good one is there to refer to"


def test_a_new_job_waits_for_its_stream_to_be_valid(shop: Shop) -> None:
    stream = shop.root / "stream.yaml"
    sound = stream.read_text()
    stream.write_text(sound.replace("spec: {}", "spec: {column: {}}"))
    shop.job(suspend="true")
    assert shop.go() == {}
    assert [one.reason for one in shop.report.plan.waiting] == [
        "needs Stream orders, which is invalid at stream.yaml:4:8"
    ]
    stream.write_text(sound)
    assert shop.go() == {"create": 2}


class _Mended(Ahead):
    """A clock by which somebody has finished writing a file when the second look is taken."""

    def __init__(self, mend: Callable[[], object]) -> None:
        super().__init__(0, 0)
        self._mend = mend

    def pause(self, seconds: float) -> None:
        self._mend()
        super().pause(seconds)


class _MendedWorld(World):
    mend: Callable[[], object]

    def _hands(self, record: Record) -> Hands:
        return replace(super()._hands(record), clock=_Mended(self.mend))


@pytest.mark.parametrize("meanwhile", ["\n", "x: [\n", None])
def test_an_invalid_job_is_not_gone_because_its_file_is_empty_or_not_there_while_it_is_mended(
    shop: Shop, meanwhile: str | None
) -> None:
    shop.stay()
    spec = shop.job("orders", rerun="one")
    shop.go()
    whole = spec.read_text()
    spec.write_text(whole.replace("rerun", "reruns"))
    shop.go()
    if meanwhile == "x: [\n":  # whoever looks at this does not learn whom it is about
        spec.write_text(meanwhile)
        shop.go()
        meanwhile = "\n"
    if meanwhile is None:
        spec.unlink()
    else:
        spec.write_text(meanwhile)
    world = _MendedWorld(shop.root, shop.world.runner)
    world.mend = lambda: spec.write_text(whole.replace("one", "two"))
    report = world.live()
    assert report is not None
    assert [(str(one.verb), one.name) for one in report.plan.actions] == [("rerun", "orders")]
    assert "Deleted" not in shop.events("orders")
    spec.unlink()
    assert shop.go() == {"delete": 1}


def test_an_invalid_job_that_is_taken_out_is_gone(shop: Shop) -> None:
    shop.stay()
    spec = shop.job("orders")
    shop.go()
    spec.write_text(spec.read_text().replace("provider", "providers"))
    assert shop.go() == {}
    spec.unlink()
    assert shop.go() == {"delete": 1}
