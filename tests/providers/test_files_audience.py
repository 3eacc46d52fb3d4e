"""`files: export-audience`: a file with all members, or one with each run's changes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from reconciler.errors import Fatal, NeedsApproval
from reconciler.providers.files import PROVIDER
from reconciler.testing import Attempt, Place, ProviderConformance, attempt
from tests.providers.audience_bench import FIELDS, people, person

LAX = {"maxRemovePercent": 100}


class Job(ProviderConformance):
    provider = PROVIDER
    job_type = "export-audience"

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.settings = {"audience": "people", "fields": FIELDS, "path": "out/{run}.csv", "format": "csv", **config}
        self.source: Sequence[Mapping[str, Any]] = ()

    def config(self, place: Place) -> Mapping[str, Any]:
        return self.settings

    def people(self) -> Sequence[Mapping[str, Any]]:
        return self.source


class Bench:
    def __init__(self, job: Job, place: Place) -> None:
        self.job, self.place = job, place

    def run(self, **how: Any) -> Attempt:
        return attempt(self.job, self.place, **{"new_run": True, **how})

    def completes(self, **how: Any) -> Attempt:
        made = self.run(**how)
        assert made.how == "completed", made
        return made

    def text(self, name: str) -> str:
        return (self.place.root / name).read_text()


@contextmanager
def bench(folder: Path, who: Sequence[Mapping[str, Any]], **config: Any) -> Iterator[Bench]:
    job = Job(config)
    job.source = who
    with job.place(folder) as place:
        yield Bench(job, place)


def test_all_members_stand_in_one_file_that_is_replaced_when_one_of_them_changes(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), path="out/all.csv") as job:
        job.completes()
        assert job.text("out/all.csv") == "email,plan\np0@x.org,gold\np1@x.org,gold\n"
        assert job.completes().units == 0
        job.place.enroll([person(1, "a,b"), person(2, None)])
        job.completes()
        assert job.text("out/all.csv") == 'email,plan\np1@x.org,"a,b"\np2@x.org,\n'
        assert job.place.ledger.units[-2].rows == 2


def test_a_file_of_all_members_that_is_gone_is_written_again_though_nothing_has_changed(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), path="out/all.csv") as job:
        job.completes()
        before = job.text("out/all.csv")
        (job.place.root / "out/all.csv").unlink()
        made = job.completes()
        assert (made.units, job.text("out/all.csv")) == (1, before)
        unit = job.place.ledger.units[-1]
        assert (unit.rows, unit.message) == (2, "wrote out/all.csv again, which was gone")
        assert job.completes().units == 0


def test_a_file_of_all_members_that_is_gone_is_written_again_though_nobody_is_a_member_any_more(tmp_path: Path) -> None:
    with bench(
        tmp_path, people(0, 2), path="all.csv", guard={"emptyAudience": "allow", "maxRemovePercent": 100}
    ) as job:
        job.completes()
        job.place.enroll([])
        job.completes()
        assert job.text("all.csv") == "email,plan\n"
        (job.place.root / "all.csv").unlink()
        job.completes()
        assert job.text("all.csv") == "email,plan\n"
        assert job.completes().units == 0


def test_a_file_of_all_members_without_a_backfill_is_there_from_the_first_change_on(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 2), path="all.csv", backfill=False) as job:
        for _ in range(2):
            job.completes()
            assert not (job.place.root / "all.csv").exists()
        job.place.enroll(people(0, 3))
        job.completes()
        whole = job.text("all.csv")
        assert whole == "email,plan\np0@x.org,gold\np1@x.org,gold\np2@x.org,gold\n"
        (job.place.root / "all.csv").unlink()
        job.completes()
        assert job.text("all.csv") == whole


def test_each_run_writes_what_it_changed_with_the_action(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 6), only="new") as job:
        job.completes()
        job.place.enroll([person(0, "silver"), person(1, email=["New@x.org"]), *people(2, 5), person(7)])
        job.completes()
        assert job.completes().units == 0
        assert job.text("out/2.csv") == (
            "action,email,plan,previous\nadd,p7@x.org,gold,\nupdate,p0@x.org,silver,\n"
            'update,new@x.org,gold,"{""email"":""p1@x.org""}"\nremove,p5@x.org,gold,\n'
        )
        assert not (job.place.root / "out/3.csv").exists()


def test_changes_are_written_as_ndjson_and_compressed_by_the_ending(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 1), only="new", format="ndjson", path="{run}.ndjson.gz") as job:
        job.completes()
        job.place.enroll([person(0, email=["b@x.org"])])
        job.completes()
        lines = [gzip.decompress((job.place.root / f"{run}.ndjson.gz").read_bytes()) for run in (1, 2)]
    assert json.loads(lines[0]) == {"action": "add", "email": "p0@x.org", "plan": "gold"}
    assert json.loads(lines[1]) == {
        "action": "update", "email": "b@x.org", "plan": "gold", "previous": {"email": "p0@x.org"},
    }  # fmt: skip


def test_all_members_are_written_as_parquet(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 3), format="parquet", path="all.parquet") as job:
        job.completes()
        table = pq.read_table(job.place.root / "all.parquet")
    assert table.column_names == ["email", "plan"]
    assert table.to_pylist()[2] == {"email": "p2@x.org", "plan": "gold"}


def test_a_file_that_is_there_is_not_replaced_by_changes(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 1), only="new", path="{run}.csv") as job:
        (job.place.root / "1.csv").write_text("mine")
        made = job.run()
        assert isinstance(made.error, Fatal)
        assert str(made.error) == "1.csv is there already, and `only: new` replaces no file"
        assert job.text("1.csv") == "mine"


def test_an_audience_that_shrinks_too_far_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    with bench(tmp_path, people(0, 50), path="all.csv") as job:
        job.completes()
        before = job.text("all.csv")
        job.place.enroll(people(0, 2))
        assert isinstance(job.run().error, NeedsApproval)
        assert job.text("all.csv") == before


def test_members_left_out_by_the_mapping_are_not_in_the_file(tmp_path: Path) -> None:
    with bench(tmp_path, [person(0), person(1, email=[" "])], path="all.csv") as job:
        job.completes()
        assert job.text("all.csv") == "email,plan\np0@x.org,gold\n"
        job.place.enroll([person(0, email=[]), person(1)])
        job.completes()
        assert job.text("all.csv") == "email,plan\np1@x.org,gold\n"


def test_nobody_is_left_in_the_file_by_whose_identifiers_another_member_is_known(tmp_path: Path) -> None:
    with bench(tmp_path, [person(1), person(2, email=["P1@x.org"]), person(3)], path="out/all.csv", guard=LAX) as job:
        job.completes()
        job.place.enroll([person(1), person(3, "silver")])
        job.completes()
        assert job.text("out/all.csv") == "email,plan\np1@x.org,gold\np3@x.org,silver\n"
        job.place.enroll([person(3, email=["P1@x.org"])])  # 1 became 3
        job.completes()
        assert job.text("out/all.csv") == "email,plan\np1@x.org,gold\n"
        assert job.completes().units == 0


def test_a_file_of_changes_holds_all_that_a_run_has_changed(tmp_path: Path) -> None:
    fields = {**FIELDS, "plan": {"from": "plan", "identifier": True}}
    with bench(tmp_path, [person(1, "a"), person(2, "b")], only="new", fields=fields, guard=LAX) as job:
        job.completes()
        job.place.enroll([person(1, "b")])  # 2 became 1
        job.completes()
        assert job.text("out/2.csv").splitlines()[1:] == [
            'update,p1@x.org,b,"{""email"":""p1@x.org"",""plan"":""a""}"',
            "remove,p2@x.org,,",
        ]
        assert job.completes().units == 0


def test_a_file_of_changes_says_by_what_a_member_was_known_but_for_what_another_one_has_now(tmp_path: Path) -> None:
    def who(number: int, email: str, user: str) -> dict[str, Any]:
        return {
            "id": f"{number:032x}",
            "email": [email] if email else [],
            "user": [user] if user else [],
            "plan": "gold",
        }

    options = {"path": "out/{run}.ndjson", "format": "ndjson", "only": "new", "guard": LAX}
    fields = {"email": {"from": "email"}, "user": {"from": "user"}}
    with bench(tmp_path, [], fields=fields, **options) as job:
        for crowd in ([who(1, "a@x.org", "1")], [who(1, "c@x.org", ""), who(2, "", "1")]):
            job.place.enroll(crowd, keys=("email", "user"))
            job.completes()
        assert [json.loads(line) for line in job.text("out/2.ndjson").splitlines()] == [
            {"action": "add", "email": None, "user": "1"},
            {"action": "update", "email": "c@x.org", "user": None, "previous": {"email": "a@x.org", "user": None}},
        ]
        assert job.completes().units == 0


def test_who_was_only_updated_and_has_another_address_since_stands_in_one_file_a_run(tmp_path: Path) -> None:
    options = {"path": "out/{run}.ndjson", "format": "ndjson", "only": "new", "guard": LAX}
    with bench(tmp_path, people(0, 2), mode="update-only", **options) as job:
        job.completes()
        job.place.enroll([person(0), person(1, email=["new@x.org"])])
        job.job.settings |= {"mode": "mirror"}
        job.completes()
        job.completes()
        second, third = ([json.loads(line) for line in job.text(f"out/{run}.ndjson").splitlines()] for run in (2, 3))
        assert sorted((one["action"], one["email"]) for one in second) == [("add", "p0@x.org"), ("update", "new@x.org")]
        assert [(one["action"], one["email"]) for one in third] == [("add", "new@x.org")]
        assert job.completes().units == 0


def test_who_could_not_be_sent_when_nobody_was_yet_stands_in_no_file_of_all_members(tmp_path: Path) -> None:
    with bench(tmp_path, [person(0), person(1, email=[])], backfill=False, path="out/all.csv") as job:
        job.completes()
        job.place.enroll([person(0), person(1, email=[]), person(2)])
        job.completes()
        assert job.text("out/all.csv").splitlines() == ["email,plan", "p0@x.org,gold", "p2@x.org,gold"]
