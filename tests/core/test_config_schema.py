"""What is loaded to check a config, and what is not."""

from __future__ import annotations

import subprocess
import sys

LOADED = "from reconciler.core.config_schema import compile_schema; compile_schema({'type': 'object'})"


def say(code: str) -> str:
    """What a fresh interpreter says."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_a_config_is_checked_without_what_reads_when_the_library_was_built() -> None:
    told = say(f"import sys; {LOADED}; print([one for one in ('email.utils', 'socket') if one in sys.modules])")
    assert told == "[]\n"


def test_after_that_everybody_has_the_whole_of_it() -> None:
    told = say(
        f"{LOADED}; import email.utils; print(email.utils.parsedate_to_datetime('Sun, 29 Nov 2026 10:00:00 +0000'))"
    )
    assert told == "2026-11-29 10:00:00+00:00\n"


def test_whoever_asks_meanwhile_for_something_else_has_the_whole_of_it_too() -> None:
    code = (
        "import sys; from reconciler.core.config_schema import _StandIn;"
        "sys.modules['email.utils'] = _StandIn('email.utils');"
        "from email.utils import formataddr; print(formataddr(('A', 'a@example.com')));"
        "print(sys.modules['email.utils'].__file__ is not None)"
    )
    assert say(code) == "A <a@example.com>\nTrue\n"


def test_where_another_thread_is_at_work_nothing_stands_in() -> None:
    code = (
        "import sys, threading; held = threading.Event(); threading.Thread(target=held.wait).start();"
        f"{LOADED}; print('email.utils' in sys.modules); held.set()"
    )
    assert say(code) == "True\n"
