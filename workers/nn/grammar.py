"""Modules from words such as "linear 256" or "conv 64 5 stride 2": the grammar of `layer.modules`.

A word is followed by its arguments and then, in any order, by options with their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from protocol import SpecError, nearest
from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.convolution import Conv
from workers.nn.dense import Flatten, Linear
from workers.nn.module import Module, Shape
from workers.nn.normalisation import BatchNorm, Standardise
from workers.nn.pooling import AvgPool, MaxPool
from workers.nn.regularisation import Dropout

LONGEST: Final = 9
"""Digits of a number in a module's text."""


def _whole(text: str) -> int:
    if not text.isdecimal() or len(text) > LONGEST:
        raise ValueError(f"a whole number below 10^{LONGEST} is needed")
    return int(text)


def _count(text: str) -> int:
    number = _whole(text)
    if number == 0:
        raise ValueError("a positive whole number is needed")
    return number


def _padding(text: str) -> int | str:
    return text if text == "same" else _whole(text)


def _fraction(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or not 0 <= float(text) < 1:
        raise ValueError("a fraction in [0, 1) is needed, such as 0.5")
    return float(text)


_Reader = Callable[[str], object]


class _Word(NamedTuple):
    make: Callable[..., Module]
    arguments: Mapping[str, _Reader] = {}
    options: Mapping[str, _Reader] = {}

    def usage(self, name: str) -> str:
        """How to write it, such as 'maxpool <size> [stride <n>] [pad <n>]'."""
        arguments = (f"<{argument}>" for argument in self.arguments)
        options = (f"[{option} {_SHAPES[reader]}]" for option, reader in self.options.items())
        return " ".join([name, *arguments, *options])

    def read(self, values: Sequence[str]) -> dict[str, object] | None:
        """Arguments and options by name; None where `values` are not what the word takes.

        Raises ValueError where one of them is not a number of its kind.
        """
        given = len(self.arguments)
        names, numbers = values[given::2], values[given + 1 :: 2]
        if len(values) < given or len(names) != len(numbers) or len({*names}) != len(names):
            return None
        if not self.options.keys() >= {*names}:
            return None
        texts = dict(zip([*self.arguments, *names], [*values[:given], *numbers], strict=True))
        readers = {**self.arguments, **self.options}
        return {name: readers[name](text) for name, text in texts.items()}


_SHAPES: Final[Mapping[_Reader, str]] = {_count: "<n>", _whole: "<n>", _padding: "<n>|same"}
_WINDOWS: Final = {"stride": _count, "pad": _whole}

WORDS: Final[dict[str, _Word]] = {
    "linear": _Word(Linear, {"outputs": _count}),
    "conv": _Word(
        Conv, {"channels": _count, "kernel": _count}, {"stride": _count, "pad": _padding}
    ),
    "maxpool": _Word(MaxPool, {"size": _count}, _WINDOWS),
    "avgpool": _Word(AvgPool, {"size": _count}, _WINDOWS),
    "batchnorm": _Word(BatchNorm),
    "standardise": _Word(Standardise),
    "dropout": _Word(Dropout, {"fraction": _fraction}),
    "relu": _Word(Relu),
    "tanh": _Word(Tanh),
    "sigmoid": _Word(Sigmoid),
    "flatten": _Word(Flatten),
}


def reader(text: str, key: str) -> Callable[[Shape], Module]:
    """What makes the module that `text` names, given the shape of its inputs.

    Raises SpecError that names `key`, for the text at once and for the shape when that is known.
    """
    name, *values = text.split() or [""]
    word = WORDS.get(name)
    if word is None:
        raise SpecError(f"{key}: unknown module {text!r}{nearest(name, WORDS)}")
    usage = word.usage(name)

    def wrong(error: ValueError) -> SpecError:
        return SpecError(f"{key}: {text!r:.60}: {error}; usage: {usage!r}")

    try:
        read = word.read(values)
    except ValueError as error:
        raise wrong(error) from None
    if read is None:
        raise SpecError(f"{key}: {text!r:.60} should be {usage!r}")

    def make(shape: Shape) -> Module:
        try:
            return word.make(shape, **read)
        except ValueError as error:
            raise wrong(error) from None

    return make


def module(text: str, shape: Shape, key: str) -> Module:
    """The module that `text` names, for inputs of `shape`. Raises SpecError that names `key`."""
    return reader(text, key)(shape)


def readers(texts: Sequence[str], key: str) -> list[Callable[[Shape], Module]]:
    """The `reader` of each of `texts`."""
    return [reader(text, f"{key}.modules[{i}]") for i, text in enumerate(texts)]


def modules(texts: Sequence[str], shape: Shape, key: str) -> list[Module]:
    """The modules that `texts` name, each fitted to the one before it."""
    made: list[Module] = []
    for make in readers(texts, key):
        made.append(make(shape))
        shape = made[-1].output
    return made
