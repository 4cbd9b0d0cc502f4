"""The grammar of `layer.modules`: modules from texts such as "linear 256" or "conv 64 5 stride 2".

The kind of a module is followed by its arguments and then, in any order, by named options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from protocol import SpecError, did_you_mean
from workers.nn.activation import Relu, Sigmoid, Tanh
from workers.nn.convolution import Conv
from workers.nn.dense import Flatten, Linear
from workers.nn.module import Module, Shape
from workers.nn.normalisation import BatchNorm, Standardise
from workers.nn.pooling import AvgPool, MaxPool
from workers.nn.regularisation import Dropout

LONGEST: Final = 9
"""The most digits of a number in a module's text."""


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


class _Signature(NamedTuple):
    """What a kind of module takes, and what makes one."""

    make: Callable[..., Module]
    arguments: Mapping[str, _Reader] = {}
    options: Mapping[str, _Reader] = {}

    def usage(self, name: str) -> str:
        """Its usage, such as 'maxpool <size> [stride <n>] [pad <n>]'."""
        arguments = (f"<{argument}>" for argument in self.arguments)
        options = (f"[{option} {_SHAPES[reader]}]" for option, reader in self.options.items())
        return " ".join([name, *arguments, *options])

    def read(self, values: Sequence[str]) -> dict[str, object] | None:
        """Arguments and options by name; None if `values` do not have the form of the usage.

        Raises ValueError if one of them has the wrong type or range.
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

MODULES: Final[dict[str, _Signature]] = {
    "linear": _Signature(Linear, {"outputs": _count}),
    "conv": _Signature(
        Conv, {"channels": _count, "kernel": _count}, {"stride": _count, "pad": _padding}
    ),
    "maxpool": _Signature(MaxPool, {"size": _count}, _WINDOWS),
    "avgpool": _Signature(AvgPool, {"size": _count}, _WINDOWS),
    "batchnorm": _Signature(BatchNorm),
    "standardise": _Signature(Standardise),
    "dropout": _Signature(Dropout, {"fraction": _fraction}),
    "relu": _Signature(Relu),
    "tanh": _Signature(Tanh),
    "sigmoid": _Signature(Sigmoid),
    "flatten": _Signature(Flatten),
}


def reader(text: str, key: str) -> Callable[[Shape], Module]:
    """A function that makes the module that `text` describes from the shape of its inputs.

    Raises SpecError with `key` for a wrong text; the function raises it for a shape that does not
    fit.
    """
    name, *values = text.split() or [""]
    signature = MODULES.get(name)
    if signature is None:
        raise SpecError(f"{key}: unknown module {text!r}{did_you_mean(name, MODULES)}")
    usage = signature.usage(name)

    def wrong(error: ValueError) -> SpecError:
        return SpecError(f"{key}: {text!r:.60}: {error}; usage: {usage!r}")

    try:
        read = signature.read(values)
    except ValueError as error:
        raise wrong(error) from None
    if read is None:
        raise SpecError(f"{key}: {text!r:.60} should be {usage!r}")

    def make(shape: Shape) -> Module:
        try:
            return signature.make(shape, **read)
        except ValueError as error:
            raise wrong(error) from None

    return make


def module(text: str, shape: Shape, key: str) -> Module:
    """The module that `text` describes, for inputs of `shape`. Raises SpecError with `key`."""
    return reader(text, key)(shape)


def readers(texts: Sequence[str], key: str) -> list[Callable[[Shape], Module]]:
    """The `reader` of each of `texts`."""
    return [reader(text, f"{key}.modules[{i}]") for i, text in enumerate(texts)]


def modules(texts: Sequence[str], shape: Shape, key: str) -> list[Module]:
    """The modules that `texts` describe, each for the output of the one before it."""
    made: list[Module] = []
    for make in readers(texts, key):
        made.append(make(shape))
        shape = made[-1].output
    return made
