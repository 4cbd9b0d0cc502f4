"""Synthetic models: what a layer believes its gradient, or its input, will be.

M(h, c) guesses the gradient of the summed loss by the activation h, from h itself and, where it
is conditioned, from the labels c (arXiv 1608.05343, sections 2.1 and 3.1). Its last module starts
at zero, so the first guesses are zero and early training is not thrown off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workers.nn import BatchNorm, Floats, Labels, Linear, Module, Relu, Shape, Stack, targets
from workers.optim import Optimizer


class Guess(NamedTuple):
    """What a model made of `x`, (n, *shape), and what it needs to learn from the truth."""

    value: Floats
    x: Floats
    caches: list[object]
    version: int


def model_modules(shape: Shape, classes: int, hidden: Sequence[int]) -> list[Module]:
    """The modules of a gradient model, from h and c joined to the gradient in a row."""
    features = math.prod(shape)
    return _perceptron(features + classes, hidden, features, zero=True)


def input_modules(inputs: Shape, shape: Shape, hidden: Sequence[int]) -> list[Module]:
    """The modules of a synthetic-input model, from the network's input to a layer's, in a row."""
    return _perceptron(math.prod(inputs), hidden, math.prod(shape), zero=False)


def _perceptron(width: int, hidden: Sequence[int], outputs: int, zero: bool) -> list[Module]:
    modules: list[Module] = []
    for units in hidden:
        modules += [Linear((width,), units), BatchNorm((units,)), Relu((units,))]
        width = units
    return [*modules, Linear((width,), outputs, zero=zero)]


class Model:
    """Learns what the truth is for an x: the common part of both kinds of synthetic model."""

    def __init__(
        self, stack: Stack, shape: Shape, optimizer: Callable[[int], Optimizer]
    ) -> None:
        """`shape` is that of a guess about one example."""
        self.stack = stack
        self._shape = shape
        self.optimizer = optimizer(len(stack.parameters))

    def of(self, x: Floats) -> Guess:
        """The guess for `x` in the form that `stack` takes."""
        value, caches = self.stack.forward(x, train=True)
        return Guess(value.reshape(len(x), *self._shape), x, caches, self.optimizer.count)

    def teach(self, guess: Guess, truth: Floats, lr: float) -> None:
        """One step on half the squared error to the truth, the mean over the batch.

        The error is that of the model as it is now. Where it has learnt since the guess was made
        it guesses again: learning from the error of an older self is a delayed feedback, which at
        usual rates makes it swing.
        """
        value, caches = guess.value, guess.caches
        if guess.version != self.optimizer.count:
            value, caches = self.stack.forward(guess.x, train=True)
        value = value.reshape(len(truth), *self.stack.output)
        self.stack.backward(caches, value - truth.reshape(value.shape), need_dx=False)
        self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / len(truth))

    def facts(self, prefix: str) -> dict[str, object]:
        """What is to be kept of it beside arrays."""
        return {f"{prefix}_updates": self.optimizer.count}

    def named(self, prefix: str) -> dict[str, Floats]:
        """Its arrays and its optimiser's, by name; views, not copies."""
        named = {f"{prefix}.{name}": array for name, array in self.stack.named().items()}
        optimizer = self.optimizer.named().items()
        return named | {f"{prefix}.optimizer.{name}": array for name, array in optimizer}


class SyntheticGradient(Model):
    """M(h, c): linear, or with hidden layers of (linear, batch-norm, ReLU).

    `classes` is the width of the condition c, joined to h as one-hot rows or target values; 0 for
    a model that does not see the labels. `optimizer` makes one for so many parameters.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        optimizer: Callable[[int], Optimizer],
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self._classes = classes
        modules = model_modules(shape, classes, hidden)
        super().__init__(Stack(modules, rng, dtype=dtype), shape, optimizer)

    def joined(self, h: Floats, labels: Labels) -> Floats:
        """h and c as the model takes them."""
        x = h.reshape(len(h), math.prod(self._shape))
        if self._classes:
            x = np.concatenate((x, targets(labels, self._classes, x.dtype)), axis=1)
        return x

    def guess(self, h: Floats, labels: Labels) -> Guess:
        """The synthetic gradient for the activation `h`, (n, *features)."""
        return self.of(self.joined(h, labels))


class SyntheticInput(Model):
    """I(x): what a layer believes its input will be, from the network's own input x.

    `scale` is what integer inputs are multiplied by, `shape` that of the layer's input.
    """

    def __init__(
        self,
        inputs: Shape,
        shape: Shape,
        hidden: Sequence[int],
        rng: np.random.Generator,
        optimizer: Callable[[int], Optimizer],
        scale: float,
    ) -> None:
        modules = input_modules(inputs, shape, hidden)
        super().__init__(Stack(modules, rng, scale=scale), shape, optimizer)

    def guess(self, x: npt.NDArray[np.generic]) -> Guess:
        """The synthetic input, (n, *shape), for the network's input `x`, which is not kept."""
        entered = self.stack.enter(x.reshape(len(x), -1))
        return self.of(entered.copy() if np.may_share_memory(entered, x) else entered)
