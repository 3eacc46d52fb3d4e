"""People from the command line, as somebody would ask who means no good or has slipped: specs that go while others need
them, jobs that begin anew or come back, and values that nobody would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.test_people import JOB, Shop
from tests.servers import serving

AUDIENCE = """---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: big-spenders, title: Have spent more than 1000 and may be written to}
spec: {where: "spent > 1000 and consented"}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with serving() as receiver:
        yield Shop(tmp_path / "mirror", receiver)


def test_an_audience_is_kept_while_a_job_that_was_good_refers_to_it(shop: Shop) -> None:
    shop.run()
    shop.sent()
    shop.edit("people.yaml", AUDIENCE, "")
    assert "no file declares it, but big-spenders-to-receiver still refers to it" in shop.run("plan", code=1)
    shop.order("1010,linus@example.org,3,1,800.00,2026-11-02T10:00:00Z")
    said = shop.run(code=1)
    assert "unknown audience 'big-spenders'" in said
    assert shop.sent() == [("add", "Linus")]
    assert "Size           5 of 8 profiles" in shop.run("audience", "big-spenders")


def test_a_plan_with_data_knows_what_a_restart_forgets(shop: Shop) -> None:
    shop.run()
    shop.sent()
    shop.edit("jobs.yaml", "  dependsOn:", "  restart: anew\n  dependsOn:")
    assert shop.json("plan", "--data")["exports"][0]["add"] == 4
    shop.run()
    assert len(shop.sent()) == 4


def test_a_plan_with_data_knows_the_cursor_of_a_job_that_is_renamed_or_comes_back(shop: Shop) -> None:
    shop.run()
    shop.edit("jobs.yaml", f"{{name: {JOB},", f"{{name: renamed, renamedFrom: {JOB},")
    (export,) = shop.json("plan", "--data")["exports"]
    assert (export["name"], export["add"], export["requests"]) == ("renamed", 0, 0)
    shop.edit("jobs.yaml", "  dependsOn:", "  deletionPolicy: orphan\n  dependsOn:")
    shop.run()
    jobs = (shop.root / "jobs.yaml").read_text()
    (shop.root / "jobs.yaml").write_text(jobs[: jobs.rindex("---")])
    shop.run()
    shop.run()
    (shop.root / "jobs.yaml").write_text(jobs)
    shop.sent()
    assert "goes on from the cursor that was kept" in shop.run("plan")
    (export,) = shop.json("plan", "--data")["exports"]
    assert (export["add"], export["requests"]) == (0, 0)
    shop.run()
    assert shop.sent() == []
