"""The runner, simulated: a run is a coroutine in which the real work happens, from the order to the last unit.

What a run says travels for a moment, as bytes, and arrives in order. A run can be killed wherever it waits; nothing of it
runs afterwards, not even a `finally`, but what it had sent by then is on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from greenlet import GreenletExit, greenlet

from reconciler.core.messages import Began, Ended, Exited, FromRun, Order
from reconciler.core.provider import Catalogue, Context, JobType, Provider, Unit
from reconciler.errors import Fatal, Retriable
from reconciler.providers.files import PROVIDER as FILES
from reconciler.providers.http import PROVIDER as HTTP
from reconciler.providers.http import export_audience, import_json, webhook
from reconciler.runner.capture import Capture
from reconciler.runner.wire import Answer, decode_from_run, decode_to_run, encode
from reconciler.runner.work import Work
from tests.simulation.laws import Broken
from tests.simulation.network import Client

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How long a run may take to get to its next unit once it is told to stop.
GRACE_MS: Final = 30_000
#: A frame begins with so many bytes that say how long it is.
HEADER: Final = 4


class Process:
    """One attempt of a run."""

    def __init__(self, runner: Runner, order: Order, pid: int) -> None:
        self.order = order
        self.pid = pid
        self.is_dead = False
        self.has_ended = False
        self.is_stopping = False
        self.answers: list[Answer] = []
        self._runner = runner
        self._world = runner.world
        self._heard_ms = 0
        self._code = greenlet(self._run)
        self._world.process_at[self._code] = self

    def begin(self) -> None:
        self._tell(Began(self.order.run, self.order.attempt, self.pid, self.pid))
        if self.order.timeout_s is not None:
            self._later(int(self.order.timeout_s * 1000), lambda: self.die(9, timed_out=True))
        if self._world.weather.strikes("killed"):
            self._later(self._world.dice.choice([5, 60, 2_000, 60_000]), lambda: self.die(9))
        self._code.switch()

    # --- in the coroutine

    def _run(self) -> None:
        try:
            if not self.order.job_type.startswith("fold-") and self._world.weather.strikes("stuck"):
                self.sleep(self._world.dice.choice([3_600_000, 40_000_000]))
            self.sleep(self._world.dice.randint(1, 300))
            channel = Channel(self)
            channel.end(Work(channel, catalogue_of(self), str(self._world.state), self._world.run_clock).run())  # type: ignore[arg-type]
        except Broken as error:
            self._world.broken.append(error)

    def sleep(self, milliseconds: int) -> None:
        """Others go on meanwhile; the run may be dead before it is over."""
        self._later(milliseconds, self._code.switch)
        self.give_way()

    def give_way(self) -> None:
        """Until somebody switches back; never, where the run is dead."""
        if self.is_dead:
            raise GreenletExit
        self._world.timeline.main.switch()
        if self.is_dead:
            raise GreenletExit

    def say(self, message: object) -> None:
        if self.is_dead:
            raise GreenletExit
        data = encode(message)
        self.has_ended = isinstance(message, Ended)
        self._tell(decode_from_run(data[HEADER:], self.order))

    def sends(self, url: str) -> None:
        """A request is about to leave."""
        try:
            self._world.laws.may_send(self.order, url)
        except Broken as error:
            self._world.broken.append(error)
            raise

    def leave(self, code: int) -> NoReturn:
        self._later(2, lambda: self._gone(exit_code=code))
        while True:
            self.give_way()

    # --- outside of it

    def hear(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._later(self._world.dice.randint(0, 3), self._code.switch)

    def stop(self) -> None:
        self.is_stopping = True
        self._later(GRACE_MS, lambda: self.die(9, killed=True))

    def die(self, number: int, *, timed_out: bool = False, killed: bool = False) -> None:
        if not self.is_dead:
            self._gone(signal=number, timed_out=timed_out, killed=killed)

    def vanish(self) -> None:
        """With its controller."""
        self.is_dead = True
        self._world.graveyard.append(self._code)

    def _gone(self, *, exit_code: int | None = None, signal: int | None = None, **why: bool) -> None:
        self.vanish()
        order = self.order
        self._tell(
            Exited(
                run=order.run,
                attempt=order.attempt,
                pid=self.pid,
                exit_code=exit_code,
                signal=signal,
                peak_kib=1,
                cpu_s=0.0,
                **why,
            )
        )

    def _tell(self, message: FromRun) -> None:
        """It arrives after whatever was said before."""
        timeline = self._world.timeline
        self._heard_ms = max(self._heard_ms, timeline.true_ms + self._world.dice.randint(0, 5))
        timeline.after(self._heard_ms - timeline.true_ms, lambda: self._runner.take(message))

    def _later(self, milliseconds: int, deed: Callable[[], object]) -> None:
        self._world.timeline.after(milliseconds, lambda: None if self.is_dead else deed())


class Channel:
    """The run's end of its socket, in the place of `runner.channel.Channel`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        order = decode_to_run(encode(process.order)[HEADER:])
        assert isinstance(order, Order)
        self.order = order
        self.capture = Capture(lambda _: None)

    def tell(self, message: object) -> None:
        self._process.say(message)

    def ask(self, message: object, what: str) -> Any:
        process = self._process
        try:
            process.say(message)
        except (TypeError, ValueError, RecursionError) as error:
            raise Fatal(f"{what} cannot be kept as JSON: {error}") from error
        while not process.answers:
            process.give_way()
        answer = process.answers.pop()
        if not answer.accepted:
            self.end(Ended(run=self.order.run, attempt=self.order.attempt, how="stopped", message="superseded"))
        if answer.refusal:
            raise Retriable(answer.refusal)
        return answer.value

    def stopping(self) -> bool:
        return self._process.is_stopping

    def end(self, ended: Ended) -> NoReturn:
        self._process.say(ended)
        self._process.leave(0 if ended.how in ("succeeded", "stopped") else 1)


