"""How the values of an attribute become one: a table, from what a message gives to what a profile shows.

Each merge has a state that any number of messages fold into and any number of states fold into again, in any order and
any grouping with the same outcome: that is why a build may take what is new alone. `latest` and `first` keep the value
with its order, (time, received, position and stream), so that no two messages tie.

Limits: what a sum adds has at most 28 digits (a larger value counts as none), so ten thousand million of them fit into
the 38 of the sum; a set keeps its 1,000 least texts by code point, which is the same 1,000 however it was built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reconciler.core.language.types import type_of

#: Digits of what is added up, and of the sum.
SUM_INPUT_DIGITS: Final = 28
SUM_DIGITS: Final = 38

#: The texts that a set keeps.
MAX_SET: Final = 1_000


@dataclass(frozen=True, slots=True)
class Form:
    """SQL by merge. `fold` is over the messages' values `{x}` (with `t`, `r`, `p`), `refold` over states `{x}`, `show`
    over one state."""

    fold: str
    refold: str
    show: str = "{x}"


_ORDERED: Final = "{{'t': t, 'r': r, 'p': p, 'v': {x}}}"
_LEAST: Final = f"list_sort({{x}})[1:{MAX_SET}]"

_FORMS: Final = {
    "latest": Form(f"max({_ORDERED}) FILTER ({{x}} IS NOT NULL)", "max({x})", "({x}).v"),
    "first": Form(f"min({_ORDERED}) FILTER ({{x}} IS NOT NULL)", "min({x})", "({x}).v"),
    "sum": Form("sum({x})", "sum({x})"),
    "count": Form("count({x})", "sum({x})::BIGINT", "coalesce({x}, 0)"),
    "min": Form("min({x})", "min({x})"),
    "max": Form("max({x})", "max({x})"),
    "set": Form(
        _LEAST.format(x="list(DISTINCT {x}) FILTER ({x} IS NOT NULL)"),
        _LEAST.format(x="list_distinct(flatten(list({x}) FILTER ({x} IS NOT NULL)))"),
        "coalesce({x}, []::VARCHAR[])",
    ),
    "any": Form("bool_or({x})", "bool_or({x})"),
}


@dataclass(frozen=True, slots=True)
class Merge:
    """How one attribute merges; `type` is that of what it shows."""

    kind: str
    type: str

    def input(self, sql: str) -> str:
        """What a message gives, as the state takes it."""
        match self.kind:
            case "count":
                return f"({sql}) IS NOT NULL OR NULL"
            case "sum":
                return f"TRY_CAST({sql} AS DECIMAL({SUM_INPUT_DIGITS},{type_of(self.type).scale}))"
            case "set":
                return f"TRY_CAST({sql} AS VARCHAR)"
            case _:
                return f"TRY_CAST({sql} AS {type_of(self.type).sql})"

    @property
    def state(self) -> str:
        """The type of a state."""
        match self.kind:
            case "latest" | "first":
                return f"STRUCT(t BIGINT, r BIGINT, p BIGINT, v {type_of(self.type).sql})"
            case "sum":
                return f"DECIMAL({SUM_DIGITS},{type_of(self.type).scale})"
            case _:
                return type_of(self.type).sql

    def fold(self, values: str) -> str:
        """The state of a group of messages."""
        return _FORMS[self.kind].fold.format(x=values)

    def refold(self, states: str) -> str:
        """The state of a group of states."""
        return _FORMS[self.kind].refold.format(x=states)

    def show(self, state: str) -> str:
        """What a profile shows; a count without messages is 0, a set without any is empty, everything else is NULL."""
        return _FORMS[self.kind].show.format(x=state)
