"""Pooling: the maximum or the average of windows of pictures, channels last.

Windows are pooled along their rows and then along their columns: quicker than all at once, and
the same, for a window's first maximum is the first one of the first row that has it. Some pictures
at a time, so that what is between the two stays in the L2 cache.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from workers.nn.image import picture, places
from workers.nn.module import Floats, Shape, Stateless, Views

BLOCK: Final = 1 << 18
"""Numbers pooled at a time; of 2^16 to 2^22 the quickest. One picture at least."""
_ROWS: Final = 1
_COLUMNS: Final = 2
Numbers: TypeAlias = npt.NDArray[np.unsignedinteger]


class _Taken(NamedTuple):
    """Of some pictures, which column of a window was taken in each row, and which row."""

    columns: Numbers | None
    rows: Numbers | None


class _Pool(Stateless, ABC):
    """Windows of (size, size), every `stride`, with `pad` around the picture, as in PyTorch.

    `stride` is the size unless given. Raises ValueError where they do not fit.
    """

    _beyond = 0.0
    """What lies around the picture."""

    def __init__(self, shape: Shape, size: int, stride: int | None = None, pad: int = 0) -> None:
        height, width, channels = self._picture = picture(shape)
        if 2 * pad > size:
            raise ValueError(f"a pad of {pad} is more than half the window")
        self._shape, self._size, self._stride, self._pad = shape, size, stride or size, pad
        sides = (places(side, size, self._stride, pad) for side in (height, width))
        super().__init__((*sides, channels))

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        pictures = x.reshape(len(x), *self._picture)
        y = np.empty((len(x), *self.output), x.dtype)
        cache: list[_Taken] = []
        for images in self._blocks(len(x)):
            between, columns = self._pool(self._taps(self._framed(pictures[images]), _COLUMNS))
            y[images], rows = self._pool(self._taps(between, _ROWS))
            cache.append(_Taken(columns, rows))
        return y, cache

    def _blocks(self, n: int) -> Iterator[slice]:
        count = max(1, BLOCK // math.prod(self._picture))
        return (slice(start, start + count) for start in range(0, n, count))

    def _framed(self, x: Floats) -> Floats:
        if not self._pad:
            return x
        around = (self._pad, self._pad)
        return np.pad(x, ((0, 0), around, around, (0, 0)), constant_values=self._beyond)

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
        dx = np.empty((len(dy), *self._picture), dy.dtype)
        height, width, channels = self._picture
        frame = (height + 2 * self._pad, width + 2 * self._pad, channels)
        inside = slice(self._pad, -self._pad or None)
        taken = cast(list[_Taken], cache)
        for images, (columns, rows) in zip(self._blocks(len(dy)), taken, strict=True):
            part = dy[images]
            part = self._spread(part, rows, (len(part), frame[0], *self.output[1:]), _ROWS)
            part = self._spread(part, columns, (len(part), *frame), _COLUMNS)
            dx[images] = part[:, inside, inside]
        return dx.reshape(len(dy), *self._shape)

    def _taps(self, x: Floats, axis: int) -> list[Floats]:
        """The first, second … number of every window along `axis`; views of `x`."""
        last = (self.output[axis - 1] - 1) * self._stride + 1
        before = (slice(None),) * axis
        return [x[*before, slice(t, t + last, self._stride)] for t in range(self._size)]

    def _spread(self, dy: Floats, taken: Numbers | None, shape: Shape, axis: int) -> Floats:
        """The gradient by what was pooled along `axis`, of `shape`."""
        dx: Floats = np.zeros(shape, dy.dtype)
        for t, tap in enumerate(self._taps(dx, axis)):
            part = self._share(dy, taken, t)
            if self._stride < self._size:
                tap += part
            else:
                tap[...] = part
        return dx

    @abstractmethod
    def _pool(self, taps: list[Floats]) -> tuple[Floats, Numbers | None]:
        """Of every window, and which of its numbers was taken."""

    @abstractmethod
    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:
        """The part of the gradient that goes to number `t` of every window."""


class MaxPool(_Pool):
    """The largest number of every window. The gradient goes to the first of them."""

    word = "maxpool"
    _beyond = -np.inf

    def _pool(self, taps: list[Floats]) -> tuple[Floats, Numbers | None]:
        most = taps[0]
        number = np.min_scalar_type(len(taps))
        taken = np.zeros(most.shape, number)
        for t, tap in enumerate(taps[1:], 1):
            np.maximum(taken, (tap > most) * number.type(t), out=taken)
            most = np.maximum(most, tap)
        return most, taken

    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:
        return dy * (taken == t)


class AvgPool(_Pool):
    """The mean of every window, of which what lies around the picture is a part."""

    word = "avgpool"

    def _pool(self, taps: list[Floats]) -> tuple[Floats, Numbers | None]:
        total = taps[0] / self._size
        for tap in taps[1:]:
            total += tap / self._size
        return total, None

    def _share(self, dy: Floats, taken: Numbers | None, t: int) -> Floats:  # noqa: ARG002
        return dy / self._size
