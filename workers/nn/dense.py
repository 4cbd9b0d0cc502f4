"""Fully connected layers, and the change of shape before them."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from workers.nn.module import Floats, Shape, Stateless, Views


class Linear:
    """y = x W + b, with W of shape (inputs, outputs). Inputs of any shape are flattened.

    Both start uniform in ±1/√inputs, as in PyTorch, or at zero.
    """

    word = "linear"

    def __init__(self, shape: Shape, outputs: int, zero: bool = False) -> None:
        self.inputs = math.prod(shape)
        self.output: Shape = (outputs,)
        self.buffers: dict[str, Floats] = {}
        self.parameters: dict[str, Shape] = {"weight": (self.inputs, outputs), "bias": (outputs,)}
        self._zero = zero

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        if self._zero:
            return {name: np.zeros(shape) for name, shape in self.parameters.items()}
        bound = 1 / math.sqrt(self.inputs)
        return {n: rng.uniform(-bound, bound, shape) for n, shape in self.parameters.items()}

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        y = x.reshape(len(x), self.inputs) @ p["weight"]
        y += p["bias"]
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        x = cast(Floats, cache)
        np.matmul(x.reshape(len(x), self.inputs).T, dy, out=g["weight"])
        np.add.reduce(dy, axis=0, out=g["bias"])
        return (dy @ p["weight"].T).reshape(x.shape) if need_dx else dy


class Flatten(Stateless):
    """(n, …) to (n, features)."""

    word = "flatten"

    def __init__(self, shape: Shape) -> None:
        super().__init__((math.prod(shape),))

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        return x.reshape(len(x), *self.output), x.shape

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,  # noqa: ARG002
    ) -> Floats:
        return dy.reshape(cast(Shape, cache))
