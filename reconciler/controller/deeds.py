"""What the controller does when a person asks for it (`requests.py` carries the asking): each deed by its name.

A deed looks at the record before it changes anything, and refuses what has moved since the person looked.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock, Now, iso
from reconciler.controller.building import Builder
from reconciler.controller.lives import Lives
from reconciler.controller.requests import Answer, Deed, Desk, Request, ask, do, user_name
from reconciler.controller.trees import installed
from reconciler.core import happening, lifecycle
from reconciler.core.forgotten import MAX_REMEMBERED
from reconciler.core.state import EventName, back_command
from reconciler.core.streams import users_of
from reconciler.errors import Blocked, ReconcileError, UsageError
from reconciler.record.events import Event
from reconciler.record.forgotten import ForgetRequest
from reconciler.record.jobs import JobRow
from reconciler.record.resources import By
from reconciler.record.store import Record


def approve(desk: Desk, request: Request, now: Now) -> Answer:
    """`job` may do what its guard holds back, if that is still the difference `digest`."""
    name, digest = request.text("job"), request.text("digest")
    job = _awake(desk.record, name)
    held = desk.record.approvals.held(job.id)
    if held is None:
        raise Blocked(f"nothing of '{name}' waits for an approval")
    if held.digest != digest:
        raise Blocked(f"the difference has changed since: '{name}' now waits for {held.digest}: {held.message}")
    if held.is_approved:
        message = f"The difference {digest} of '{name}' was approved by {held.approved_by} before."
        return Answer(message=message, again=True)
    desk.record.approvals.approve(job.id, digest, request.by, now.wall_ms)
    by, event = By(author=request.by), happening.Approved(digest)
    if lifecycle.is_legal(job.state, event):
        desk.lives.advance(job, event, now, by=by)
    else:
        desk.lives.tell(job, EventName.APPROVED, f"difference {digest}", now, by)
    return Answer(message=f"The difference {digest} of '{name}' is approved.")


def _awake(record: Record, name: str) -> JobRow:
    """The job of that name, if a deed may wake it: not one that was deleted or purged, whatever waited of it then."""
    job = record.jobs.job(name)
    if job is None or job.life not in ("live", "purged"):
        raise UsageError(f"there is no job '{name}'")
    if job.life == "purged":
        raise Blocked(f"'{name}' was purged; `{back_command(name, job.state.status)}` brings it back first")
    return job


def approve_prune(desk: Desk, request: Request, now: Now) -> Answer:
    """The set of deletions `digest` may go, once: as soon as a look finds exactly that set."""
    digest = request.text("digest")
    held = desk.record.prunes.held()
    if held is not None and held.digest == digest and held.is_approved:
        message = f"The deletions {digest} were approved by {held.approved_by} before."
        return Answer(message=message, then=desk.look, again=True)
    desk.record.prunes.approve(digest, request.by, now.wall_ms)
    return Answer(message=f"The deletions {digest} are approved.", then=desk.look)


def approve_upload(desk: Desk, request: Request, now: Now) -> Answer:
    """The bulk body `digest` is put on its `stream`."""
    stream, digest = request.text("stream"), request.text("digest")
    known = [one for one in desk.record.uploads.all().values() if one.stream == stream]
    upload = next((one for one in known if one.digest == digest), None)
    if upload is None:
        raise Blocked(f"no upload {digest} to stream '{stream}' waits for an approval")
    if upload.is_approved:
        message = f"The upload {digest} to stream '{stream}' was approved by {upload.approved_by} before."
        return Answer(message=message, again=True)
    desk.record.uploads.approve(upload.journal, request.by, now.wall_ms)
    return Answer(message=f"The upload {digest} to stream '{stream}' is approved.", then=desk.fold)


def undelete(desk: Desk, request: Request, now: Now) -> Answer:
    """The deleted job `job` is back, and waits for its spec."""
    name = request.text("job")
    found = desk.record.deletions.deletion(name)
    if found is None:
        there = desk.record.jobs.job(name)
        raise UsageError(f"the job '{name}' is not deleted" if there else f"there is no deleted job '{name}'")
    if found.undeleted_ms is None and found.until_ms <= now.wall_ms:
        raise UsageError(f"the job '{name}' was deleted at {iso(found.at_ms)}, and is gone for good")
    if found.undeleted_ms is not None:
        return Answer(message=f"'{name}' was undeleted by {found.undeleted_by} before.", then=desk.look, again=True)
    desk.record.deletions.undelete(found.job, request.by, now.wall_ms)
    event = Event(
        kind="Job",
        name=name,
        path=found.path,
        time_ms=now.wall_ms,
        event=EventName.UNDELETED,
        message=f"it waits for {found.path}",
        author=request.by,
    )
    desk.record.events.add(event, logged=True)  # its log comes back with its spec
    return Answer(message=f"'{name}' is back with its cursor and its history.", then=desk.look)


def retry(desk: Desk, request: Request, now: Now) -> Answer:
    """An export of an audience tries those again that were refused; with `all`, also those whose last action may have
    arrived. It makes one more run."""
    name, what = request.text("job"), request.text("what")
    job = _awake(desk.record, name)
    if what not in ("refused", "all"):
        raise UsageError(f"expected refused or all, found '{what}'")
    if not isinstance(job.cursor, dict) or not {"ledger", "plan", "retry"} <= job.cursor.keys():
        raise Blocked(f"'{name}' is no export of an audience that has run, so it can try nobody again")
    if lifecycle.is_in_progress(job.state):
        raise Blocked(f"a run of '{name}' is in progress; ask again when it is over")
    what = "all" if job.cursor["retry"] == "all" else what  # what was released stays so until a run has tried it
    desk.record.jobs.save_cursor(job.id, {**job.cursor, "retry": what})
    job = desk.record.jobs.job(name) or job
    desk.lives.advance(job, happening.RerunAsked(), now, by=By(author=request.by))
    whom = "refused" if what == "refused" else "refused, or whose last action may have arrived"
    return Answer(message=f"The next run of '{name}' tries again whoever was {whom}.")


def drop_stream(desk: Desk, request: Request, now: Now) -> Answer:
    """The messages of the stream `name` are destroyed; none of its positions is ever given again."""
    name = request.text("name")
    record = desk.record
    document, resource = record.desired.document("Stream", name), record.resources.resource("Stream", name)
    if document is not None:
        seen = f"the stream '{name}' was declared in {document.path} when the files were last looked at"
        raise Blocked(f"{seen}; remove its spec and run `reconcile` first")
    if resource is not None and resource.life == "live":
        raise Blocked(
            f"the spec of the stream '{name}' is gone, but no pass has made that true yet; run `reconcile` first"
        )
    users = users_of(desk.catalogue(), ((job.name, job.spec) for job in record.jobs.jobs()), name)
    if users:
        raise Blocked(f"the stream '{name}' is used by {', '.join(users)}; remove those jobs first")
    if resource is None and not record.streams.counts(name)[0]:
        raise UsageError(f"there is no stream '{name}' with messages")
    count = record.streams.empty(name, now.wall_ms)
    if resource is not None:
        record.resources.delete(resource.id)
    words = f"{count:,} {'message' if count == 1 else 'messages'}"
    _note_dropped(record, name, words, request.by, now)
    return Answer(message=f"The stream '{name}' is dropped: {words} are gone.")


def _note_dropped(record: Record, name: str, words: str, by: str, now: Now) -> None:
    event = Event(
        kind="Stream",
        name=name,
        path="",
        time_ms=now.wall_ms,
        event=EventName.DELETED,
        message=f"dropped with {words}",
        author=by,
    )
    record.events.add(event, logged=True)  # a stream has no log of its own


def rebuild(desk: Desk, _request: Request, now: Now) -> Answer:
    """All profiles are built anew, beside the loop; the answer says by which build."""
    builder = _builder(desk)
    build = int(desk.record.setting("builds", 0)) + 1  # the next one, whether one is at work or not
    message = "All profiles are being built anew; the old ones serve meanwhile."
    return Answer(message=message, facts={"build": build}, then=lambda: builder.rebuild(now))


def look_at_rebuild(desk: Desk, request: Request, _now: Now) -> Answer:
    """Whether the build with the number `build`, or a later one, is there. Refused where it failed."""
    builder = _builder(desk)
    build = request.arguments.get("build")
    done = isinstance(build, int) and desk.record.profiles.current().build >= build
    if not done and builder.failure and not builder.busy:
        raise ReconcileError(f"profiles were not rebuilt: {builder.failure}")
    return Answer(message="done" if done else "at work", facts={"done": done})


def _builder(desk: Desk) -> Builder:
    if desk.builder is None:
        raise Blocked("the reconcile that built profiles is gone; ask again")
    return desk.builder


def forget(desk: Desk, request: Request, now: Now) -> Answer:
    """Whoever is known by the identifier `value` of `key` is forgotten. This only records that; `forgetting.py` does it."""
    key, value = request.text("key"), request.text("value")
    record = desk.record
    asked = next((one for one in record.forgotten.under_way() if _means(one, key, value)), None)
    if asked is not None:
        return Answer(message=f"Request {asked.id} to forget is under way.", facts={"request": asked.id})
    if record.forgotten.count() >= MAX_REMEMBERED:
        raise Blocked(f"{MAX_REMEMBERED:,} identifiers are remembered as forgotten, and there is room for no more")
    made = record.forgotten.ask(key, value, request.by, now.wall_ms)
    return Answer(message=f"Request {made} to forget is recorded.", facts={"request": made})


def _means(request: ForgetRequest, key: str, value: str) -> bool:
    return request.step == "find" and request.work is not None and request.work.identifiers[0] == (key, value)


#: What can be asked for.
DEEDS: Final[Mapping[str, Deed]] = {
    "approve": approve,
    "approve-prune": approve_prune,
    "approve-upload": approve_upload,
    "undelete": undelete,
    "retry": retry,
    "forget": forget,
    "stream-drop": drop_stream,
    "rebuild": rebuild,
    "rebuild-look": look_at_rebuild,
}


def perform(state: Path, deed: str, **arguments: Any) -> Answer:
    """Has it done by the controller at work on this state directory, or does it here where there is none. Raises Blocked,
    UsageError or another ReconcileError where it is refused."""
    request = Request(do=deed, arguments=arguments, by=user_name(os.geteuid()))
    return ask(state, request, lambda: _alone(state, request)).checked()


def _alone(state: Path, request: Request) -> Answer:
    with Record.writing(state) as record:
        now = Clock(record.alive_ms).now()
        record.audit.begin(now.wall_ms)
        desk = Desk(record=record, lives=Lives(record, random.random), catalogue=installed)
        answer = do(DEEDS, desk, request, now)
        record.audit.mirror()  # what keeps it from that is told by the next controller
        return answer
