"""What the ledger of an export knows of those whose fields, identifiers or mapping change while calls are refused or in doubt:
the destination comes to hold the members, and nothing else that was ever sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.providers.audience_bench import Bench, bench

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
