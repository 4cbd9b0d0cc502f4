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

from workers.nn import BatchNorm, Floats, Labels, Linear, Module, Relu, Shape, Stack, targets
from workers.optim import Optimizer


class Guess(NamedTuple):
    """A synthetic gradient, (n, *features), and what the model needs to learn from the truth."""

    gradient: Floats
    x: Floats
    caches: list[object]
    version: int


def model_modules(shape: Shape, classes: int, hidden: Sequence[int]) -> list[Module]:
    """The modules of a gradient model, from h and c joined to the gradient in a row."""
    features = math.prod(shape)
    modules: list[Module] = []
    width = features + classes
    for units in hidden:
        modules += [Linear((width,), units), BatchNorm((units,)), Relu((units,))]
        width = units
    return [*modules, Linear((width,), features, zero=True)]


class SyntheticGradient:
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
        self._features = math.prod(shape)
        self._classes = classes
        modules = model_modules(shape, classes, hidden)
        self.stack = Stack(modules, rng, dtype=dtype)
        self.optimizer = optimizer(len(self.stack.parameters))

    def guess(self, h: Floats, labels: Labels) -> Guess:
        """The synthetic gradient for the activation `h`, (n, *features)."""
        x = h.reshape(len(h), self._features)
        if self._classes:
            x = np.concatenate((x, targets(labels, self._classes, x.dtype)), axis=1)
        gradient, caches = self.stack.forward(x, train=True)
        return Guess(gradient.reshape(h.shape), x, caches, self.optimizer.count)

    def teach(self, guess: Guess, truth: Floats, lr: float) -> None:
        """One step on half the squared error to the true gradient, the mean over the batch.

        The error is that of the model as it is now. Where it has learnt since the guess was made
        it guesses again: learning from the error of an older self is a delayed feedback, which at
        usual rates makes it swing.
        """
        gradient, caches = guess.gradient.reshape(len(truth), -1), guess.caches
        if guess.version != self.optimizer.count:
            gradient, caches = self.stack.forward(guess.x, train=True)
        error = gradient - truth.reshape(gradient.shape)
        self.stack.backward(caches, error, need_dx=False)
        self.optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / len(truth))
