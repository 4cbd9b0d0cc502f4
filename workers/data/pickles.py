"""Reads plain data from a pickle without unpickling: nothing that a pickle names is called.

`pickletools` splits a pickle into instructions. This module interprets those for dicts with string
keys, lists, tuples, strings, bytes, integers, and uint8 arrays exactly as numpy pickles them
(protocols 2 to 4). A pickle with any other instruction is refused.
"""

from __future__ import annotations

import pickletools
import textwrap
import warnings
from enum import Enum, auto
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError


class _Symbol(Enum):
    """Objects that a pickle may name, and placeholders for unfinished objects."""

    RECONSTRUCT = auto()
    NDARRAY = auto()
    DTYPE = auto()
    UINT8 = auto()
    EMPTY_ARRAY = auto()
    BRACKET = auto()


_GLOBALS: Final = {
    "numpy.core.multiarray _reconstruct": _Symbol.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Symbol.RECONSTRUCT,
    "numpy ndarray": _Symbol.NDARRAY,
    "numpy dtype": _Symbol.DTYPE,
}
_LITERALS: Final = (
    *("BININT", "BININT1", "BININT2", "LONG1"),
    *("SHORT_BINSTRING", "BINSTRING", "SHORT_BINUNICODE", "BINUNICODE"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(content: bytes, label: str) -> object:
    """The object pickled in `content`; a str of Python 2 is decoded as Latin-1.

    Raises DataError that begins with `label` for anything but plain data.
    """
    interpreter = _Interpreter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickletools warns about escapes in names
            for code, argument, _ in pickletools.genops(content):
                interpreter.step(code.name, argument)
        return interpreter.result()
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{label}: is not a pickle of plain data: {textwrap.shorten(str(error), 160)}"
        ) from error


class _Interpreter:
    """Interprets the instructions that plain data need, on a stack and a memo."""

    def __init__(self) -> None:
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}

    def result(self) -> object:
        """The one object on the stack."""
        (made,) = self._stack
        return made

    def step(self, name: str, argument: object) -> None:
        """Execute one instruction. Raises ValueError for one that plain data do not need."""
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT") and isinstance(argument, int):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET") and isinstance(argument, int):
            stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._build(name, argument)

    def _build(self, name: str, argument: object) -> None:
        stack = self._stack
        match name:
            case "MARK":
                stack.append(_Symbol.BRACKET)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "TUPLE":
                stack.append(tuple(self._pop_to_bracket()))
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS":
                self._extend(self._pop_to_bracket())
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self._update([key, value])
            case "SETITEMS":
                self._update(self._pop_to_bracket())
            case "GLOBAL":
                stack.append(_known(str(argument)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if not (isinstance(module, str) and isinstance(attribute, str)):
                    raise ValueError("names an object by something that is not a string")
                stack.append(_known(f"{module} {attribute}"))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_reduced(function, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1] = _built(stack[-1], state)
            case _:
                raise ValueError(f"holds the instruction {name}")

    def _pop_to_bracket(self) -> list[object]:
        items = []
        while (item := self._stack.pop()) is not _Symbol.BRACKET:
            items.append(item)
        return items[::-1]

    def _extend(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("appends to something that is not a list")
        target.extend(items)

    def _update(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise ValueError("sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise ValueError("has a key that is not a string")
            target[key] = value


def _known(name: str) -> _Symbol:
    if name not in _GLOBALS:
        raise ValueError(f"names {name!r:.100}")
    return _GLOBALS[name]


def _reduced(function: object, arguments: object) -> _Symbol:
    match function, arguments:
        case _Symbol.RECONSTRUCT, (_Symbol.NDARRAY, (0,), "b" | b"b"):
            return _Symbol.EMPTY_ARRAY
        case _Symbol.DTYPE, ("u1", 0, 1):
            return _Symbol.UINT8
    raise ValueError("calls something other than an array of uint8")


def _built(target: object, state: object) -> _Symbol | NDArray[np.uint8]:
    match target, state:
        case _Symbol.UINT8, (3, "|", None, None, None, -1, -1, 0):
            return _Symbol.UINT8
        case _Symbol.EMPTY_ARRAY, (1, tuple(shape), _Symbol.UINT8, bool(f), str() | bytes() as raw):
            content = raw.encode("latin-1") if isinstance(raw, str) else raw
            return np.frombuffer(content, np.uint8).reshape(shape, order="F" if f else "C")
    raise ValueError("builds something other than an array of uint8")
