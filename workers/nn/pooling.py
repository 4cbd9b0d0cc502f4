"""Pooling: the maximum or the average of windows of images, channels last.

Windows are pooled along their rows and then along their columns. This is faster than both at once
and gives the same result, since a window's first maximum is the first one in the first row that has
it. A few images are pooled at a time, so that the result of the first pass stays in the L2 cache.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from workers.nn.image import image_shape, window_count
from workers.nn.module import Floats, Shape, Stateless, Views

BLOCK: Final = 1 << 18
"""Numbers pooled at a time, but at least one image; the fastest of 2^16 to 2^22."""
_ROWS: Final = 1
_COLUMNS: Final = 2
Numbers: TypeAlias = npt.NDArray[np.unsignedinteger]


class _Taken(NamedTuple):
    """For a block of images: the column taken in each row of each window, and the row taken."""

    columns: Numbers | None
    rows: Numbers | None


class _Pool(Stateless, ABC):
    """Windows of (size, size), one every `stride`, with `pad` around the image, as in PyTorch.

    `stride` is the size unless given. Raises ValueError if no window fits.
    """

    _padding = 0.0
    """The value of the numbers around the image."""

    def __init__(self, shape: Shape, size: int, stride: int | None = None, pad: int = 0) -> None:
        height, width, channels = self._image = image_shape(shape)
        if 2 * pad > size:
            raise ValueError(f"a pad of {pad} is more than half the window")
        self._shape, self._size, self._stride, self._pad = shape, size, stride or size, pad
        sides = (window_count(side, size, self._stride, pad) for side in (height, width))
        super().__init__((*sides, channels))

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        batch = x.reshape(len(x), *self._image)
        y = np.empty((len(x), *self.output), x.dtype)
        cache: list[_Taken] = []
        for images in self._blocks(len(x)):
            between, columns = self._pool(self._elements(self._framed(batch[images]), _COLUMNS))
            y[images], rows = self._pool(self._elements(between, _ROWS))
            cache.append(_Taken(columns, rows))
        return y, cache

    def _blocks(self, n: int) -> Iterator[slice]:
        count = max(1, BLOCK // math.prod(self._image))
        return (slice(start, start + count) for start in range(0, n, count))

    def _framed(self, x: Floats) -> Floats:
        if not self._pad:
            return x
        around = (self._pad, self._pad)
        return np.pad(x, ((0, 0), around, around, (0, 0)), constant_values=self._padding)

    def backward(
        self,
        p: Views,  # noqa: ARG002
        g: Views,  # noqa: ARG002
        cache: object,
        dy: Floats,
        need_dx: bool,
    ) -> Floats:
        if not need_dx:
            return dy
        dx = np.empty((len(dy), *self._image), dy.dtype)
        height, width, channels = self._image
        frame = (height + 2 * self._pad, width + 2 * self._pad, channels)
        inside = slice(self._pad, -self._pad or None)
        taken = cast(list[_Taken], cache)
        for images, (columns, rows) in zip(self._blocks(len(dy)), taken, strict=True):
            part = dy[images]
            part = self._spread(part, rows, (len(part), frame[0], *self.output[1:]), _ROWS)
            part = self._spread(part, columns, (len(part), *frame), _COLUMNS)
            dx[images] = part[:, inside, inside]
        return dx.reshape(len(dy), *self._shape)

    def _elements(self, x: Floats, axis: int) -> list[Floats]:
        """The first, second … element of every window along `axis`; views of `x`."""
        last = (self.output[axis - 1] - 1) * self._stride + 1
        before = (slice(None),) * axis
        return [x[*before, slice(t, t + last, self._stride)] for t in range(self._size)]

    def _spread(self, dy: Floats, taken: Numbers | None, shape: Shape, axis: int) -> Floats:
        """The gradient, of `shape`, by what was pooled along `axis`."""
        dx: Floats = np.zeros(shape, dy.dtype)
        for t, element in enumerate(self._elements(dx, axis)):
            part = self._share(dy, taken, t)
            if self._stride < self._size:
                element += part
            else:
                element[...] = part
        return dx

    @abstractmethod
    def _pool(self, elements: list[Floats]) -> tuple[Floats, Numbers | None]:
        """The pooled value of every window, and the index of the element taken."""

    @abstractmethod
    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:
        """The part of the gradient that belongs to element `t` of every window."""


class MaxPool(_Pool):
    """The maximum of every window; its gradient goes to the first element that has it."""

    kind = "maxpool"
    _padding = -np.inf

    def _pool(self, elements: list[Floats]) -> tuple[Floats, Numbers | None]:
        most = elements[0]
        number = np.min_scalar_type(len(elements))
        taken = np.zeros(most.shape, number)
        for t, element in enumerate(elements[1:], 1):
            np.maximum(taken, (element > most) * number.type(t), out=taken)
            most = np.maximum(most, element)
        return most, taken

    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:
        return dy * (taken == t)


class AvgPool(_Pool):
    """The mean of every window, including the padding around the image."""

    kind = "avgpool"

    def _pool(self, elements: list[Floats]) -> tuple[Floats, Numbers | None]:
        total = elements[0] / self._size
        for element in elements[1:]:
            total += element / self._size
        return total, None

    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:  # noqa: ARG002
        return dy / self._size
