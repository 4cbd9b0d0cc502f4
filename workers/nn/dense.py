"""Fully connected layers, and the change of shape before them."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import numpy as np

from workers.nn.loss import Labels, targets
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


class Joined(NamedTuple):
    """Activations (n, …) and with them the labels, (n,) class numbers or (n, k) target values."""

    h: Floats
    c: Labels


class Conditioned(Linear):
    """y = h W + c V + b for `Joined` h and c, these as one-hot rows where they are class numbers.

    That is `Linear` of h and c in one row, `weight` is W and V below it, without that row being
    made: it would be a copy of h, and of V one row an example is all that is used.
    """

    def __init__(self, shape: Shape, classes: int, outputs: int, zero: bool = False) -> None:
        super().__init__((math.prod(shape) + classes,), outputs, zero)
        self._features, self._classes = math.prod(shape), classes

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        h, c = cast(Joined, x)
        w, v = self._parts(p["weight"])
        y = h.reshape(len(h), self._features) @ w
        if c.ndim == 1:
            y += (v + p["bias"])[c.astype(np.intp, copy=False)]
        else:
            y += targets(c, self._classes, y.dtype) @ v
            y += p["bias"]
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        h, c = cast(Joined, cache)
        w, v = self._parts(g["weight"])
        np.matmul(h.reshape(len(h), self._features).T, dy, out=w)
        np.matmul(targets(c, self._classes, dy.dtype).T, dy, out=v)
        np.add.reduce(v if c.ndim == 1 else dy, axis=0, out=g["bias"])
        return (dy @ self._parts(p["weight"])[0].T).reshape(h.shape) if need_dx else dy

    def _parts(self, weight: Floats) -> tuple[Floats, Floats]:
        return weight[: self._features], weight[self._features :]


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
