"""A person is forgotten step by step; each step is a fact in the record, so whatever dies, the next controller goes on.

    find       who is meant: the profile and all its identifiers, and which destinations hold them. From here on, what
               arrives of them from before the request is dropped (`orders.forgotten`)
    messages   segments and bad rows are written anew without them; once more, if a run was at work that had not been
               told to drop
    profiles   all are built anew from what is left: whom a value joined, and what was summed up, cannot be taken apart
    files      until nobody reads what was replaced, and it is gone from the disk; so long, too, for the journals in which the
               intake has kept what it accepted before
    wipe       the record's own texts, and the pages of its file
    done       but for destinations, which are outstanding until their ledgers hold the person no more

All requests that stand at one step take it together. The searching is done in a process beside the loop, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from reconciler.clock import Now
from reconciler.controller.building import Builder
from reconciler.controller.hands import Hands
from reconciler.controller.housekeeping import Housekeeper
from reconciler.controller.listening import is_held
from reconciler.controller.rebuilds import observed_rules
from reconciler.core.audit import Deed
from reconciler.core.document import digest_of
from reconciler.core.forgotten import GONE, Shown, identities_of, identity_rules, keyed_hash
from reconciler.core.messages import MAINTENANCE, Ended, Exited, FromRun, Order, Produced, Reply, SegmentRef, Wanted
from reconciler.core.profile import ProfileRules, rules_spec
from reconciler.core.provider import Staged, Unit
from reconciler.core.streams import users_of
from reconciler.data.journal import INTAKE, ask_to_close, asked_to_close, listing
from reconciler.errors import Fatal
from reconciler.record.forgotten import ForgetRequest, Receipt, Step, Work
from reconciler.record.store import Record

#: Forgetting has run ids of its own, below those of foldings.
FIRST_FORGET: Final = 1 << 46
#: After a search has failed, it is tried again so much later, in milliseconds of uptime.
RETRY_AFTER_MS: Final = 60_000
#: Of how many runs of a job, the newest ones, it is asked which has removed a person.
LOOKED_AT: Final = 100
#: How often the record's file is tried to be written anew while a reader stands in the way.
SCRUB_EVERY_MS: Final = 5_000

REMOVED: Final = "removed by run {run}"
UNTOLD: Final = "in its ledger no more as of run {run}; no removal was needed"
RETURNED: Final = "a member again, by messages from after the request alone, as of run {run}"


@dataclass(slots=True)
class _Search:
    """What is at work. `whole`: every run that is at work has been told to drop what arrives again."""

    run: int
    task: str
    requests: tuple[int, ...]
    began_ms: int
    whole: bool
    signatures: Mapping[str, str] = field(default_factory=dict)
    done: bool = False
    stopped: bool = False  # the controller ends, and the next one goes on
    error: str = ""


@dataclass(slots=True)
class Forgetter:
    """Carries out requests to forget a person."""

    hands: Hands
    builder: Builder
    housekeeper: Housekeeper
    _at_work: _Search | None = None
    _untold: set[int] = field(default_factory=set)  # runs at work that began before it was known what to drop
    _scanned: set[int] = field(default_factory=set)  # requests whose messages went, but for what those runs may bring
    _rebuilt_after: int | None = None  # the builds up to this one may have read messages that are gone since
    _checked: dict[str, str] = field(default_factory=dict)  # the ledger of each job as it was last looked into
    _journals: dict[int, int] = field(default_factory=dict)  # the last journal that each request waits for
    _next_ms: int = 0
    _scrub_ms: int = 0

    @property
    def busy(self) -> bool:
        return self._at_work is not None

    @property
    def began_ms(self) -> int | None:
        """When the search at work was given what it reads."""
        return None if self._at_work is None else self._at_work.began_ms

    def owns(self, run: int) -> bool:
        """Whether a run is a search."""
        return FIRST_FORGET <= run < 2 * FIRST_FORGET

    def keep(self, now: Now) -> None:
        """Its turn: goes as far as can be gone without waiting."""
        if self._at_work is not None or now.alive_ms < self._next_ms:
            return
        while (under_way := self.hands.record.forgotten.under_way()) and self._step(under_way, now):
            pass
        if self._at_work is None:
            self._check_destinations(now)

    def take(self, message: FromRun, now: Now) -> list[Reply]:
        """What a search says; the answers that it, and those who wait for profiles, are owed."""
        search = self._at_work
        if search is None or message.run != search.run:
            return [Reply(message.run, accepted=False)] if isinstance(message, Produced | Wanted) else []
        match message:
            case Wanted():
                return self.builder.want(message, now)
            case Produced(unit=unit):
                return [Reply(message.run, self._commit(search, unit, now))]
            case Ended(how=how):
                search.done, search.stopped = how == "succeeded", how == "stopped"
                search.error = message.message or how
            case Exited():
                self._bury(search, now)
            case _:
                pass
        return []

    # --- steps ------------------------------------------------------------------------------------------------------

    def _step(self, under_way: Sequence[ForgetRequest], now: Now) -> bool:
        """Takes the earliest step that somebody stands at and that can be taken; False where all must wait."""
        steps: Mapping[Step, Any] = {
            "find": self._find,
            "messages": self._messages,
            "profiles": self._profiles,
            "files": self._files,
            "wipe": self._wipe,
        }
        if self._at_work is not None:
            return False
        for step, take in steps.items():
            mine = [one for one in under_way if one.step == step]
            if mine and take(mine, now):
                return True
        return False

    def _find(self, requests: Sequence[ForgetRequest], now: Now) -> bool:
        who = [[one.id, *one.work.identifiers[0]] for one in requests if one.work]
        self._start("find", requests, now, {"who": who, **_ledgers_and_plans(self.hands.record)})
        return True

    def _messages(self, requests: Sequence[ForgetRequest], now: Now) -> bool:
        record, active = self.hands.record, set(self.hands.runner.active())
        self._untold &= active
        if self._untold and all(one.id in self._scanned for one in requests):
            return False
        if any(self.housekeeper.owns(run) for run in active):
            return False  # a compaction would bring back what it has read
        names = [one.name for one in searched_rules(record).streams]
        rows = {name: record.streams.segment_rows(name) for name in names}
        given = {name: [asdict(_staged(row)) for row in some] for name, some in rows.items()}
        sought = [[one.id, *pair, one.at_ms] for one in requests if one.work for pair in one.work.identifiers]
        texts = [
            [str(one.id), text]
            for one in requests
            if one.work
            for text in (*(value for _, value in one.work.identifiers), *one.work.ids)
        ]
        rejects = sorted(record.runs.reject_files() | record.intake.reject_files())
        config = {"sought": sought, "segments": given, "rejects": rejects, "texts": texts}
        self._start("messages", requests, now, config)
        return True

    def _profiles(self, requests: Sequence[ForgetRequest], now: Now) -> bool:
        """Profiles without them; what was built before goes."""
        record = self.hands.record
        current = record.profiles.current()
        needed = [one for one in requests if one.known or self._removed_any(one)]
        if current.build and needed:
            if self._rebuilt_after is None:
                self._rebuilt_after = int(record.setting("builds", 0))
                self.builder.rebuild(now)
            if current.build <= self._rebuilt_after:
                self._mind_the_build(now)
                return False
        with record.transaction():
            old = sorted(record.profiles.named_files() - {one.file for one in record.profiles.current().files})
            for one in needed:
                record.forgotten.note(Receipt(request=one.id, what="profiles", name="", count=int(bool(one.known))))
            record.forgotten.add_files([one.id for one in needed], old)
            record.forgotten.advance([one.id for one in requests], "files")
        self._rebuilt_after = None
        return True

    def _mind_the_build(self, now: Now) -> None:
        """A build that failed is asked for again, later."""
        if not self.builder.busy:
            self._rebuilt_after = None
            self._next_ms = now.alive_ms + RETRY_AFTER_MS

    def _files(self, requests: Sequence[ForgetRequest], now: Now) -> bool:
        """What was replaced must be gone; then the ledgers are looked into once more, for what was sent meanwhile."""
        data = self.hands.settings.state / "data"
        if not self.hands.runner.active():
            self.housekeeper.sweep(now)  # what runs had staged that came to nothing
        ready = [one for one in requests if one.work and not any((data / file).exists() for file in one.work.files)]
        if not ready or self._in_journals(ready):
            return False
        ids = sorted({member for one in ready if one.work for member in one.work.ids})
        self._start("ledgers", ready, now, {"ids": ids, **_ledgers_and_plans(self.hands.record)})
        return True

    def _in_journals(self, requests: Sequence[ForgetRequest]) -> bool:
        """Whether a journal of the intake still holds what was accepted before it was known what to drop. A journal to which
        messages are being added is asked to end; an upload that waits for a person keeps nobody waiting, and neither does
        the last journal of a process that has died, which ends with the next one."""
        folder = self.hands.settings.state / INTAKE
        found, listens = listing(folder), is_held(folder)
        for one in requests:
            if one.id not in self._journals:
                self._journals[one.id] = found.last
        last = max(self._journals[one.id] for one in requests)
        waiting = {one.journal for one in self.hands.record.uploads.waiting()}
        live = [one.number for one in found.live if one.size and (listens or not one.open)]
        if listens and any(number <= last for number in live) and asked_to_close(folder) < last:
            ask_to_close(folder, last)
        return any(number <= last for number in (*live, *({one.number for one in found.bulk} - waiting)))

    def _wipe(self, requests: Sequence[ForgetRequest], now: Now) -> bool:
        """Nothing of them is in the record's own file any more."""
        record = self.hands.record
        if now.alive_ms < self._scrub_ms:
            return False
        values = [value for one in requests if one.work for pair in one.work.identifiers for value in pair[1:]]
        with record.transaction():
            if values:
                record.forgotten.blank_texts(Shown(values).within)
            for one in requests:
                record.forgotten.blank(one.id)
        if not record.forgotten.scrub():
            self._scrub_ms = now.alive_ms + SCRUB_EVERY_MS
            return False
        with record.transaction():
            for one in requests:
                record.forgotten.settle(one.id, now.wall_ms)
                record.forgotten.finish(one.id, now.wall_ms)
            record.audit.append(
                [Deed(time_ms=now.wall_ms, action="forgotten", reason=f"request {one.id}") for one in requests]
            )
        for one in requests:
            self.hands.listener.notice(f"request {one.id} to forget is carried out")
        return True

    def _removed_any(self, request: ForgetRequest) -> bool:
        receipts = self.hands.record.forgotten.receipts(request.id)
        return any(one.what == "messages" and one.count for one in receipts)

    # --- destinations -----------------------------------------------------------------------------------------------

    def _check_destinations(self, now: Now) -> None:
        """Looks into the ledgers that have changed since they were last looked into."""
        outstanding = self.hands.record.forgotten.outstanding()
        if not outstanding:
            return
        ledgers = ledgers_of(self.hands.record, {one.name for one in outstanding})
        lost = [one for one in outstanding if one.name not in ledgers]
        if lost:
            with self.hands.record.transaction():
                for one in lost:
                    self.hands.record.forgotten.removed(one.request, one.name, GONE, now.wall_ms)
        due = {one.name for one in outstanding if self._is_new(one.name, ledgers)}
        if due:
            ids = sorted({member for one in outstanding if one.name in due for member in one.members})
            wanted = {job: ledgers[job] for job in sorted(due)}
            rejects = {job: self.hands.record.runs.reject_files_of(job) for job in wanted}
            self._start("destinations", (), now, {"ids": ids, "ledgers": wanted, "rejects": rejects})

    def _is_new(self, job: str, ledgers: Mapping[str, Sequence[str]]) -> bool:
        return job in ledgers and self._checked.get(job) != digest_of(list(ledgers[job]))

    # --- a search's life --------------------------------------------------------------------------------------------

    def _start(self, task: str, requests: Iterable[ForgetRequest], now: Now, config: Mapping[str, Any]) -> None:
        record, settings = self.hands.record, self.hands.settings
        with record.transaction():
            number = int(record.setting("forgettings", 0)) + 1
            record.set_setting("forgettings", number)
        run = FIRST_FORGET + number
        signatures = {job: digest_of(list(files)) for job, files in config.get("ledgers", {}).items()}
        ids = tuple(one.id for one in requests)
        self._at_work = _Search(run, task, ids, now.wall_ms, whole=not self._untold, signatures=signatures)
        streams = searched_rules(record)
        self.hands.runner.start(
            Order(
                job="forget",
                run=run,
                attempt=1,
                generation=1,
                root=str(settings.root),
                path="",
                provider=MAINTENANCE,
                job_type="forget",
                config={**config, "task": "ledgers" if task == "destinations" else task},
                profiles=tuple(rules_spec(observed_rules(record))),
                identities=identities_of(streams),
                streams={one.name: _refs(record, one.name) for one in streams.streams} if task == "messages" else {},
                data_dir=str(settings.state / "data"),
                writes=tuple(one.name for one in streams.streams),
                memory_mb=settings.memory_mb,
            )
        )

    def _bury(self, search: _Search, now: Now) -> None:
        self._at_work = None
        self.builder.forget(search.run)
        if search.done:
            self._checked.update(search.signatures if search.task == "destinations" else {})
        if search.done or search.stopped:
            return
        self._next_ms = now.alive_ms + RETRY_AFTER_MS
        why = search.error or "its process ended by itself"
        requests = ", ".join(str(one) for one in search.requests)
        what = f"request {requests} to forget" if requests else "a destination of somebody who is forgotten"
        self.hands.listener.notice(f"{what} waits, and is tried again: {why}")

    # --- what a search found ----------------------------------------------------------------------------------------

    def _commit(self, search: _Search, unit: Unit, now: Now) -> bool:
        """Inside the transaction that answers it. It is our own code in a process of its own: a wrong shape is our
        bug."""
        match search.task:
            case "find":
                return self._identified(unit.cursor)
            case "messages" if unit.segments:
                return self._hollowed(search, unit.cursor, unit.segments[0], now)
            case "messages":
                return self._cleaned(search, unit.cursor)
            case "ledgers":
                return self._looked_once_more(search, unit.cursor)
            case _:
                return self._looked_after(unit.cursor["held"], now)

    def _identified(self, found: Mapping[str, Any]) -> bool:
        record = self.hands.record
        request = record.forgotten.request(found["request"])
        if request is None or request.step != "find":
            return False
        pairs = tuple((key, value) for key, value in found["identifiers"])
        work = Work(identifiers=pairs, ids=tuple(found["ids"]))
        secret_key = str(record.setting("secret_key"))
        hashes = [keyed_hash(secret_key, *pair) for pair in pairs]
        record.forgotten.found(request.id, found["known"], work, hashes, request.at_ms)
        self._untold |= set(self.hands.runner.active())
        self._note_held([request], found)
        return True

    def _note_held(self, requests: Iterable[ForgetRequest], found: Mapping[str, Any]) -> None:
        """Destinations whose ledgers name somebody, who are to be removed there by the next run of the job, as far as they
        are there: so many the receipt counts."""
        for request in requests:
            mine = set(request.work.ids) if request.work else set()
            for job, members in found["held"].items():
                theirs = tuple(sorted(mine.intersection(members) if mine else members))
                if theirs:
                    count = len({*theirs}.intersection(found["there"].get(job, ())))
                    self.hands.record.forgotten.note(
                        Receipt(request=request.id, what="destination", name=job, count=count, members=theirs)
                    )

    def _hollowed(self, search: _Search, found: Mapping[str, Any], new: Staged, now: Now) -> bool:
        record, counts = self.hands.record, {int(key): count for key, count in found["counts"].items()}
        if not record.streams.hollow(found["old"], new, sum(counts.values()), now.wall_ms):
            return False  # the stream was dropped meanwhile
        record.forgotten.add_files(search.requests, [found["old"]])
        for request, count in counts.items():
            record.forgotten.note(Receipt(request=request, what="messages", name=found["stream"], count=count))
        return True

    def _cleaned(self, search: _Search, found: Mapping[str, Any]) -> bool:
        """The end of a scan. It was the last one, where nobody can bring more of them."""
        record = self.hands.record
        for request, count in found["rejects"].items():
            if count:
                record.forgotten.note(Receipt(request=int(request), what="rejects", name="", count=count))
        self._scanned.update(search.requests)
        if search.whole:
            record.forgotten.advance(search.requests, "profiles")
            for request in search.requests:
                self._note_sent(request)
        return True

    def _note_sent(self, request: int) -> None:
        """Exports that read a stream of theirs: what they sent before cannot be called back."""
        record = self.hands.record
        held = [one.name for one in record.forgotten.receipts(request) if one.what == "messages" and one.count]
        jobs = [(job.name, job.spec) for job in record.jobs.jobs() if job.type == "export"]
        for job in sorted(
            {name for stream in held for name in users_of(self.hands.catalogue(), jobs, stream, ["reads"])}
        ):
            note = f"what '{job}' sent before cannot be called back"
            record.forgotten.note(Receipt(request=request, what="sent", name=job, note=note))

    def _looked_once_more(self, search: _Search, found: Mapping[str, Any]) -> bool:
        record = self.hands.record
        requests = [one for one in record.forgotten.under_way() if one.id in search.requests]
        self._note_held(requests, found)
        record.forgotten.advance(search.requests, "wipe")
        return True

    def _looked_after(self, held: Mapping[str, Mapping[str, int]], now: Now) -> bool:
        """Whoever is in no file of a ledger any more was removed there; whoever is in none that tells of a run before the
        request was carried out has come back, and what that one sent is new."""
        record = self.hands.record
        for one in record.forgotten.outstanding():
            job = record.jobs.job(one.name)
            looked = self._at_work is not None and one.name in self._at_work.signatures
            if not looked or job is None:
                continue
            runs = [run for member, run in held.get(one.name, {}).items() if member in one.members]
            if self._are_since(one.request, runs):
                note = self._note_of(one, job.id, returned=bool(runs))
                record.forgotten.removed(one.request, one.name, note, now.wall_ms)
                self.hands.listener.notice(f"{one.name}: request {one.request} to forget has reached the destination")
        return True

    def _note_of(self, receipt: Receipt, job: int, *, returned: bool) -> str:
        """What a destination's receipt says: the newest run may be one that has begun since the removal, and where a person
        was only recorded, or removed before, none has removed them since."""
        record = self.hands.record
        asked, kept = record.forgotten.request(receipt.request), record.runs.history(job, LOOKED_AT)
        since_ms = 0 if asked is None else asked.at_ms
        removers = [
            one.id for one in kept if one.totals.removed and (one.finished_ms is None or one.finished_ms >= since_ms)
        ]
        last = kept[0].id if kept else "?"
        if returned:
            return RETURNED.format(run=last)
        return REMOVED.format(run=removers[0]) if removers and receipt.count else UNTOLD.format(run=last)

    def _are_since(self, request: int, runs: Sequence[int]) -> bool:
        """Whether all these runs began after a request was carried out."""
        asked = self.hands.record.forgotten.request(request)
        began = [self.hands.record.runs.run(one) for one in runs]
        done_ms = None if asked is None else asked.done_ms
        return all(one is not None and done_ms is not None and one.started_ms > done_ms for one in began)


