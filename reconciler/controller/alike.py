"""Statuses of many jobs that say the same but for their names: what a first pass over a large tree writes.

One of them is rendered, as any status is, with blanks where a job's own name, title and digest stand; the others are that text
with the blanks filled in. What has run, or has anything wrong with it, is rendered by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from reconciler.clock import Now
from reconciler.core.status import JobFacts, job_status
from reconciler.record.jobs import NewRow
from reconciler.repo.emit import scalar_text, to_yaml

#: So many jobs that are alike are rendered by a pattern.
SOME: Final = 4
#: What stands where name, title and digest do, in this order; plain in YAML.
_BLANKS: Final = ("the-name-of-this-job", "the-title-of-this-job", "the-digest-of-this-job")


class Pattern(NamedTuple):
    """The text around the blanks, and what the condition in it says, since when."""

    pieces: tuple[str, str, str, str]
    condition: str
    condition_at: str

    def filled(self, job: NewRow) -> str:
        """The status of a job."""
        first, second, third, fourth = self.pieces
        name, title, digest = scalar_text(job.name), scalar_text(job.title), scalar_text(job.digest)
        return f"{first}{name}{second}{title}{third}{digest}{fourth}"


def pattern_of(facts: JobFacts, now: Now) -> Pattern | None:
    """What all statuses have in common whose facts differ from these in name, title and digest alone; None where a blank
    stands in the text anyway."""
    name, title, digest = _BLANKS
    document = job_status(replace(facts, name=name, title=title, digest=digest), now)
    text = to_yaml(document)
    if any(text.count(blank) != 1 for blank in _BLANKS):
        return None
    first, rest = text.split(name)
    second, rest = rest.split(title)
    third, fourth = rest.split(digest)
    condition = document["status"]["conditions"][0]
    return Pattern((first, second, third, fourth), condition["status"], condition["lastTransitionTime"])


def patterned(
    jobs: Sequence[NewRow], facts: Callable[[NewRow], JobFacts | None], now: Now
) -> list[tuple[NewRow, Pattern]]:
    """The jobs of which there are some alike, each with its pattern, in their order. `facts` are those of one of them."""
    counts = Counter(job.alike for job in jobs)
    patterns: dict[str, Pattern | None] = {}
    found: list[tuple[NewRow, Pattern]] = []
    for job in jobs:
        if counts[job.alike] < SOME:
            continue
        if job.alike not in patterns:
            some = facts(job)
            patterns[job.alike] = None if some is None else pattern_of(some, now)
        pattern = patterns[job.alike]
        if pattern is not None:
            found.append((job, pattern))
    return found
