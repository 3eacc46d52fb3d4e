"""Statuses of jobs that are alike are filled in, and are what each would be if it were rendered by itself."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import Now
from reconciler.controller.alike import SOME, pattern_of, patterned
from reconciler.core.rules import Every, JobRules
from reconciler.core.state import JobState, Owed, Reason, Status
from reconciler.core.status import JobFacts, job_status
from reconciler.record.jobs import NewRow
from reconciler.repo.emit import to_yaml

NOW = Now(wall_ms=1_780_000_000_000, alive_ms=0)
PAUSED = JobState(status=Status.PAUSED, reason=None, since_ms=1)
OWING = JobState(reason=Reason.SCHEDULED, since_ms=1, owed=Owed.SCHEDULE, owed_since_ms=1, tick_at_ms=NOW.wall_ms + 1)


def facts(state: JobState = PAUSED, author: str = "Ada", waiting: str = "") -> JobFacts:
    return JobFacts(
        name="some",
        created_ms=1,
        created_by=author,
        updated_ms=2,
        revision="main@sha1:12",
        condition="False/Paused",
        condition_ms=3,
        state=state,
        rules=JobRules(schedule=Every(3_600_000)),
        provider="files",
        job_type="import-csv",
        type="import",
        waiting=waiting,
    )


def row(name: str = "a", title: str = "", digest: str = "12ab", alike: str = "") -> NewRow:
    return NewRow(1, "a.yaml", name, title, digest, "", alike)


@given(
    name=st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True),
    title=st.text(max_size=30),
    digest=st.from_regex(r"[0-9a-f]{32}", fullmatch=True),
    state=st.sampled_from((PAUSED, OWING)),
    author=st.text(max_size=10),
)
def test_a_pattern_that_is_filled_in_is_the_status_of_that_job(
    name: str, title: str, digest: str, state: JobState, author: str
) -> None:
    one = facts(state, author)
    pattern = pattern_of(one, NOW)
    assert pattern is not None
    own = job_status(dataclasses.replace(one, name=name, title=title, digest=digest), NOW)
    assert pattern.filled(row(name, title, digest)) == to_yaml(own)
    condition = own["status"]["conditions"][0]
    assert (pattern.condition, pattern.condition_at) == (condition["status"], condition["lastTransitionTime"])


def test_where_a_blank_stands_in_the_text_anyway_there_is_no_pattern() -> None:
    assert pattern_of(facts(author="the-title-of-this-job"), NOW) is None
    assert patterned([row(str(one)) for one in range(SOME)], lambda _: facts(author="the-name-of-this-job"), NOW) == []


def test_of_which_there_are_few_no_pattern_is_made() -> None:
    many = [row(str(one), alike="many") for one in range(SOME)]
    few = [row(str(one), alike="few") for one in range(SOME - 1)]
    asked: list[NewRow] = []

    def ask(one: NewRow) -> JobFacts:
        asked.append(one)
        return facts()

    assert [one for one, _ in patterned([*few, *many], ask, NOW)] == many
    assert asked == many[:1]
