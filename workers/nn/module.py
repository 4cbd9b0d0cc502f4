"""The interface of a module: a function with parameters and its gradient, on numpy arrays.

Apart from running statistics, modules are pure: `forward` returns what `backward` needs as a cache,
so several batches can be in flight at once. The parameters of a layer are views into one flat
vector (`workers.nn.stack`), so an optimiser makes one pass over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.floating]
Shape: TypeAlias = tuple[int, ...]
Views: TypeAlias = Mapping[str, Floats]


class Module(Protocol):
    """One function of a layer. `n` below is the number of examples in a batch.

    `kind` is its name in pipeline files, `output` the shape of an example that it returns,
    `parameters` the shapes of its parameters and `buffers` its running statistics.
    """

    kind: str
    output: Shape
    buffers: dict[str, Floats]
    parameters: dict[str, Shape]

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        """The initial parameters by name, in a fixed order, drawn from `rng`."""

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:
        """Map (n, *input) to (n, *output); also returns the cache for `backward`."""

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        """Map the gradient by the output, (n, *output), to that by the input, (n, *input).

        Writes the parameters' gradients, summed over the batch, into `g`. If `need_dx` is False,
        the result is unspecified and may be `dy`, and sums may be computed in another order.
        """


class Stateless:
    """A module without parameters; its output has the shape of its input unless overridden."""

    kind = ""

    def __init__(self, shape: Shape) -> None:
        self.output = shape
        self.buffers: dict[str, Floats] = {}
        self.parameters: dict[str, Shape] = {}

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:  # noqa: ARG002
        return {}
