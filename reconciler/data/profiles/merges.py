"""How the values of an attribute become one: a table, from what a message gives to what a profile shows.

Each merge has a state that any number of messages fold into and any number of states fold into again, in any order and
any grouping with the same outcome: that is why a build may take what is new alone. `latest` and `first` keep the value
with its order (time, receipt, position and stream), so that no two messages tie. Inside a build they are the order alone,
one number: which message it is. Its value is looked up at the end, once a profile and not once a message.

Limits: what a sum adds has at most 28 digits (a larger value counts as none), so ten thousand million of them fit into
the 38 of the sum; a set keeps its 1,000 least texts by code point, which is the same 1,000 however it was built.
"""

from __future__ import annotations

from typing import Final

from reconciler.core.language.types import type_of
from reconciler.core.value import dataclass
from reconciler.data.profiles.order import Order

#: Digits of what is added up, and of the sum.
SUM_INPUT_DIGITS: Final = 28
SUM_DIGITS: Final = 38

#: The texts that a set keeps.
MAX_SET: Final = 1_000


@dataclass(frozen=True, slots=True)
class Form:
    """SQL by merge. `fold` is over the values `{x}` of messages with their order `o`; `gather` over what a build has
    folded, `refold` over states that are kept, `show` over one of these."""

    fold: str
    gather: str
    refold: str
    show: str = "{x}"


def _alike(fold: str, refold: str, show: str = "{x}") -> Form:
    """What a build folds is kept as it is."""
    return Form(fold, refold, refold, show)


def _ordered(pick: str) -> Form:
    """The value of the message that is last or first: `pick` is max or min."""
    return Form(
        fold=f"{pick}(CASE WHEN {{x}} IS NOT NULL THEN o END)",
        gather=f"{pick}({{x}})",
        refold=f"{pick}({{x}})",
        show="({x}).v",
    )


_LEAST: Final = f"list_sort({{x}})[1:{MAX_SET}]"

_FORMS: Final = {
    "latest": _ordered("max"),
    "first": _ordered("min"),
    "sum": _alike("sum({x})", "sum({x})"),
    "count": _alike("count({x})", "sum({x})::BIGINT", "coalesce({x}, 0)"),
    "min": _alike("min({x})", "min({x})"),
    "max": _alike("max({x})", "max({x})"),
    "set": _alike(
        _LEAST.format(x="list(DISTINCT {x}) FILTER ({x} IS NOT NULL)"),
        _LEAST.format(x="list_distinct(flatten(list({x}) FILTER ({x} IS NOT NULL)))"),
        "coalesce({x}, []::VARCHAR[])",
    ),
    "any": _alike("bool_or({x})", "bool_or({x})"),
}


@dataclass(frozen=True, slots=True)
class Merge:
    """How one attribute merges; `type` is that of what it shows."""

    kind: str
    type: str

    @property
    def is_picked(self) -> bool:
        """Whether it shows the value of one message, whose order is what a build folds."""
        return self.kind in ("latest", "first")

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
    def nothing(self) -> str:
        """No value, of the type that it shows."""
        return f"NULL::{type_of(self.type).sql}"

    @property
    def state(self) -> str:
        """The type of a state that is kept."""
        match self.kind:
            case "latest" | "first":
                return f"STRUCT(t BIGINT, r BIGINT, p BIGINT, v {type_of(self.type).sql})"
            case "sum":
                return f"DECIMAL({SUM_DIGITS},{type_of(self.type).scale})"
            case _:
                return type_of(self.type).sql

    def fold(self, values: str) -> str:
        """What a group of messages folds into; their order is `o`."""
        return _FORMS[self.kind].fold.format(x=values)

    def gather(self, folded: str) -> str:
        """The same of a group of these."""
        return _FORMS[self.kind].gather.format(x=folded)

    def keep(self, folded: str, order: Order, value: str) -> str:
        """The state of what was folded under an order; `value` is that of the message which `is_picked`."""
        if not self.is_picked:
            return folded
        time, receipt, place = order.parts(folded)
        return f"CASE WHEN {folded} IS NOT NULL THEN {{'t': {time}, 'r': {receipt}, 'p': {place}, 'v': {value}}} END"

    def refold(self, states: str) -> str:
        """The state of a group of states."""
        return _FORMS[self.kind].refold.format(x=states)

    def show(self, state: str) -> str:
        """What a profile shows; a count without messages is 0, a set without any is empty, everything else is NULL."""
        return _FORMS[self.kind].show.format(x=state)
