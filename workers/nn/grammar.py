"""Modules from words such as "linear 256": the grammar of `layer.modules`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from protocol import SpecError, nearest
from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.dense import Flatten, Linear
from workers.nn.module import Module, Shape
from workers.nn.normalisation import BatchNorm

LONGEST: Final = 9
"""Digits of a number in a module's text."""


class _Word(NamedTuple):
    make: Callable[..., Module]
    arguments: tuple[str, ...] = ()


WORDS: Final[dict[str, _Word]] = {
    "linear": _Word(Linear, ("outputs",)),
    "batchnorm": _Word(BatchNorm),
    "relu": _Word(Relu),
    "tanh": _Word(Tanh),
    "sigmoid": _Word(Sigmoid),
    "flatten": _Word(Flatten),
}


def module(text: str, shape: Shape, key: str) -> Module:
    """The module that `text` names, for inputs of `shape`. Raises SpecError that names `key`."""
    name, *numbers = text.split() or [""]
    word = WORDS.get(name)
    if word is None:
        raise SpecError(f"{key}: unknown module {text!r}{nearest(name, WORDS)}")
    if len(numbers) != len(word.arguments):
        usage = " ".join([name, *(f"<{argument}>" for argument in word.arguments)])
        raise SpecError(f"{key}: {text!r} should be {usage!r}")
    if not all(n.isdecimal() and len(n) <= LONGEST and int(n) > 0 for n in numbers):
        raise SpecError(
            f"{key}: {text!r:.60}: a positive whole number below 10^{LONGEST} is needed"
        )
    return word.make(shape, *map(int, numbers))


def modules(texts: Sequence[str], shape: Shape, key: str) -> list[Module]:
    """The modules that `texts` name, each fitted to the one before it."""
    made: list[Module] = []
    for i, text in enumerate(texts):
        made.append(module(text, shape, f"{key}.modules[{i}]"))
        shape = made[-1].output
    return made
