"""Messages and arrays of all kinds for the tests of the codec, and how to compare them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints
from unittest.mock import patch

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from protocol import Array, Message, State, encode
from protocol.codec import limits
from protocol.codec.arrays import DTYPES
from protocol.codec.schema import KINDS

NUMBER = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
LEAF = NUMBER | st.text() | st.binary()
JSON = st.recursive(
    LEAF, lambda x: st.lists(x).map(tuple) | st.dictionaries(st.text(), x), max_leaves=6
)
MEMORY_ORDERS: list[Callable[[Array], Array]] = [
    lambda a: a,
    lambda a: a.T,
    lambda a: a[::-1] if a.ndim else a,
    lambda a: a[..., ::2] if a.ndim else a,
    lambda a: np.broadcast_to(a, (2, *a.shape)),
    lambda a: a.astype(a.dtype.newbyteorder(">")).T,
]


def arrays() -> st.SearchStrategy[Array]:
    """Arrays of every dtype, of 0 to 5 axes, empty ones too, in every memory order."""
    shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=3)
    whole = st.sampled_from(list(DTYPES.values())).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
    return st.builds(lambda array, order: order(array), whole, st.sampled_from(MEMORY_ORDERS))


TYPES: dict[object, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**63 - 1),
    str: st.text(),
    bool: st.booleans(),
    float: st.floats(),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
    float | None: st.none() | st.floats(),
    dict[str, object]: st.dictionaries(st.text(), JSON, max_size=4),
    Array: arrays(),
}


def _state(name: str, step: int, metadata: dict[str, object], named: dict[str, Array]) -> State:
    return State(name, step, metadata, tuple(named), tuple(named.values()))


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of one class with any fields."""
    if kind is State:
        named = st.dictionaries(st.text(), arrays(), max_size=3)
        return st.builds(_state, TYPES[str], TYPES[int], TYPES[dict[str, object]], named)
    made = {}
    for name, hint in get_type_hints(kind).items():
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        made[name] = st.sampled_from(choices) if choices else TYPES[hint]  # KeyError: add the type
    return st.builds(kind, **made)


ANY_MESSAGE = st.sampled_from(list(KINDS.values())).flatmap(messages)


def frames_of(message: Message, inline: int = 0) -> list[bytes]:
    """The frames of `message` as a socket delivers them, byte by byte as they lie in memory.

    Arrays travel inside the header up to `inline` bytes: by default none but empty ones.
    """
    with patch.object(limits, "INLINE", inline):
        frames = encode(message)
    assert all(f.flags.c_contiguous for f in frames if isinstance(f, np.ndarray))
    return [f if isinstance(f, bytes) else f.tobytes() for f in frames]


def comparable(value: object) -> object:
    """`value` in a form that is equal if every significant bit is, NaN included."""
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"))
        return little.dtype.str, little.shape, little.tobytes()
    return [comparable(item) for item in value] if isinstance(value, tuple) else repr(value)


def named_fields(message: Message) -> dict[str, object]:
    """The fields of `message` by their names."""
    return {name: getattr(message, name) for name in get_type_hints(type(message))}


def content(message: Message) -> list[object]:
    """The class and all fields of `message` in a form that can be compared."""
    return [type(message), *map(comparable, named_fields(message).values())]
