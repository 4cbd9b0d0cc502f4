"""Synthetic-gradient models: what a layer believes its gradient will be.

M(h, c) guesses the gradient of the summed loss by the activation h, from h itself and, where it
is conditioned, from the labels c (arXiv 1608.05343, sections 2.1 and 3.1). Its last module starts
at zero, so the first guesses are zero and early training is not thrown off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from workers.nn import BatchNorm, Floats, Labels, Linear, Module, Relu, Shape, Stack, targets
from workers.optim import Optimizer


class SyntheticGradient:
    """M(h, c): linear, or with hidden layers of (linear, batch-norm, ReLU).

    `classes` is the width of the condition c, joined to h as one-hot rows or target values; 0 for
    a model that does not see the labels.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        hidden: Sequence[int],
        rng: np.random.Generator,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self._features = math.prod(shape)
        self._classes = classes
        modules: list[Module] = []
        width = self._features + classes
        for units in hidden:
            modules += [Linear((width,), units), BatchNorm((units,)), Relu((units,))]
            width = units
        modules.append(Linear((width,), self._features, zero=True))
        self.stack = Stack(modules, rng, dtype=dtype)

    def guess(self, h: Floats, labels: Labels) -> tuple[Floats, list[object]]:
        """The synthetic gradient for `h`, (n, *features), and what `teach` needs to know of it."""
        x = h.reshape(len(h), self._features)
        if self._classes:
            x = np.concatenate((x, targets(labels, self._classes, x.dtype)), axis=1)
        gradient, caches = self.stack.forward(x, train=True)
        return gradient.reshape(h.shape), caches

    def teach(self, caches: list[object], error: Floats, optimizer: Optimizer, lr: float) -> None:
        """One step on half the squared `error` = guess - truth, the mean over the batch."""
        n = len(error)
        self.stack.backward(caches, error.reshape(n, self._features), need_dx=False)
        optimizer.step(self.stack.parameters, self.stack.gradients, lr, 1 / n)
