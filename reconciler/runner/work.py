"""What a run does, from its order to its end: config, secrets, context, then one unit after the other, each committed
by the controller before the provider goes on."""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.clock import Clock
from reconciler.core.backfill import digest_beyond, judge, judge_next
from reconciler.core.messages import MAINTENANCE, Ended, Order, Output, Produced, SecretSeen
from reconciler.core.profile import BuildWork, ProfileFile, ProfileSet, profile_rules
from reconciler.core.provider import Catalogue, JobType, Secret, Staged, Unit
from reconciler.core.redact import Redactor
from reconciler.data.segments import segment_file
from reconciler.errors import Fatal, NeedsApproval, RateLimited, Retriable, RunError
from reconciler.runner.channel import Channel
from reconciler.runner.context import RunContext, said_by
from reconciler.runner.discretion import refuse_secrets
from reconciler.runner.forgetting import landing_of, without_dropped
from reconciler.runner.paths import Paths
from reconciler.runner.wire import MAX_TEXT, MAX_WAIT_S
from reconciler.secrets import keyed_digest, resolve

#: Cores that a build of profiles may use.
BUILD_THREADS: Final = 2
#: How often a build says how far it is.
PROGRESS_EVERY_MS: Final = 2_000
#: How far behind everybody else the folding of a bulk body stands.
BULK_NICE: Final = 10

How = Literal["succeeded", "stopped", "retriable", "fatal", "limited", "held"]

#: How each kind of error ends a run; the first that fits. Whatever else a provider raises may have been bad luck.
ENDS: Final[tuple[tuple[type[BaseException], How], ...]] = (
    (Fatal, "fatal"),
    (RateLimited, "limited"),
    (NeedsApproval, "held"),
    (BaseException, "retriable"),
)


