"""When a job runs: schedules by the clock, after others, or once, that fit how long a world is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.simulation.world import World

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
ZONES: Final = ("Europe/Paris", "America/New_York", "Australia/Lord_Howe", "UTC")


def draw_schedule(world: World, *, is_import: bool, is_alone: bool = False, is_steady: bool = False) -> str:
    """`is_steady`: it comes again and again, by the clock or after what the job depends on."""
    dice = world.dice
    if is_steady:
        every = f"{{every: {max(1, world.span_ms // dice.randint(4, 12) // MINUTE_MS)}m}}"
        cron = draw_schedule(world, is_import=True, is_alone=True)
        return dice.choice(["{afterDependencies: true}", "{afterDependencies: true}", every, cron])
    if not is_import and not is_alone and dice.random() < 0.5:
        return "{afterDependencies: true}"
    kind = dice.choice(("every", "every", "cron", "cron", *([] if is_alone else ["once"])))
    if kind == "once":
        return "{once: true}"
    if kind == "every":
        return f"{{every: {max(1, world.span_ms // dice.randint(8, 30) // MINUTE_MS)}m}}"
    zone, hour, minute = dice.choice(ZONES), dice.choice([0, 1, 2, 2, 3, 9]), dice.choice([0, 15, 30])
    if world.span_ms <= 2 * DAY_MS:
        when = f"{minute} {dice.choice(['*/3', '*/6', str(hour)])} * * *"
    elif world.span_ms <= 60 * DAY_MS:
        when = f"{minute} {hour} * * {dice.choice(['*', 'sun', 'mon'])}"
    else:
        when = f"{minute} {hour} {dice.choice(['1', '29', '15'])} * *"
    return f'{{cron: "{when}", timezone: {zone}}}'
