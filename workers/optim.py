"""Optimisers over one flat vector of parameters, and the learning rate's schedule."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from workers.nn import Floats

LAST_DROP: Final = 300
"""After more drops than this a learning rate is no number any more, but nothing."""
BLOCK: Final = 1 << 15
"""Parameters handled at a time: five float32 vectors of this length stay in a core's L2 cache."""


class Optimizer(Protocol):
    """Turns gradients into updates. `count` is the number of updates made."""

    count: int

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        """Move `parameters` in place against `scale * gradients`; `gradients` is used up."""

    def named(self) -> dict[str, Floats]:
        """The vectors that it keeps, by name, in the order of the parameters."""


class Adam:
    """Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1, in the form of its section 2.

    The corrections of both moments are folded into the rate and epsilon.
    """

    beta1: Final = 0.9
    beta2: Final = 0.999
    epsilon: Final = 1e-8

    def __init__(self, size: int, dtype: np.typing.DTypeLike = np.float32) -> None:
        self.count = 0
        self._mean: Floats = np.zeros(size, dtype)
        self._square: Floats = np.zeros(size, dtype)
        self._root: Floats = np.empty(min(size, BLOCK), dtype)

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        self.count += 1
        correction = math.sqrt(1 - self.beta2**self.count)
        rate = lr * correction / (1 - self.beta1**self.count)
        epsilon = self.epsilon * correction
        for start in range(0, len(parameters), BLOCK):
            block = slice(start, start + BLOCK)
            g, m, v = gradients[block], self._mean[block], self._square[block]
            root = self._root[: len(g)]
            m *= self.beta1
            np.multiply(g, (1 - self.beta1) * scale, out=root)
            m += root
            np.multiply(g, g, out=g)
            g *= (1 - self.beta2) * scale * scale
            v *= self.beta2
            v += g
            np.sqrt(v, out=root)
            root += epsilon
            np.divide(m, root, out=root)
            root *= rate
            parameters[block] -= root

    def named(self) -> dict[str, Floats]:
        return {"first_moment": self._mean, "second_moment": self._square}


class Sgd:
    """Stochastic gradient descent with momentum, as in PyTorch: b = μ b + g, p -= lr b."""

    def __init__(self, size: int, momentum: float, dtype: np.typing.DTypeLike = np.float32) -> None:
        self.count = 0
        self._momentum = momentum
        self._velocity: Floats = np.zeros(size, dtype)

    def step(self, parameters: Floats, gradients: Floats, lr: float, scale: float) -> None:
        self.count += 1
        for start in range(0, len(parameters), BLOCK):
            block = slice(start, start + BLOCK)
            g, velocity = gradients[block], self._velocity[block]
            velocity *= self._momentum
            g *= scale
            velocity += g
            np.multiply(velocity, lr, out=g)
            parameters[block] -= g

    def named(self) -> dict[str, Floats]:
        return {"velocity": self._velocity}


def learning_rate(lr: float, drops: Sequence[int], step: int) -> float:
    """`lr`, divided by 10 for each of the ascending `drops` that `step` has reached."""
    reached = bisect_right(drops, step)
    return lr / 10.0**reached if reached <= LAST_DROP else 0.0
