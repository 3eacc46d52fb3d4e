"""What no file declares any more keeps what is there; it asks for nothing itself."""

from __future__ import annotations

from reconciler.record.store import Record
from tests.controller.conftest import Shop
from tests.end_to_end.inprocess import Fuse


def _is_desired_and_not_made(record: Record) -> bool:
    return record.desired.document("Job", "orders") is not None and record.jobs.job("orders") is None


def test_a_spec_that_goes_after_a_crash_before_it_was_made_true_is_never_made_true(shop: Shop) -> None:
    shop.stay()
    shop.go()
    spec = shop.job("orders")
    number = 0
    while not shop.read(_is_desired_and_not_made):
        number += 1
        assert number < 100, "it dies between the two"
        assert shop.world.live(Fuse(number)) is None
    spec.unlink()
    assert shop.go() == {}
    assert shop.events("orders") == []
    assert shop.read(lambda record: record.jobs.job("orders")) is None
    shop.job("orders")
    assert shop.go() == {"create": 1}


def test_an_edit_that_goes_with_its_file_after_such_a_crash_is_not_made_true_either(shop: Shop) -> None:
    shop.stay()
    shop.job("orders", schedule="{every: 1h}")
    shop.go()
    spec = shop.job("orders", schedule="{every: 1h}", suspend="true")
    number = 0
    while not shop.read(lambda record: record.desired.document("Job", "orders").spec.get("suspend")):
        number += 1
        assert number < 100, "it dies between the two"
        assert shop.world.live(Fuse(number)) is None
    spec.unlink()
    assert shop.go() == {"delete": 1}
