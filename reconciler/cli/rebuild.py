"""`reconcile rebuild`: all profiles anew from the raw messages, by the controller at work or, where there is none, here."""

from __future__ import annotations

import click

from reconciler.cli.lookup import reading, suggestion
from reconciler.cli.options import Call, command
from reconciler.clock import pause
from reconciler.errors import UsageError
from reconciler.record.holder import controller_at_work

#: How often the controller that builds is asked how far it is.
LOOK_S = 0.5


@command("rebuild", click.Argument(["streams"], metavar="[STREAM]...", nargs=-1))
def rebuild(call: Call, streams: tuple[str, ...]) -> None:
    """Build all profiles anew from the raw messages.

    The old ones serve meanwhile. A profile joins the messages of every stream, so all are built, whichever STREAM is
    named. Ctrl-C leaves a daemon's build alone.
    """
    with reading(call) as record:
        known = [one.name for one in record.resources.resources("Stream")]
    for name in streams:
        if name not in known:
            raise UsageError(f"there is no stream '{name}'{suggestion(name, known)}")
    if controller_at_work(call.state) is None:
        _build_here(call)
    else:
        _have_built(call)
    with reading(call) as record:
        built = record.profiles.current()
    count = int(built.facts.get("profiles", 0))
    call.terminal.print(f"Built anew: {count:,} {'profile' if count == 1 else 'profiles'}.")


def _build_here(call: Call) -> None:
    from reconciler.cli.run import Lines
    from reconciler.controller import open_controller

    with Lines(call) as listener, open_controller(call.settings(), listener) as controller:
        controller.rebuild()


def _have_built(call: Call) -> None:
    from reconciler.controller.deeds import perform

    asked = perform(call.state, "rebuild")
    call.terminal.warn(asked.message)
    while not perform(call.state, "rebuild-look", **asked.facts).facts["done"]:
        pause(LOOK_S)
