"""Identifiers as they are shown to somebody who has not asked to see them: enough to recognise one's own, no more."""

from __future__ import annotations

#: Values shorter than this show nothing of themselves.
SHORT = 4


def masked(value: str) -> str:
    """`j***@e***.org` of `jane@example.org`; the first and the last character of anything else."""
    local, at, domain = value.rpartition("@")
    if at and local and "." in domain:
        name, _, ending = domain.rpartition(".")
        return f"{local[0]}***@{name[:1]}***.{ending}"
    return "***" if len(value) < SHORT else f"{value[0]}***{value[-1]}"
