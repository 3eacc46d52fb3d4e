"""How much longer a text may become: what a message holds is from outside, and a few replacements within each other
would make of a line what no memory holds."""

from __future__ import annotations

from typing import Any, Final

from sqlglot import exp

from reconciler.core.language.syntax import operands
from reconciler.core.language.terms import refusal

#: So many times as long as the longest text that it is made of.
MAX_GROWTH: Final = 100


def bound_growth(tree: Any) -> None:
    """Refuses an expression that could make a text too long."""
    _growth(tree)


def _growth(node: Any) -> int:
    inner = [_growth(one) for one in operands(node)]
    grown = max(inner, default=1)
    if isinstance(node, (exp.Concat, exp.DPipe)):
        grown = sum(inner)
    elif isinstance(node, exp.Replace):
        old, new = (len(one.name) if one is not None else 0 for one in (node.expression, node.args.get("replacement")))
        grown *= max(1, -(-new // max(old, 1)))
    if grown > MAX_GROWTH:
        raise refusal(f"this could make a text over {MAX_GROWTH} times as long as the texts in it", node)
    return grown
