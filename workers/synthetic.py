"""Synthetic-gradient models: what a layer believes its gradient will be.

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

from workers.nn import (
    BatchNorm,
    Conv,
    Floats,
    Labels,
    Linear,
    Module,
    Relu,
    Shape,
    Stack,
    targets,
)
from workers.optim import Optimizer


class Guess(NamedTuple):
    """A synthetic gradient, (n, *features), and what the model needs to learn from the truth."""

    gradient: Floats
    x: Floats
    caches: list[object]
    version: int


def joined(shape: Shape, classes: int) -> Shape:
    """The shape of h with c behind it: in planes where h is a picture, else in one row."""
    *sides, last = shape if len(shape) == 3 else (math.prod(shape),)
    return (*sides, last + classes)


def model_modules(shape: Shape, classes: int, hidden: Sequence[int], kernel: int) -> list[Module]:
    """The modules of a gradient model, from h and c joined to the gradient.

    For pictures, activations of shape (h, w, c), they are convolutions that keep the size, with
    (kernel, kernel) weights; for all else linear.
    """
    modules: list[Module] = []
    inputs = joined(shape, classes)
    for units in hidden:
        modules.append(_affine(inputs, units, kernel))
        inputs = modules[-1].output
        modules += [BatchNorm(inputs), Relu(inputs)]
    return [*modules, _affine(inputs, joined(shape, 0)[-1], kernel, zero=True)]


def _affine(shape: Shape, outputs: int, kernel: int, zero: bool = False) -> Module:
    if len(shape) == 3:
        return Conv(shape, outputs, kernel, pad="same", zero=zero)
    return Linear(shape, outputs, zero)


class SyntheticGradient:
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
        self._shape = joined(shape, 0)
        self._classes = classes
        modules = model_modules(shape, classes, hidden, kernel)
        self.stack = Stack(modules, rng, dtype=dtype)
        self.optimizer = optimizer(len(self.stack.parameters))

    def guess(self, h: Floats, labels: Labels) -> Guess:
        """The synthetic gradient for the activation `h`, (n, *features)."""
        x = h.reshape(len(h), *self._shape)
        if self._classes:
            c = targets(labels, self._classes, x.dtype)
            c = c.reshape(len(h), *(1 for _ in self._shape[1:]), self._classes)
            x = np.concatenate((x, np.broadcast_to(c, (*x.shape[:-1], self._classes))), axis=-1)
        gradient, caches = self.stack.forward(x, train=True)
        return Guess(gradient.reshape(h.shape), x, caches, self.optimizer.count)

    def teach(self, guess: Guess, truth: Floats, lr: float) -> None:
        """One step on half the squared error to the true gradient, the mean over the batch.

        The error is that of the model as it is now. Where it has learnt since the guess was made
        it guesses again: learning from the error of an older self is a delayed feedback, which at
        usual rates makes it swing.
        """
        gradient, caches = guess.gradient.reshape(len(truth), *self._shape), guess.caches
        if guess.version != self.optimizer.count:
            gradient, caches = self.stack.forward(guess.x, train=True)
        error = gradient - truth.reshape(gradient.shape)
        self.stack.backward(caches, error, need_dx=False)
        self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / len(truth))