class Runner:
    """`controller.hands.Runner` over such processes: of one life of a controller."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_over = False
        self._runs: dict[int, Process] = {}
        self._pending: list[FromRun] = []

    @property
    def has_news(self) -> bool:
        return bool(self._pending)

    def take(self, message: FromRun) -> None:
        if self.is_over:
            return
        if isinstance(message, Exited):
            self._runs.pop(message.run)
        self._pending.append(message)

    def start(self, order: Order) -> None:
        world = self.world
        at_work = [run for run, process in self._runs.items() if not process.has_ended]  # not merely about to be gone
        world.laws.may_start(order, at_work)
        process = self._runs[order.run] = Process(self, order, world.next_pid())
        if world.weather.strikes("unborn"):
            self._pending.append(
                Ended(run=order.run, attempt=order.attempt, how="retriable", message="No process could be started.")
            )
            process.die(9)
            return
        world.timeline.after(world.dice.randint(1, 20), lambda: None if process.is_dead else process.begin())

    def prepare(self) -> None:
        """There is nothing to make ready."""

    def make_ahead(self) -> None:
        """Nor here."""

    def answer(self, run: int, accepted: bool, value: Any = None, refusal: str = "") -> None:
        process = self._runs.get(run)
        if process is not None and not process.is_dead:
            process.hear(Answer(accepted, value, refusal))

    def stop(self, run: int) -> None:
        if run in self._runs:
            self._runs[run].stop()

    def kill(self, run: int) -> None:
        if run in self._runs:
            self._runs[run].die(9, killed=True)

    def active(self) -> tuple[int, ...]:
        ended = [one.run for one in self._pending if isinstance(one, Exited)]
        return (*ended, *self._runs)

    def fileno(self) -> int:
        return -1

    def messages(self, timeout_s: float) -> list[FromRun]:
        out, self._pending = self._pending, []
        return out

    def close(self) -> None:
        """Every run dies with its controller."""
        self.is_over = True
        for process in self._runs.values():
            if not process.is_dead:
                process.vanish()
        self._runs.clear()


def client_of(process: Process) -> Client:
    """What a run sends with."""
    world = process._world
    return Client(
        process, world.timeline, world.weather, world.receiver, world.mirrors, world.feeds, world.lookups, world.tokens,
        world.dice,
    )  # fmt: skip


# --- the catalogue -----------------------------------------------------------------------------------------------------


def catalogue_of(process: Process) -> Catalogue:
    """The product's own providers; what goes over a network goes over the simulated one."""

    def client() -> Any:
        return client_of(process)

    def deliver(context: Context) -> Iterator[Unit]:
        return webhook.deliver(context, client())

    def mirror(context: Context) -> Iterator[Unit]:
        return export_audience.deliver(context, client())

    def fetch(context: Any) -> Iterator[Unit]:
        context.data = FullDisk(context.data, process)
        return import_json.fetch(context, client())

    def on_a_full_disk(job_type: JobType) -> JobType:
        def run(context: Any) -> Iterator[Unit]:
            context.data = FullDisk(context.data, process)
            return job_type.run(context)

        return replace(job_type, run=run)

    files = replace(FILES, job_types=tuple(map(on_a_full_disk, FILES.job_types)))
    runs = {"export-webhook": deliver, "export-audience": mirror, "import-json": fetch}
    return {"files": files, "http": _with_runs(HTTP, runs)}


def _with_runs(provider: Provider, runs: Mapping[str, Callable[[Any], Iterator[Unit]]]) -> Provider:
    types = (replace(one, run=runs[one.name]) if one.name in runs else one for one in provider.job_types)
    return replace(provider, job_types=tuple(types))


class FullDisk:
    """The data hands, where staging may fail: before anything was written, or once all was."""

    def __init__(self, data: Any, process: Process) -> None:
        self._data = data
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def stage(self, *arguments: Any, **named: Any) -> Any:
        strikes = self._process._world.weather.strikes
        if strikes("stage"):
            raise Retriable("cannot write a segment: No space left on device")
        staged = self._data.stage(*arguments, **named)
        self._process.sleep(self._process._world.dice.randint(0, 400))
        if strikes("stage"):
            raise Retriable("cannot write a segment: No space left on device")
        return staged