class Work:
    """One attempt. `run` returns how it ended, whatever the provider does short of ending the process."""

    def __init__(self, channel: Channel, catalogue: Catalogue, state_dir: str, clock: Clock) -> None:
        self._channel = channel
        self._clock = clock
        self._order = channel.order
        self._catalogue = catalogue
        self._state_dir = state_dir
        self._redactor: Redactor | None = None
        self._landed = channel.order.landed
        self._is_counted = False

    def run(self) -> Ended:
        try:
            if not self._order.credentials:
                self._redact_with(Redactor([]))
            how, found_nothing = self._work()
        except BaseException as error:
            return self._failed(error)
        return Ended(run=self._order.run, attempt=self._order.attempt, how=how, found_nothing=found_nothing)

    def _work(self) -> tuple[How, bool]:
        order = self._order
        if order.provider == MAINTENANCE:
            return self._maintain()
        job_type = _job_type(self._catalogue, order)
        config = _config(job_type, order)
        credentials = self._credentials() if order.credentials else {}
        for name in order.secret_variables:
            os.environ.pop(name, None)
        assert self._redactor is not None, "what to redact is known with the credentials"
        paths = Paths(order.root, _folder(order), order.allow_paths, self._state_dir)
        context = RunContext(self._channel, config, credentials, self._redactor, paths, self._clock)
        self._is_counted = job_type.estimate is None
        if order.max_messages is not None and order.unit == 1 and job_type.estimate is not None:
            judge(job_type.estimate(context), order.max_messages, context.approved)
        return self._produce(job_type, context)

    def _maintain(self) -> tuple[How, bool]:
        """The product's own upkeep; its results go into the unit's cursor or segments."""
        match self._order.job_type:
            case "compact":
                return self._compact()
            case "build":
                return self._build()
            case "fold-live" | "fold-bulk" as which:
                return self._fold(live=which == "fold-live")
            case "forget":
                return self._forget()
            case "notify":
                return self._notify()
            case other:
                raise AssertionError(f"no upkeep is called {other!r}")

    def _notify(self) -> tuple[How, bool]:
        """Tells people of what the controller has noted."""
        from reconciler.notify import deliver

        config = self._order.config
        deliver(config["channel"], config["settings"], self._credentials(), config["told"])
        return "succeeded", False

    def _build(self) -> tuple[How, bool]:
        """Builds profiles; the controller swaps their files."""
        from reconciler.data.audiences import audience_sizes
        from reconciler.data.profiles.build import build

        order = self._order
        base = dict(order.config["base"])
        base["files"] = tuple(ProfileFile(**one) for one in base["files"])
        work = BuildWork(
            rules=profile_rules((name, spec) for name, spec in order.profiles),
            base=ProfileSet(**base),
            streams=order.streams,
            stops=order.config["stops"],
            build=order.config["build"],
        )
        made = build(
            Path(order.data_dir), work, memory_mb=order.memory_mb, threads=BUILD_THREADS, progress=self._progress()
        )
        sizes = audience_sizes(
            Path(order.data_dir), made, work.rules, order.config["audiences"], self._clock.now().wall_ms,
            memory_mb=order.memory_mb,
        )  # fmt: skip
        counted = {name: (one.size, one.next_change_ms) for name, one in sizes.items()}
        unit = Unit(cursor={**asdict(made), "audiences": counted}, moved=False)
        self._channel.ask(Produced(order.run, order.attempt, unit), "The build")
        return "succeeded", False

    def _fold(self, *, live: bool) -> tuple[How, bool]:
        """Puts journals of the intake on their streams. Bulk bodies leave the processor to everybody else."""
        from reconciler.data.fold import Folding, starts_of

        order = self._order
        folding = Folding(Path(order.data_dir), Path(order.config["folder"]), order.run, landing_of(order))
        starts = starts_of(order.config["starts"])
        if not live:
            os.nice(BULK_NICE)
        for unit in folding.live(starts) if live else folding.bulk(starts):
            self._channel.ask(Produced(order.run, order.attempt, unit), "A unit of the intake")
            if self._channel.stopping():
                return "stopped", False
        return "succeeded", False

    def _forget(self) -> tuple[How, bool]:
        """Finds people who asked to be forgotten, and removes their messages; the controller swaps names."""
        from reconciler.runner.forgetting import forgetting

        order = self._order
        for unit in forgetting(order, self._channel):
            self._channel.ask(Produced(order.run, order.attempt, unit), "A unit of forgetting")
            if self._channel.stopping():
                return "stopped", False
        return "succeeded", False

    def _progress(self) -> Callable[[str, int, int], None]:
        """Says how far a step is, once for each step and then every two seconds."""
        said = dict[str, int]()

        def tell(step: str, done: int, total: int) -> None:
            now_ms = self._clock.now().alive_ms
            if step not in said or now_ms - said[step] >= PROGRESS_EVERY_MS or done == total:
                said[step] = now_ms
                self._channel.tell(Output(self._order.run, f"{step}: {done:,} of {total:,}"))

        return tell

    def _compact(self) -> tuple[How, bool]:
        """Puts neighbouring segments of a stream together; the controller swaps their names."""
        from reconciler.data.store import compact

        order = self._order
        group = [Staged(**one) for one in order.config["segments"]]
        name = Path(segment_file(order.config["stream"], order.job, order.run, order.attempt, 1, 1)).stem
        whole = compact(Path(order.data_dir), order.config["stream"], group, name)
        unit = Unit(cursor=None, segments=(whole,), moved=False)
        self._channel.ask(Produced(order.run, order.attempt, unit), "The compaction")
        return "succeeded", False

    def _produce(self, job_type: JobType, context: RunContext) -> tuple[How, bool]:
        moved = False
        units = _iterator(job_type, context)
        while not self._channel.stopping():
            unit = next(units, None)
            if unit is None:
                return "succeeded", not moved
            self._commit(unit, context)
            moved = moved or unit.moved
        self._close(units)
        return "stopped", False

    def _commit(self, unit: Any, context: RunContext) -> None:
        if not isinstance(unit, Unit):
            raise Fatal(f"The provider produced a {type(unit).__name__} where a Unit is needed.")
        if isinstance(unit.message, str):
            unit = replace(unit, message=self._safe(unit.message))
        self._judge(unit.rows)
        what = f"Unit {context.unit} of the provider"
        if self._redactor:
            kept = [unit.cursor, unit.closes, unit.rejects, said_by(unit.intends)]
            refuse_secrets(self._redactor, what, kept)
        landed = without_dropped(unit, context.take_dropped())
        self._channel.ask(Produced(self._order.run, self._order.attempt, landed), what)
        self._landed += unit.rows
        context.advance(unit)

    def _judge(self, rows: Any) -> None:
        """Raises NeedsApproval where a backfill that could not be judged beforehand has come to its limit."""
        order = self._order
        if self._is_counted and order.max_messages is not None and isinstance(rows, int):
            digest = digest_beyond(order.job, order.generation, order.max_messages)
            judge_next(self._landed, rows, order.max_messages, digest, order.approved)

    def _close(self, units: Iterator[Unit]) -> None:
        """Lets the provider tidy up. What goes wrong there is logged; the run has stopped all the same."""
        try:
            getattr(units, "close", lambda: None)()
        except BaseException as error:
            self._log_traceback(error)

    def _credentials(self) -> Mapping[str, Secret]:
        order, folder = self._order, _folder(self._order)
        resolved = resolve(order.credentials, base_dir=Path(folder) if folder else None, allow_exec=order.allow_exec)
        self._redact_with(Redactor(resolved))
        for name, secret in sorted(resolved.items()):
            digest = keyed_digest(secret, order.secret_key)
            self._channel.tell(SecretSeen(order.run, order.authorization, name, digest))
        return resolved

    def _redact_with(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._channel.capture.redact_with(redactor)

    def _safe(self, text: str) -> str:
        """Redacted, as Unicode that can be written, and cut to what a message may hold."""
        text = self._redactor.redact(text) if self._redactor else text
        text = text.encode("utf-8", "replace").decode()
        return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"

    def _failed(self, error: BaseException) -> Ended:
        how = next(how for kind, how in ENDS if isinstance(error, kind))
        wait_s = error.retry_after_s if isinstance(error, Retriable | RateLimited) else None
        if isinstance(error, RunError):
            message = _text(error) or type(error).__name__
        else:
            self._log_traceback(error)
            message = f"{type(error).__name__}: {_text(error)}" if self._redactor else type(error).__name__
        return Ended(
            run=self._order.run,
            attempt=self._order.attempt,
            how=how,
            message=self._safe(message),
            retry_after_s=_wait(wait_s),
            approval=error.digest if isinstance(error, NeedsApproval) else "",
        )

    def _log_traceback(self, error: BaseException) -> None:
        if self._redactor:
            self._channel.capture.line("".join(traceback.format_exception(error)))


def _folder(order: Order) -> str:
    return str((Path(order.root) / order.path).parent) if order.folder is None else order.folder


def _job_type(catalogue: Catalogue, order: Order) -> JobType:
    provider = catalogue.get(order.provider)
    if provider is None:
        raise Fatal(f"There is no provider named {order.provider!r}.")
    job_type = provider.job_type(order.job_type)
    if job_type is None:
        raise Fatal(f"The provider {order.provider!r} has no job type named {order.job_type!r}.")
    return job_type


def _config(job_type: JobType, order: Order) -> Any:
    try:
        return job_type.config(order.config)
    except RunError:
        raise
    except Exception as error:
        raise Fatal(f"The config does not fit the job type {order.job_type!r}: {_text(error)}") from error


def _iterator(job_type: JobType, context: RunContext) -> Iterator[Unit]:
    produced: Any = job_type.run(context)
    try:
        return iter(produced)
    except TypeError:
        raise Fatal(f"The provider produced a {type(produced).__name__} where units are needed.") from None


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "(its text cannot be read)"


def _wait(seconds: object) -> float | None:
    """What a provider asks for, as far as it makes sense."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or math.isnan(seconds):
        return None
    return min(max(float(seconds), 0.0), MAX_WAIT_S)
