"""Lanes, and what a backfill would add.

A job runs in the live lane, or, where its spec says so, in that of backfills, which has slots of its own and a lower
priority: what is sent now never waits behind what happened long ago. Before its first unit a backfill is judged by what
it would add; past its limit it waits for a person, who approves exactly the files that were found. Where nobody can tell
beforehand (an API), it is counted as it goes, and waits before the unit that would take it past its limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from reconciler.core.document import digest_of
from reconciler.errors import NeedsApproval

if TYPE_CHECKING:
    from reconciler.core.provider import Estimate

LIVE: Final = "live"
BACKFILL: Final = "backfill"
LANES: Final = (LIVE, BACKFILL)

#: What a backfill may add without being asked about, where its spec says nothing.
DEFAULT_MAX_MESSAGES: Final = 10_000_000
#: The largest limit that a spec can set.
HIGHEST_MAX_MESSAGES: Final = 10**12


def lane_of(spec: Mapping[str, Any]) -> str:
    """The lane in a normalised Job spec."""
    return str(spec.get("lane", LIVE))


def max_messages_of(spec: Mapping[str, Any]) -> int:
    """The limit in a normalised Job spec."""
    return int(spec.get("backfill", {}).get("maxMessages", DEFAULT_MAX_MESSAGES))


def judge(estimate: Estimate, limit: int, approved: Iterable[str]) -> None:
    """Raises NeedsApproval where a backfill would add more than its limit, and nobody has approved just that."""
    if estimate.messages > limit and estimate.digest not in approved:
        raise NeedsApproval(
            f"it would add {amount(estimate)}, more than backfill.maxMessages ({limit:,})", digest=estimate.digest
        )


def judge_next(landed: int, more: int, limit: int, digest: str, approved: Iterable[str]) -> None:
    """The same of a run that nobody can judge beforehand: raises NeedsApproval before a unit of `more` messages that would
    take it past its limit, after `landed`."""
    if landed + more > limit and digest not in approved:
        messages = "message" if more == 1 else f"{more:,} messages"
        raise NeedsApproval(
            f"the next {messages} would take it past backfill.maxMessages ({limit:,}), and how many are still to come is "
            "not known",
            digest=digest,
        )


def digest_beyond(job: str, generation: int, limit: int) -> str:
    """Names what a job adds past its limit, where that is not known beforehand: everything, until a run has succeeded."""
    return digest_of(["beyond", job, generation, limit])


def amount(estimate: Estimate) -> str:
    """`about 5,000,000 messages from 12 files (1,204.5 MB)`."""
    about = "" if estimate.exact else "about "
    messages = "1 message" if estimate.messages == 1 else f"{estimate.messages:,} messages"
    parts = "1 file" if estimate.parts == 1 else f"{estimate.parts:,} files"
    return f"{about}{messages} from {parts} ({estimate.size / 1e6:,.1f} MB)"


def digest_of_upload(number: int, stream: str, received_ms: int, size: int, messages: int) -> str:
    """Names one bulk body: what an approval of it is of."""
    return digest_of([number, stream, received_ms, size, messages])


def digest_of_parts(parts: Iterable[tuple[str, int, int]]) -> str:
    """Names what would be read: each file's name, its size, and when it was changed (in nanoseconds)."""
    return digest_of(sorted(map(list, parts)))
