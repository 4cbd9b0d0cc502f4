"""Pooling: the maximum or the average of windows of pictures, channels last.

Windows are pooled along their rows and then along their columns: quicker than all at once, and
the same, for a window's first maximum is the first one of the first row that has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from workers.nn.module import Floats, Shape, Stateless, Views
from workers.nn.picture import picture, places

_ROWS: Final = 1
_COLUMNS: Final = 2
Numbers: TypeAlias = npt.NDArray[np.unsignedinteger]


class _Cache(NamedTuple):
    """The padded input's shape, and which of a window's columns and rows were taken."""

    shape: Shape
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
        x = x.reshape(len(x), *self._picture)
        if self._pad:
            around = (self._pad, self._pad)
            x = np.pad(x, ((0, 0), around, around, (0, 0)), constant_values=self._beyond)
        y, columns = self._pool(self._taps(x, _COLUMNS))
        y, rows = self._pool(self._taps(y, _ROWS))
        return y, _Cache(x.shape, columns, rows)

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
        shape, columns, rows = cast(_Cache, cache)
        between = (*shape[:2], *self.output[1:])
        dx = self._spread(dy, rows, between, _ROWS)
        dx = self._spread(dx, columns, shape, _COLUMNS)
        inside = slice(self._pad, -self._pad or None)
        return dx[:, inside, inside].reshape(len(dy), *self._shape)

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
