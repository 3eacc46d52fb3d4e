"""Values whose classes cost a command little to have.

A dataclass of the standard library generates code for each class when its module is imported, for more than half a
millisecond, and a command pays for all the classes of the modules that it needs. Here they share code. `dataclass` is the
standard one, but that frozen classes compare, hash and show themselves, and refuse to be changed, by the same functions;
what makes a value of a class is written when the first one is made, and in most commands none is of most classes. For a
`Value` nothing is generated; that is for values of which there are many kinds and few of each, because each takes longer to
make.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import FrozenInstanceError
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        """The same as `dataclasses.dataclass`, which the type checker takes it for."""
        return _made(cls, options) if cls is not None else lambda one: _made(one, options)


def _made(cls: type, options: dict[str, Any]) -> Any:
    is_ours = options.get("frozen") and options.get("eq", True) and options.get("init", True)
    if not is_ours or options.get("order"):
        return dataclasses.dataclass(**options)(cls)
    for name, shared in _SHARED.items():
        if name not in cls.__dict__:
            setattr(cls, name, shared)
    cls.__doc__ = cls.__doc__ or cls.__name__  # else the signature is found out to be written there
    generates_nothing = {**options, "frozen": False, "init": False, "eq": False, "repr": False}
    made: Any = dataclasses.dataclass(**generates_nothing)(cls)
    made._compared = staticmethod(_reader([one.name for one in dataclasses.fields(made) if one.compare]))
    if "__init__" not in cls.__dict__:
        made.__init__ = _FirstInit(made)
    return made


def _reader(names: list[str]) -> Callable[[Any], Any]:
    """What is compared of a value: all of its fields in one step."""
    return attrgetter(*names) if names else lambda _: ()


class _FirstInit:
    """Stands where the `__init__` of a class will be, until somebody asks for it."""

    __slots__ = ("_of",)

    def __init__(self, of: type) -> None:
        self._of = of

    def __get__(self, value: Any, asked: type | None = None) -> Any:
        init = _init_of(self._of)
        self._of.__init__ = init  # type: ignore[misc]
        return init if value is None else init.__get__(value, asked)


def _init_of(cls: Any) -> Any:
    """The one that the standard library writes for a frozen class with the same fields."""
    fields = [(one.name, one.type, _field_like(one)) for one in dataclasses.fields(cls)]
    said = {"__doc__": cls.__name__}  # else the signature is found out to be written there
    after = {"__post_init__": cls.__post_init__} if hasattr(cls, "__post_init__") else {}
    twin: Any = dataclasses.make_dataclass(
        cls.__name__,
        fields,
        namespace=said | after,
        frozen=True,
        eq=False,
        repr=False,
        slots="__slots__" in cls.__dict__,
    )
    init = twin.__init__
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return init


def _field_like(one: dataclasses.Field[Any]) -> Any:
    default: Any = {
        name: value
        for name in ("default", "default_factory")
        if (value := getattr(one, name)) is not dataclasses.MISSING
    }
    return dataclasses.field(init=one.init, kw_only=bool(one.kw_only), **default)


def _equals(self: Any, other: Any) -> bool:
    return self._compared(self) == other._compared(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._compared(self))


def _shown(self: Any) -> str:
    said = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{type(self).__qualname__}({said})"


def _refuse(_self: Any, name: str, _: Any) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


_SHARED = {
    "__eq__": _equals,
    "__hash__": _hash,
    "__repr__": _shown,
    "__setattr__": _refuse,
    "__delattr__": _refuse_deletion,
    "__getstate__": _state,
    "__setstate__": _restore,
}


@dataclass_transform(frozen_default=True)
class Value:
    """Fields are what a subclass annotates, in that order; a class attribute of the same name is the default. Equal are values of
    the same class with equal fields."""

    __match_args__: ClassVar[Any] = ()

    def __init_subclass__(cls) -> None:
        cls.__match_args__ = tuple(inspect.get_annotations(cls))  # type: ignore[misc]

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self.__match_args__
        if len(values) > len(fields):
            raise TypeError(f"{type(self).__name__} takes {len(fields)} values, {len(values)} were given")
        given = dict(zip(fields, values, strict=False))
        for name, value in named.items():
            if name in given or name not in fields:
                raise TypeError(f"{type(self).__name__} has no field {name!r}, or it was given before")
            given[name] = value
        for name in fields:
            if name not in given and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs {name!r}")
        self.__dict__.update(given)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__match_args__)

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
        return f"{type(self).__name__}({said})"

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
