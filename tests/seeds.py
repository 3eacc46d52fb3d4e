"""The seed of a test that is random: the same in every run of the suite, so that a change is never refused by chance; another one
in each run of its long form, which looks for what nobody knows yet."""

from __future__ import annotations

import os
import random


def seed(long_form: str) -> int:
    """`RECONCILE_SEED` where it is given; else one that is drawn where the variable of the long form is set."""
    drawn = random.SystemRandom().randrange(1_000_000) if long_form in os.environ else 20_261_129
    return int(os.environ.get("RECONCILE_SEED", drawn))
