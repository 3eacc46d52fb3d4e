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


def test_nobody_is_known_before_anything_was_done(shop: Shop) -> None:
    assert "nobody is known by id=x; no profiles were built yet" in shop.run("profile", "id=x", code=2)


def test_a_member_who_leaves_after_the_end_of_all_calendars_is_no_trouble(shop: Shop) -> None:
    shop.edit("people.yaml", "spent > 1000 and consented", "last_order_at > now() - interval 90 day")
    shop.edit("people.yaml", "last_order_at: {from: ordered_at, merge: max}", "last_order_at: {from: ordered_at}")
    shop.order("1010,linus@example.org,3,1,800.00,9999-12-31T23:59:59Z", "1011,ken@example.org,8,1,1.00,0001-01-01")
    assert "profiles could not be built" not in shop.run()
    sent = shop.sent()
    assert ("add", "Linus") in sent
    assert ("add", "Ken") not in sent
    assert shop.json("profile", "user_id=3")["attributes"]["last_order_at"]["value"] == "9999-12-31T23:59:59Z"
    shop.edit("people.yaml", "interval 90 day", "interval 1 day")
    shop.run()
    assert shop.json("audience", "big-spenders")["nextChangeAt"] is None
    assert [one["id"] for one in shop.json("audience", "big-spenders")["sample"]] == [
        shop.json("profile", "user_id=3")["id"]
    ]


def test_a_pass_whose_profiles_cannot_be_built_ends_and_says_so_once(shop: Shop) -> None:
    shop.run()
    for file in (shop.root / ".reconciler" / "data" / "profiles").glob("*.parquet"):
        file.write_bytes(b"PAR1 is not all there is to it PAR1")
    shop.order("1010,linus@example.org,3,1,800.00,2026-11-02T10:00:00Z")
    shop.edit("jobs.yaml", "schedule: {afterDependencies: true}", "suspend: true\n  schedule: {once: true}")
    said = shop.run()
    assert said.count("profiles could not be built") == 1


def test_a_value_of_too_many_is_reported_as_nobody_s(shop: Shop) -> None:
    shop.edit("people.yaml", "normalize: [trim, lower]}", "normalize: [trim, lower], maxPerKey: 2}")
    shop.run()
    shop.order(*(f"20{number},ada@example.org,{number},1,1.00,2026-11-02T10:00:00Z" for number in (21, 22)))
    said = shop.run()
    assert "profiles: email=ada@example.org belongs to nobody from now on: it came with 3 values of user_id" in said
    words = (
        "email=ADA@example.org belongs to nobody: it has come with more values of another key than `maxPerKey` allows"
    )
    assert words in shop.run("profile", "email=ADA@example.org", code=2)
    body = shop.json("why", JOB, "--member", "email=ADA@example.org")
    assert (body["code"], words in body["because"]) == ("Void", True)


def test_streams_may_cease_to_speak_of_people(shop: Shop) -> None:
    shop.run()
    assert shop.json("profile", "user_id=1")["messages"] == 3
    (shop.root / "people.yaml").write_text(
        "".join(
            f"---\napiVersion: reconciler/v1\nkind: Stream\nmetadata: {{name: {name}}}\nspec: {{}}\n"
            for name in ("customers", "orders")
        )
    )
    jobs = (shop.root / "jobs.yaml").read_text()
    (shop.root / "jobs.yaml").write_text(jobs[: jobs.rindex("---")])
    said = shop.run()
    assert "profiles could not be built" not in said
    assert "Built anew: 0 profiles." in shop.run("rebuild")
    assert "no stream identifies people by 'user_id'" in shop.run("profile", "user_id=1", code=2)


def test_who_is_released_stays_so_when_the_refused_are_asked_for_too(shop: Shop) -> None:
    shop.run()
    assert "or whose last action may have arrived" in shop.run("rejects", JOB, "--release")
    assert "or whose last action may have arrived" in shop.run("rejects", JOB, "--retry")
    assert "there is nobody to try again" in shop.run()
    assert "tries again whoever was refused." in shop.run("rejects", JOB, "--retry")


def test_what_a_profile_shows_does_nothing_to_a_terminal(shop: Shop) -> None:
    with (shop.root / "data" / "customers.csv").open("a") as file:
        file.write("9,c1@example.org,\u009b31mred\u202eder,US,true,2026-06-14T14:10:00Z\n")
    shop.run()
    said = shop.run("profile", "user_id=9")
    assert '"\\x9b31mred\\u202eder"' in said
    assert not {"\u009b", "\u202e"} & set(said)


def test_of_many_identifiers_some_are_shown(shop: Shop) -> None:
    shop.order(*(f"3{number},linus@example.org,{number},1,900.00,2026-11-02T10:00:00Z" for number in range(100, 150)))
    shop.run()
    for asked in (("profile", "user_id=3"), ("audience", "big-spenders", "--reveal")):
        said = shop.run(*asked)
        assert "and 31 more (-v shows them)" in said
        assert "149" not in said
        assert "149" in shop.run(*asked, "-v")
