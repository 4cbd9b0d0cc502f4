"""What a module is: a function with parameters and its gradient, on numpy arrays.

Modules are pure but for their running statistics: what `backward` needs is returned by `forward`
as a cache, so several batches can be on their way at once. Parameters live outside, as views
into one flat vector a layer (`workers.nn.stack`), so an optimiser makes one pass.
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
    """One step of a layer. `n` below is the number of examples in a batch.

    `output` is the shape of an example behind it, `parameters` the shapes of its parameters.
    """

    word: str
    output: Shape
    buffers: dict[str, Floats]
    parameters: dict[str, Shape]

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        """The parameters to begin with, by name, in a fixed order; drawn from `rng`."""

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:
        """(n, *input) to (n, *output), and the cache that `backward` needs."""

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        """From the gradient by the output, (n, *output), to that by the input, (n, *input).

        Writes the parameters' gradients, summed over the batch, into `g`. Where `need_dx` is
        False the result is unspecified and may be `dy`, and sums may be made in another order.
        """


class Stateless:
    """A module without parameters that keeps the shape."""

    word = ""

    def __init__(self, shape: Shape) -> None:
        self.output = shape
        self.buffers: dict[str, Floats] = {}
        self.parameters: dict[str, Shape] = {}

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:  # noqa: ARG002
        return {}