def searched_rules(record: Record) -> ProfileRules:
    """The identity rules of every stream that holds messages, archived ones included."""
    found = [record.resources.resource("Stream", name) for name in record.streams.ends()]
    return identity_rules((one.name, one.spec) for one in found if one is not None)


def _refs(record: Record, stream: str) -> tuple[SegmentRef, ...]:
    return record.streams.segments(stream)


def _staged(row: Any) -> Staged:
    return Staged(
        stream=row.stream, file=row.file, rows=row.rows, size=row.size, schema=row.schema,
        min_timestamp_ms=row.min_timestamp_ms, max_timestamp_ms=row.max_timestamp_ms,
    )  # fmt: skip


def ledgers_of(record: Record, jobs: Iterable[str] | None = None) -> dict[str, list[str]]:
    """The Parquet files in which each export of an audience keeps whom its destination holds, or is to hold; of `jobs`
    only, where given."""
    ledgers, found = record.forgotten.ledgers(jobs), {}
    if ledgers:
        from reconciler.core.mirror import Progress  # only where an audience has been exported
    for job, cursor in ledgers.items():
        with suppress(Fatal):  # the cursor of another job type, which has a ledger of its own
            found[job] = [file for file in Progress.load(cursor).files if file.endswith(".parquet")]
    return found


def _ledgers_and_plans(record: Record) -> dict[str, Any]:
    """What a search for people in ledgers reads: the files of each export, and which of them is a plan that is being sent."""
    found: dict[str, Any] = {"ledgers": ledgers_of(record), "plans": {}}
    if found["ledgers"]:
        from reconciler.core.mirror import Progress
    for job, cursor in record.forgotten.ledgers(found["ledgers"]).items():
        plan = Progress.load(cursor).plan
        if plan is not None:
            found["plans"][job] = plan.file
    return found
