"""The order of things: recover, look, plan, enact, run what is due, report; once, or until told to stop.

Level-triggered: events, signals and timers only wake the loop, and each turn looks at everything that has changed.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Final

from reconciler.clock import Now
from reconciler.controller.building import Builder
from reconciler.controller.conduct import Conductor, Pass
from reconciler.controller.deeds import DEEDS
from reconciler.controller.enact import Enactor
from reconciler.controller.forgetting import Forgetter
from reconciler.controller.hands import Hands
from reconciler.controller.housekeeping import Housekeeper
from reconciler.controller.intake import Intake
from reconciler.controller.listening import Listening
from reconciler.controller.lives import Lives
from reconciler.controller.notifying import Notifier
from reconciler.controller.observe import LOOKS, PATIENCE_MS, Observation, Observer
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.pruning import Pruner, place_of
from reconciler.controller.report import Reporter
from reconciler.controller.requests import Answer, Desk, Inbox, Request, note, user_name
from reconciler.controller.settings import Report
from reconciler.core.audit import Deed
from reconciler.core.planned import Plan
from reconciler.core.profile import ProfileSet
from reconciler.errors import Problem, Retriable
from reconciler.repo.bulk import collection_paused

if TYPE_CHECKING:
    from reconciler.controller.wakeups import Wakeups
    from reconciler.core.saved_plan import SavedPlan
    from reconciler.repo.source import Watching

#: A look at least this often, in milliseconds of uptime: a watch may die silently.
LOOK_MS: Final = 60_000
#: Uptime is recorded at least this often.
ALIVE_SAVED_MS: Final = 10_000
#: Where no commit says that a spec is gone, the daemon believes it once the tree has stood still for so long: an editor,
#: a copy or a mount that comes back needs no more. A pass has nobody to wait for; it has the deletion budget.
GRACE_MS: Final = 5_000
#: The longest the loop sleeps.
LONGEST_SLEEP_MS: Final = 10_000


class Controller:
    """One writer of one record. A context manager: leaving it ends every run and gives up the lock."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._record = hands.record
        self._policing = Policing(hands.record, hands.tree, hands.catalogue)
        self._observer = Observer(
            hands.record,
            hands.tree,
            hands.catalogue,
            self._policing,
            needs_data_root=hands.settings.needs_data_root,
        )
        self._pruner = Pruner(hands.record, hands.settings.budget, hands.origin.revision, place_of(hands.settings))
        self._planner = Planner(
            hands.record,
            hands.origin,
            hands.catalogue,
            hands.listener.notice,
            policing=self._policing,
            pruner=self._pruner,
        )
        self._reporter = Reporter(hands)
        self._housekeeper = Housekeeper(hands)
        self._builder = Builder(hands)
        self._intake = Intake(hands)
        self._forgetter = Forgetter(hands, self._builder, self._housekeeper)
        self._notifier = Notifier(hands)
        self._listening = Listening(hands)
        self._inbox = Inbox(hands.settings.state, DEEDS)
        self._next_look_ms = 0
        self._alive_saved_ms = 0
        self._torn: str | None = None
        self._told: tuple[Problem, ...] = ()
        self._blind = ""

    # --- one pass ---------------------------------------------------------------------------------------------------

    def run_pass(self) -> Report:
        """Load, plan, apply, run what is due, wait for those runs, write statuses."""
        with self._hands.wakeups() as wakeups, self._inbox:
            now = self._hands.clock.now()
            self._pruner.began_ms = now.wall_ms
            lives = Lives(self._record, self._hands.chance)
            self._conductor(lives).recover(now)
            self._housekeeper.sweep(now)
            plan = self._settle(lives, wakeups)
            return self._finish_pass(plan, lives, wakeups)

    def apply(self, saved: SavedPlan, by: str) -> Report:
        """Does what a saved plan says, for the person `by`: its actions, then its runs, and nothing else. Raises Blocked,
        before anything is changed, where it was applied already or anything that it was made from has moved."""
        from reconciler.controller.applying import agreed

        with self._hands.wakeups() as wakeups, self._inbox:
            observation = self._observer.observe_until_settled(self._hands.clock)
            if observation.changed:
                self._record.jobs.mark_problems_dirty()
            now = self._hands.clock.now()
            self._pruner.began_ms = now.wall_ms
            found = agreed(self._hands, self._observer, self._planner, saved, now)
            plan = found.does
            lives = Lives(self._record, self._hands.chance)
            self._conductor(lives).recover(now)
            self._housekeeper.sweep(now)
            with self._record.transaction():
                self._record.plans.note_applied(saved.digest, by, now.wall_ms)
                self._record.audit.append([Deed(time_ms=now.wall_ms, action="apply", actor=by, plan=saved.digest)])
                self._enact(plan, lives, now, saved.digest)
                self._notifier.see(found.made, self._hands.origin.revision(), now)
            self._reporter.flush(now)
            return self._finish_pass(plan, lives, wakeups, only=saved.runs)

    def _conductor(self, lives: Lives, a_pass: Pass | None = None) -> Conductor:
        return Conductor(
            self._hands, self._observer, lives, self._housekeeper, self._builder, self._intake, self._forgetter,
            self._notifier, a_pass,
        )  # fmt: skip

    def _finish_pass(self, plan: Plan, lives: Lives, wakeups: Wakeups, *, only: frozenset[str] | None = None) -> Report:
        """What follows once a plan is true: runs, of `only` these jobs where they are given, and statuses."""
        conductor = self._conductor(lives, Pass(began=self._hands.clock.now(), only=only))
        self._run_to_the_end(conductor, lives, wakeups)
        self._reporter.flush(self._hands.clock.now(), last=True)
        self._save_alive(self._hands.clock.now())
        return Report(
            plan=plan,
            problems=tuple(sorted({*self._record.desired.problems(), *plan.errors})),
            failures=tuple(sorted(conductor.failures.items())),
            ran=conductor.ran,
            rows=conductor.rows,
            interrupted=wakeups.stopping is not None,
        )

    def _settle(self, lives: Lives, wakeups: Wakeups) -> Plan:
        """Looks and enacts until nothing is left open that a moment's patience would settle."""
        done: list[Plan] = []
        for _ in range(LOOKS):
            observation, plan = self._reconcile(lives)
            done.append(plan)
            if observation.again_ms is None or observation.again_ms > PATIENCE_MS or wakeups.stopping:
                break
            self._hands.clock.pause(observation.again_ms / 1000)
        actions = tuple(action for plan in done for action in plan.actions)
        rebuild = next((plan.rebuild for plan in done if plan.rebuild), None)
        return replace(done[-1], actions=actions, rebuild=rebuild)

    def _run_to_the_end(self, conductor: Conductor, lives: Lives, wakeups: Wakeups) -> None:
        told = False
        while True:
            now = self._hands.clock.now()
            if wakeups.stopping and not told:
                told = True
                conductor.stop_all()
            self._serve(lives, wakeups, now)
            conductor.turn(self._hands.runner.messages(0), now)
            conductor.keep_house(now)
            self._report(conductor, wakeups, now)
            if not conductor.busy:
                return
            sleep_ms = min(LONGEST_SLEEP_MS, self._reporter.due_in_ms(now) or LONGEST_SLEEP_MS)
            wakeups.wait((self._hands.runner.fileno(), *self._inbox.fds), sleep_ms / 1000)

    # --- profiles, without a pass -----------------------------------------------------------------------------------

    def rebuild(self) -> ProfileSet:
        """Builds all profiles anew from the raw messages, and waits for it. Raises Retriable where that fails."""
        with self._hands.wakeups() as wakeups:
            lives = Lives(self._record, self._hands.chance)
            conductor = self._conductor(lives)
            now = self._hands.clock.now()
            conductor.recover(now)
            self._housekeeper.sweep(now)
            note(self._record, Request(do="rebuild", by=user_name(os.geteuid())), Answer(message=""), now)
            self._builder.rebuild(now)
            while self._builder.busy and not wakeups.stopping:
                wakeups.wait((self._hands.runner.fileno(),), LONGEST_SLEEP_MS / 1000)
                conductor.receive(self._hands.runner.messages(0), self._hands.clock.now())
        if self._builder.failure or self._builder.busy:
            raise Retriable(f"profiles were not rebuilt: {self._builder.failure or 'interrupted'}")
        return self._record.profiles.current()

    # --- people who are to be forgotten, without a pass ---------------------------------------------------------------

    def forget(self) -> None:
        """Carries out what was asked, as far as nothing has to be waited for."""
        with self._hands.wakeups() as wakeups:
            lives = Lives(self._record, self._hands.chance)
            conductor = self._conductor(lives)
            now = self._hands.clock.now()
            conductor.recover(now)
            self._housekeeper.sweep(now)
            while not wakeups.stopping:
                conductor.forget(self._hands.clock.now())
                if not conductor.busy:
                    return
                wakeups.wait((self._hands.runner.fileno(),), LONGEST_SLEEP_MS / 1000)
                conductor.receive(self._hands.runner.messages(0), self._hands.clock.now())

    # --- the daemon -------------------------------------------------------------------------------------------------

    def watch(self) -> int:
        """Until SIGTERM or SIGINT: what is true of the tree is made true, and what is due runs. The exit code."""
        self._observer.grace_ms = GRACE_MS
        with self._hands.wakeups() as wakeups, self._inbox:
            lives = Lives(self._record, self._hands.chance)
            conductor = self._conductor(lives)
            conductor.recover(self._hands.clock.now())
            self._housekeeper.sweep(self._hands.clock.now())
            self._save_alive(self._hands.clock.now(), always=True)
            watch = self._hands.tree.watch(wakeups.wake)
            try:
                self._listening.open(self._hands.clock.now())
                self._hands.listener.ready()
                while not wakeups.stopping:
                    self._turn(conductor, lives, wakeups)
                    self._tell_blind(watch)
            except BaseException:
                self._listening.let_go()
                raise
            finally:
                watch.close()
            self._hands.listener.notice(f"{wakeups.stopping.name}: runs stop at their next unit")
            self._wind_down(conductor, wakeups)
            return wakeups.exit_code

    def _tell_blind(self, watch: Watching) -> None:
        """Says that changes are not told of by the system, and that they are told of again."""
        trouble = watch.trouble
        if trouble and not self._blind:
            self._hands.listener.notice(
                f"{trouble}; changes are found by looking every few seconds until that is mended"
            )
        if self._blind and not trouble:
            self._hands.listener.notice("Changes are told of by the system again.")
        self._blind = trouble

    def _tell_problems(self, plan: Plan) -> None:
        if plan.errors != self._told:
            self._told = plan.errors
            self._hands.listener.problems(plan.errors)

    def _turn(self, conductor: Conductor, lives: Lives, wakeups: Wakeups) -> None:
        now = self._hands.clock.now()
        if wakeups.ask_wanted:
            wakeups.ask_wanted = False
            self._hands.tree.ask()
        if wakeups.look_wanted or conductor.plan_wanted or now.alive_ms >= self._next_look_ms:
            wakeups.look_wanted = conductor.plan_wanted = False
            observation, plan = self._reconcile(lives, hinted=not wakeups.take_whole())
            conductor.tell_stops()
            self._tell_problems(plan)
            if (news := self._pruner.news(plan)) is not None:
                self._hands.listener.blocked(news)
            self._listening.looked(now)
            closed_ms = self._policing.again_ms(now) or LOOK_MS
            self._next_look_ms = now.alive_ms + min(observation.again_ms or LOOK_MS, closed_ms)
        now = self._hands.clock.now()
        self._serve(lives, wakeups, now)
        conductor.turn(self._hands.runner.messages(0), now)
        self._listen(now, wakeups)
        conductor.keep_house(now)
        self._report(conductor, wakeups, now)
        if conductor.busy:
            self._hands.runner.make_ahead()
        self._save_alive(now)
        if not (wakeups.stopping or wakeups.look_wanted or conductor.plan_wanted):
            fds = (self._hands.runner.fileno(), *self._inbox.fds, *self._listening.fds())
            wakeups.wait(fds, self._sleep_ms(now) / 1000)

    def _listen(self, now: Now, wakeups: Wakeups) -> None:
        """What came to the process that listens is to be folded, and word of a push is a reason to look; a process that
        died is started anew."""
        self._listening.keep(now)
        if self._listening.take_wakes():
            self._intake.wake()
            if self._listening.take_push():
                wakeups.look_wanted = wakeups.whole_wanted = wakeups.ask_wanted = True

    def _sleep_ms(self, now: Now) -> int:
        """Until the next job's time, the next look, or messages that have come are to be folded."""
        wake_ms = self._record.jobs.next_wake_ms()
        times = [LONGEST_SLEEP_MS, self._next_look_ms - now.alive_ms]
        times += [] if wake_ms is None else [wake_ms - now.wall_ms]
        keepers = (self._intake, self._listening, self._notifier, self._reporter)
        due = [one.due_in_ms(now) for one in keepers]
        times += [one for one in due if one is not None]
        return max(1, min(times))

    def _wind_down(self, conductor: Conductor, wakeups: Wakeups) -> None:
        """Nothing more is taken in; runs end at their next unit, or are killed; then all is reported."""
        self._listening.close()
        conductor.stop_all()
        while conductor.busy:
            wakeups.wait((self._hands.runner.fileno(),), LONGEST_SLEEP_MS / 1000)
            conductor.receive(self._hands.runner.messages(0), self._hands.clock.now())
            self._reporter.flush(self._hands.clock.now())
            conductor.tell_finished()
        now = self._hands.clock.now()
        self._reporter.flush(now, last=True)
        self._save_alive(now, always=True)

    # --- both -------------------------------------------------------------------------------------------------------

    def _serve(self, lives: Lives, wakeups: Wakeups, now: Now) -> None:
        """Does what persons have asked for."""
        desk = Desk(
            record=self._record,
            lives=lives,
            catalogue=self._hands.catalogue,
            builder=self._builder,
            look=wakeups.wake_whole,
            fold=self._intake.wake,
        )
        self._inbox.serve(desk, now)

    def _report(self, conductor: Conductor, wakeups: Wakeups, now: Now) -> None:
        """Writes what has happened; runs at work come first."""
        runner = self._hands.runner
        pressed = (lambda: wakeups.is_ready(runner.fileno())) if conductor.busy else None
        if self._reporter.flush(now, pressed=pressed):
            conductor.tell_finished()

    def _reconcile(self, lives: Lives, *, hinted: bool = False) -> tuple[Observation, Plan]:
        """Looks, at everything or, `hinted`, where a watch has named what is new; plans what differs; enacts it."""
        with collection_paused():
            return self._look_and_enact(lives, hinted=hinted)

    def _look_and_enact(self, lives: Lives, *, hinted: bool) -> tuple[Observation, Plan]:
        now = self._hands.clock.now()
        observation = self._observer.observe(now, hinted=hinted)
        if observation.torn and observation.torn != self._torn:
            self._hands.listener.notice(f"{observation.torn}; looking again")
        self._torn = observation.torn
        self._pruner.look(is_open=bool(observation.unsettled))
        plan = self._planner.plan(now, observation.unsettled)
        self._enact(plan, lives, now)
        if observation.changed:
            self._record.jobs.mark_problems_dirty()
        self._expect_runs(now)
        if not observation.torn:
            self._notifier.see(plan, self._hands.origin.revision(), now)
        self._reporter.flush(now)
        return observation, plan

    def _enact(self, plan: Plan, lives: Lives, now: Now, saved: str = "") -> None:
        """Makes it true; `saved` is the digest of the saved plan that asks for it."""
        if plan.actions:
            enactor = Enactor(self._record, lives, self._hands.catalogue())
            authors = self._planner.authors(plan)
            with self._record.transaction():
                enactor.enact(plan, authors, now, saved)
                self._record.differences.forget_equal()
                self._pruner.note(plan, now)
            self._builder.grown()
            for event in enactor.beside_logs:
                self._hands.listener.event(event)
        else:
            self._pruner.note(plan, now)

    def _expect_runs(self, now: Now) -> None:
        """Where jobs are due, what their runs take is got ready beside the reports that come before them."""
        if self._record.jobs.is_any_due(now.wall_ms):
            self._hands.runner.prepare()

    def _save_alive(self, now: Now, *, always: bool = False) -> None:
        if always or now.alive_ms - self._alive_saved_ms >= ALIVE_SAVED_MS:
            self._alive_saved_ms = now.alive_ms
            with self._record.transaction():
                self._record.set_setting("alive_ms", now.alive_ms)
                self._record.set_setting("wall_ms", now.wall_ms)

    def close(self) -> None:
        """Whatever of it fails: the lock is given up."""
        try:
            self._hands.runner.close()
            self._hands.tree.close()
        finally:
            self._record.close()

    def __enter__(self) -> Controller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
