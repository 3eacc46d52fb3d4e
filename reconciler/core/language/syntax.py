"""From the text of an expression to sqlglot's tree of it, within limits that keep a hostile text cheap.

sqlglot reads far more SQL than this language has, and descends recursively. So the tokens are looked at first: their
nesting is bounded, brackets are closed, and a name before a bracket is one of our functions. What the tree may hold is
for `compiler.py` to say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from reconciler.core.issue import quoted
from reconciler.core.language.types import BadExpression
from reconciler.core.suggest import did_you_mean

#: Characters of an expression; brackets, cases, negations and signs within each other; operators in a row.
MAX_TEXT: Final = 10_000
MAX_NESTING: Final = 32
MAX_CHAIN: Final = 100

TOO_DEEP: Final = f"nested more than {MAX_NESTING} deep"

_OPENING: Final = {TokenType.L_PAREN, TokenType.CASE}
_CLOSING: Final = {TokenType.R_PAREN: TokenType.L_PAREN, TokenType.END: TokenType.CASE}
_PREFIXES: Final = {TokenType.NOT, TokenType.DASH, TokenType.PLUS}

#: Tokens that nothing in the language has, and why not, where there is something to say.
_FOREIGN: Final = {
    TokenType.SEMICOLON: "an expression is one, and ends without a semicolon",
    TokenType.SELECT: "a query cannot stand in an expression",
    TokenType.PARAMETER: "parameters cannot stand in an expression",
    TokenType.PLACEHOLDER: "parameters cannot stand in an expression",
    TokenType.L_BRACKET: "", TokenType.R_BRACKET: "", TokenType.L_BRACE: "", TokenType.R_BRACE: "",
    TokenType.COLON: "", TokenType.ARROW: "", TokenType.DARROW: "", TokenType.HASH: "",
}  # fmt: skip

#: Words that may stand before a bracket without being functions.
_GRAMMAR: Final = {
    "and", "as", "between", "case", "else", "from", "ilike", "in", "interval", "is", "like", "not", "or", "then",
    "when", "decimal", "numeric", "for",
}  # fmt: skip

#: An interval in quotes. Of a longer text sqlglot takes a part ("3 days ago" is three days to it).
_QUOTED_SPAN: Final = re.compile(r"\s*[0-9]+\s*[a-zA-Z]*\s*")

#: Functions over many rows, and what is meant to be said instead.
_AGGREGATES: Final = {"avg", "count", "max", "min", "sum", "any_value", "first", "last", "list", "string_agg"}


def parse(text: str, functions: Collection[str]) -> exp.Expr:
    """The tree of a text whose function calls are all of `functions`. Raises BadExpression."""
    if len(text) > MAX_TEXT:
        raise BadExpression(f"an expression has at most {MAX_TEXT:,} characters, this one has {len(text):,}")
    tokens = _tokens(text)
    if not tokens:
        raise BadExpression("there is no expression here")
    _look(tokens, functions)
    try:
        found = DuckDB().parse_into(exp.Condition, text)
    except ParseError as error:
        raise _explained(error, tokens) from None
    except RecursionError:  # where the caller itself stands deep
        raise BadExpression(TOO_DEEP) from None
    except (SqlglotError, ValueError):
        raise BadExpression("this is no expression that can be read") from None
    tree = found[0] if len(found) == 1 else None
    if tree is None:
        raise BadExpression("this is no expression that can be read")
    _bound(tree)
    return tree


def place(node: exp.Expr) -> int:
    """The first character of a part of the tree, as far as sqlglot keeps it: else of the first that it has kept."""
    starts = [start for one in node.walk() if isinstance(start := one.meta.get("start"), int)]
    return min(starts, default=0)


def _tokens(text: str) -> Sequence[Token]:
    try:
        return DuckDB().tokenize(text)
    except SqlglotError:
        raise BadExpression(_unread(text)) from None


def _unread(text: str) -> str:
    return "a quote or comment is not closed" if any(one in text for one in ("'", '"', "/*", "$")) else "unreadable"


# --- the tokens -----------------------------------------------------------------------------------------------------


def _look(tokens: Sequence[Token], functions: Collection[str]) -> None:
    open_: list[tuple[TokenType, int, Token]] = []
    depth = prefixes = 0
    for index, token in enumerate(tokens):
        kind = token.token_type
        _refuse_foreign(token)
        if kind == TokenType.STRING and index and tokens[index - 1].token_type == TokenType.INTERVAL:
            _look_at_span(token)
        if kind in _PREFIXES:
            prefixes += 1
        elif kind in _OPENING:
            if kind == TokenType.L_PAREN and index:
                _look_at_call(tokens[index - 1], functions)
            open_.append((kind, prefixes + 1, token))
            depth += prefixes + 1
            prefixes = 0
        elif kind in _CLOSING:
            if not open_ or open_[-1][0] != _CLOSING[kind]:
                raise BadExpression(f"'{token.text}' closes nothing", token.start)
            depth -= open_.pop()[1]
            prefixes = 0
        else:
            prefixes = 0
        if depth + prefixes > MAX_NESTING:
            raise BadExpression(TOO_DEEP, token.start)
    if open_:
        raise BadExpression(f"'{open_[-1][2].text}' is not closed", open_[-1][2].start)


def _refuse_foreign(token: Token) -> None:
    why = _FOREIGN.get(token.token_type)
    if why is not None:
        raise BadExpression(why or f"{quoted(token.text)} cannot stand in an expression", token.start)


def _look_at_span(token: Token) -> None:
    if not _QUOTED_SPAN.fullmatch(token.text):
        raise BadExpression(
            f"expected one number and its unit, as in `interval '90 days'`, found {quoted(token.text)}", token.start
        )


def _look_at_call(name: Token, functions: Collection[str]) -> None:
    word = name.text.lower()
    if name.token_type == TokenType.IDENTIFIER:
        raise BadExpression("the name of a function stands without quotes", name.start)
    if name.token_type in (TokenType.STRING, TokenType.NUMBER) or not word[:1].isalpha():
        return
    if word in functions or word in _GRAMMAR:
        return
    if word == "now":
        raise BadExpression("now() can stand only in the `where` of an Audience", name.start)
    if word in _AGGREGATES:
        message = f"{word}() is over many messages, and an expression reads one; `merge` says how values become one"
        raise BadExpression(message, name.start)
    if word == "over":
        raise BadExpression("window functions cannot stand in an expression", name.start)
    raise BadExpression(f"unknown function {quoted(name.text)}{did_you_mean(word, functions)}", name.start)


# --- the tree -------------------------------------------------------------------------------------------------------


def _explained(error: ParseError, tokens: Sequence[Token]) -> BadExpression:
    """sqlglot names the line and the column at which a token ends."""
    detail = error.errors[0] if error.errors else {}
    where = (detail.get("line"), detail.get("col"))
    token = next((one for one in tokens if (one.line, one.col) == where), tokens[-1])
    description = str(detail.get("description", ""))
    if description.startswith("Invalid expression"):
        return BadExpression(f"did not expect {quoted(token.text)} here", token.start)
    if description.startswith("The number of provided arguments"):
        return BadExpression(f"too many arguments before {quoted(token.text)}", token.start)
    return BadExpression(f"something is missing near {quoted(token.text)}", token.start)


def _bound(tree: exp.Expr) -> None:
    """A chain of operators is as deep as it is long; those of `and` and `or` are taken apart without descending."""
    level: list[exp.Expr] = [tree]
    depth = 0
    while level:
        if depth > MAX_CHAIN + 2 * MAX_NESTING:
            raise BadExpression(f"more than {MAX_CHAIN} operators in a row", place(level[0]))
        depth += 1
        level = [child for node in level for child in operands(node)]


def operands(node: exp.Expr) -> list[exp.Expr]:
    """What stands directly in a node: for `and` and `or`, all that the same word joins."""
    if not isinstance(node, (exp.And, exp.Or)):
        return list(node.iter_expressions())
    kind = type(node)
    found: list[exp.Expr] = []
    waiting: list[exp.Expr] = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, kind):
            waiting += [one.expression, one.this]
        else:
            found.append(one)
    return found
