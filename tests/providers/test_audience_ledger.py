"""What the ledger of an export knows of those whose fields, identifiers or mapping change while calls are refused or in doubt:
the destination comes to hold the members, and nothing else that was ever sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.providers.audience_bench import Bench, bench, person
from tests.providers.test_http_audience import naming

BOTH = {"email": {"from": "email"}, "user": {"from": "user"}}


def requests(job: Bench) -> list[tuple[str, Any]]:
    return [(one.json["action"], one.json["members"]) for one in job.server.requests]


def test_an_identifier_that_the_mapping_sends_no_more_is_named_as_one_by_which_the_member_was_known(
    tmp_path: Path,
) -> None:
    who = {"id": f"{1:032x}", "email": ["a@x.org"], "user": ["1"], "plan": "gold"}
    with bench(tmp_path, fields=BOTH) as job:
        job.receiver._apply = lambda *_: None  # type: ignore[method-assign]
        job.enroll([who], keys=("email", "user"))
        job.completes()
        job.job.settings["fields"] = {"user": BOTH["user"], "plan": {"from": "plan"}}
        job.completes()
        previous = {"user": "1", "email": "a@x.org"}
        assert requests(job)[1:] == [("update", [{"user": "1", "plan": "gold", "previous": previous}])]
        assert job.completes().units == 0


def test_nobody_is_removed_by_an_identifier_that_another_one_keeps_if_its_own_change_is_refused(tmp_path: Path) -> None:
    bad: set[int] = set()
    wide = {"maxRemovePercent": 100}
    here = [person(7)]
    with bench(
        tmp_path, [person(1), *here], lambda asked: naming(bad)(asked), errors={"path": "errors"}, guard=wide
    ) as job:  # fmt: skip
        job.completes()
        bad.update((3, 4))
        job.enroll([person(1, email=["p3@x.org"]), person(2, email=["p1@x.org"]), *here])
        job.completes()  # 1 keeps the address that 2 has, too
        job.enroll([person(1, email=["p4@x.org"]), *here])
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p7@x.org"}
        job.enroll([person(1), *here])
        job.completes()
        assert set(job.receiver.members) == {"p1@x.org", "p7@x.org"}
