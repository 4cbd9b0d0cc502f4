"""The number of each message, and how control messages are laid out, derived from their classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias, get_args, get_origin, get_type_hints

from protocol.messages import (
    Activation,
    Array,
    Credit,
    DataMessage,
    DatasetReady,
    Died,
    Enrol,
    Evaluated,
    Failed,
    Go,
    Goodbye,
    Gradient,
    Hello,
    Launch,
    Leave,
    Marker,
    Message,
    Ping,
    Pong,
    Ready,
    Refused,
    Report,
    Start,
    State,
    Stop,
    Upload,
    Welcome,
)

KINDS: Final[dict[int, type[Message]]] = {
    1: Activation,
    2: Gradient,
    3: Credit,
    4: Marker,
    16: Hello,
    17: Start,
    18: Ready,
    19: Go,
    20: Report,
    21: Evaluated,
    22: Failed,
    23: State,
    24: Stop,
    25: Leave,
    26: Ping,
    27: Pong,
    28: DatasetReady,
    32: Enrol,
    33: Welcome,
    34: Refused,
    35: Launch,
    36: Died,
    37: Upload,
    38: Goodbye,
}
Check: TypeAlias = Callable[[object], bool]


def _check(hint: object) -> Check:
    """The test that a decoded field must pass to have the type `hint`."""
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        return lambda value: isinstance(value, str) and value in choices
    if hint == (float | None):
        return lambda value: value is None or isinstance(value, float)
    if hint == tuple[str, ...]:
        return lambda value: type(value) is tuple and all(isinstance(v, str) for v in value)
    kind = get_origin(hint) or hint
    if kind is int:
        return lambda value: type(value) is int and 0 <= value < 1 << 63
    if kind is dict:
        return lambda value: type(value) is dict and all(isinstance(k, str) for k in value)
    if kind in (str, float, bool):
        return lambda value: type(value) is kind
    raise TypeError(f"a message cannot have a field of type {hint!r}")


@dataclass(frozen=True, slots=True)
class Schema:
    """How one message class is laid out: its fields in order, arrays behind all others.

    `values` and `arrays` take the fields of either sort from a message, and `make` makes a message
    of both together. `count` is the number of arrays, None if the last field is a tuple of any
    number of them.
    """

    kind: int
    message: type[Message]
    names: tuple[str, ...]
    checks: tuple[Check, ...]
    count: int | None
    values: Callable[[Message], tuple[object, ...]]
    arrays: Callable[[Message], tuple[Array, ...]]
    make: Callable[[tuple[object, ...]], Message]


def _schema(kind: int, message: type[Message]) -> Schema:
    hints = get_type_hints(message)
    arrays = tuple(name for name in hints if hints[name] == Array)
    many = tuple(name for name in hints if hints[name] == tuple[Array, ...])
    names = tuple(name for name in hints if name not in arrays + many)
    if names + (many or arrays) != tuple(hints):
        raise TypeError(f"{message.__name__}: arrays must stand behind all other fields")
    make: Callable[..., Message] = message
    return Schema(
        kind,
        message,
        names=names,
        checks=tuple(_check(hints[name]) for name in names),
        count=None if many else len(arrays),
        values=_getter(names),
        arrays=attrgetter(*many) if many else _getter(arrays),
        make=lambda fields: make(*fields),
    )


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that returns the fields `names` of a message as a tuple."""
    match names:
        case ():
            return lambda _: ()
        case (name,):
            return lambda message: (getattr(message, name),)
        case _:
            return attrgetter(*names)


BY_KIND: Final = {
    kind: _schema(kind, message)
    for kind, message in KINDS.items()
    if message not in get_args(DataMessage)
}
"""Of control messages; data messages have a binary header."""
BY_CLASS: Final = {schema.message: schema for schema in BY_KIND.values()}
