"""Why a model refuses a document, in our words: pydantic's errors become issues.

Messages say what was expected and what was found. Nothing that stands in an Authorization's spec is repeated, its
provider and method aside: a secret that someone put there by mistake must not go on into a log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reconciler.core.issue import Issue, Path, found, one_of
from reconciler.core.operator_file import KIND as SETTINGS
from reconciler.core.operator_file import OperatorFile
from reconciler.core.policy_file import KIND as POLICY
from reconciler.core.policy_file import PolicyFile
from reconciler.core.spec import MODELS, Headless, Model, Reference
from reconciler.core.suggest import did_you_mean

#: The model of each kind of file that this speaks of: the documents, the operator's settings, a policy.
_MODELS: Final[Mapping[str, type[Model]]] = {**MODELS, SETTINGS: OperatorFile, POLICY: PolicyFile}

#: What was expected, by pydantic's error type.
_EXPECTED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
}

#: What a mapping may look like, where a shorter form is often tried.
_FORMS: Final[Mapping[Path, str]] = {
    ("spec", "schedule"): " such as {every: 1h}",
    ("spec", "retry"): " such as {initial: 30s, failAfter: 10h}",
    ("spec", "quiet"): ' such as {from: "22:00", to: "06:00"}',
    ("spec", "columns"): " such as {ordered_at: timestamp}",
    ("spec", "timestamp"): " such as {field: ordered_at}",
    ("spec", "attributes"): " such as {spent: {from: amount, merge: sum}}",
    ("metadata", "labels"): " such as {team: growth}",
    ("metadata",): " such as {name: import-orders}",
}

_LITERAL: Final = (
    "expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec"
)


def explain(error: ValidationError, kind: str) -> Iterator[Issue]:
    """Every error of a document of a known kind."""
    details = error.errors(include_url=False, include_input=True)
    return (_issue(detail, kind) for detail in details)


def _issue(detail: Any, kind: str) -> Issue:
    path: Path = tuple(detail["loc"])
    on_key = path[-1:] == ("[key]",)
    path = path[:-1] if on_key else path
    name, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if name == "spec":
        at = tuple(_index(part) for part in context["at"].split(".") if part)
        return Issue(path + at, context["message"], on_key or context["on_key"])
    if name == "extra_forbidden":
        return _unknown_field(path, kind)
    if name == "missing":
        return Issue(path, "this field is required, and missing")
    shown = "" if is_secretive(kind, path) else f", found {found(value)}"
    if is_secretive(kind, path) and (len(path) == 3 or name == "model_type"):
        return Issue(path, _LITERAL)
    return Issue(path, f"expected {_expected(name, context, path)}{shown}{_hint(name, value, context)}", on_key)


def _index(part: str) -> str | int:
    return int(part) if part.isdigit() else part


def is_secretive(kind: str, path: Path) -> bool:
    """Whether a value at this path must not be repeated."""
    if kind == SETTINGS:
        return any(_model_at(kind, path[:length]) is Reference for length in range(1, len(path) + 1))
    return kind == "Authorization" and path[:1] == ("spec",) and path[1:] not in (("provider",), ("method",))


def _expected(name: str, context: Mapping[str, Any], path: Path) -> str:
    if name in _EXPECTED:
        return _EXPECTED[name] + (_FORMS.get(path, "") if name in ("model_type", "dict_type") else "")
    if name == "literal_error":
        return one_of(_choices(context))
    if name in _BOUNDS:
        return _BOUNDS[name](context)
    return f"something else ({name})"


def _hint(name: str, value: Any, context: Mapping[str, Any]) -> str:
    return did_you_mean(value, _choices(context)) if name == "literal_error" else ""


def _choices(context: Mapping[str, Any]) -> list[str]:
    return [part.strip("'") for part in context["expected"].replace(" or ", ", ").split(", ")]


_BOUNDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than_equal": lambda context: f"a number of at least {context['ge']:g}",
    "less_than_equal": lambda context: f"a number of at most {context['le']:g}",
    "too_short": lambda context: f"at least {context['min_length']} of them",
    "too_long": lambda context: f"at most {context['max_length']} of them",
    "finite_number": lambda _: "a finite number",
}


# --- unknown fields -------------------------------------------------------------------------------------------------


def _unknown_field(path: Path, kind: str) -> Issue:
    *above, name = path
    siblings = list(fields_at(kind, tuple(above)))
    hint = did_you_mean(name, siblings)
    if is_secretive(kind, path) and (kind == SETTINGS or len(path) > 2):
        message = f"expected exactly one of {one_of(siblings)}, found another field{hint}"
        return Issue(tuple(above), message)
    return Issue(path, f"unknown field{hint or _elsewhere(kind, path)}", on_key=True)


def _elsewhere(kind: str, path: Path) -> str:
    """A field at the wrong depth: `schedule` beside `spec`, `title` within it."""
    for place in ("spec", "metadata"):
        if path[:-1] != (place,) and len(path) <= 2 and path[-1] in list(fields_at(kind, (place,))):
            return f"; '{path[-1]}' belongs in {place}"
    return ""


def fields_at(kind: str, path: Path) -> Iterator[str]:
    """The fields of the model that reads the mapping at `path`; none where it takes any key."""
    model = _model_at(kind, path)
    if model is not None:
        yield from (field.alias or name for name, field in model.model_fields.items())


def _model_at(kind: str, path: Path) -> type[BaseModel] | None:
    """The model that reads the value at `path`; None where none does."""
    model: type[BaseModel] | None = _MODELS.get(kind, Headless)
    members: type[BaseModel] | None = None  # of a list, or of a mapping from any name
    for part in path:
        annotation = None if model is None else _annotation(model, part)
        model, members = members, None
        if annotation is not None:
            inner = _first_model(annotation)
            model, members = (None, inner) if get_origin(annotation) in (dict, list) else (inner, None)
    return model


def _annotation(model: type[BaseModel], part: str | int) -> Any:
    return next((field.annotation for name, field in model.model_fields.items() if part in (field.alias, name)), None)


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for one in get_args(annotation) if (model := _first_model(one))), None)
