"""Synthetic models: what a layer believes its gradient, or its input, will be.

M(h, c) guesses the gradient of the summed loss by the activation h, from h itself and, where it
is conditioned, from the labels c (arXiv 1608.05343, sections 2.1 and 3.1). Its last module starts
at zero, so the first guesses are zero and early training is not thrown off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from workers.nn import (
    BatchNorm,
    Conditioned,
    Conv,
    Floats,
    Joined,
    Labels,
    Linear,
    Module,
    Relu,
    Shape,
    Stack,
    targets,
)
from workers.nn.optim import Optimizer

Entered: TypeAlias = Floats | Joined
"""What a model guesses from, as its `stack` takes it."""


class Guess(NamedTuple):
    """What a model made of `x`, (n, *shape), and what it needs to learn from the truth."""

    value: Floats
    x: Entered
    caches: list[object]
    version: int


def conditioned(shape: Shape, classes: int) -> Shape:
    """The shape of h with c behind it: in planes where h is a picture, else in one row."""
    *sides, last = shape if len(shape) == 3 else (math.prod(shape),)
    return (*sides, last + classes)


def model_modules(shape: Shape, classes: int, hidden: Sequence[int], kernel: int) -> list[Module]:
    """The modules of a gradient model, from h and c joined to the gradient.

    For pictures, activations of shape (h, w, c), they are convolutions that keep the size, with
    (kernel, kernel) weights; for all else linear.
    """
    outputs = conditioned(shape, 0)[-1]
    made = _row(conditioned(shape, classes), hidden, outputs, kernel, zero=True)
    if classes and len(shape) != 3:
        made[0] = Conditioned(shape, classes, made[0].output[0], zero=not hidden)
    return made


def input_modules(inputs: Shape, shape: Shape, hidden: Sequence[int]) -> list[Module]:
    """The modules of a synthetic-input model, from the network's input to a layer's, in a row."""
    return _row((math.prod(inputs),), hidden, math.prod(shape))


def _row(
    inputs: Shape, hidden: Sequence[int], outputs: int, kernel: int = 0, zero: bool = False
) -> list[Module]:
    """Hidden layers, each with batch-norm and ReLU behind it, and a last one without."""
    modules: list[Module] = []
    for units in hidden:
        modules.append(_affine(inputs, units, kernel))
        inputs = modules[-1].output
        modules += [BatchNorm(inputs), Relu(inputs)]
    return [*modules, _affine(inputs, outputs, kernel, zero)]


def _affine(shape: Shape, outputs: int, kernel: int, zero: bool = False) -> Module:
    if len(shape) == 3:
        return Conv(shape, outputs, kernel, pad="same", zero=zero)
    return Linear(shape, outputs, zero)


class Model:
    """Learns what the truth is for an x: the common part of both kinds of synthetic model."""

    def __init__(self, stack: Stack, shape: Shape, optimizer: Callable[[int], Optimizer]) -> None:
        """`shape` is that of a guess about one example."""
        self.stack = stack
        self._shape = shape
        self.optimizer = optimizer(len(stack.parameters))

    def of(self, x: Entered) -> Guess:
        """The guess for `x`."""
        value, caches = self.stack.forward(x, train=True)
        return Guess(value.reshape(len(value), *self._shape), x, caches, self.optimizer.count)

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

    For pictures, activations of shape (h, w, c), convolutions stand in for the linear modules.
    `classes` is the width of the condition c, joined to h as one-hot rows or target values, which
    are constant planes for a picture; 0 for a model that does not see the labels. `optimizer`
    makes one for so many parameters.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        hidden: Sequence[int],
        kernel: int,
        rng: np.random.Generator,
        optimizer: Callable[[int], Optimizer],
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self._classes = classes
        modules = model_modules(shape, classes, hidden, kernel)
        super().__init__(Stack(modules, rng, dtype=dtype), shape, optimizer)

    def joined(self, h: Floats, labels: Labels) -> Entered:
        """h and c as the model takes them."""
        if not self._classes:
            return h
        if isinstance(self.stack.modules[0], Conditioned):
            return Joined(h, labels)
        c = targets(labels, self._classes, h.dtype).reshape(len(h), 1, 1, self._classes)
        planes = np.broadcast_to(c, (*h.shape[:-1], self._classes))
        return np.concatenate((h, planes), axis=-1)

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
