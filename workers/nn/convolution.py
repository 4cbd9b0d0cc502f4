"""Convolutions of pictures, channels last.

A convolution is one matrix product once every window of the picture is a row. That matrix is
kernel² times larger than the pictures, so it is made for a few of them at a time, in a buffer
that stays in the caches, and anew in the backward pass: copying is far quicker than the
product, and nothing of that size is kept. A last column of ones adds the bias and, in the windows
of the input, sums its gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from workers.nn.image import picture, places
from workers.nn.module import Floats, Shape, Views

BLOCK: Final = 1 << 18
"""Numbers in the matrix of windows; of 2^16 to 2^19 the quickest. One picture at least."""
SPARE: Final = 16
"""Numbers, a line of the cache, between rows that may else be a power of two apart."""
SMALL: Final = 10**6
"""The most multiplications for which OpenBLAS takes its kernels for small products, of `AVX512`."""
AVX512: Final = ("SkylakeX", "Cooperlake", "SapphireRapids")
FEW: Final = range(4, 33)
"""Columns; fewer are quicker all at once, and 64 gain nothing any more but with short rows."""
ROWS: Final = 12
MOST_ROWS: Final = 48
"""Rows at a time: a multiple of the former, 1.1 to 1.8 times as quick as all at once."""


class _Windows(NamedTuple):
    """`places` (rows, columns) windows of `size`, every `stride`; the first begins at -`before`."""

    size: tuple[int, int]
    stride: int
    before: tuple[int, int]
    places: tuple[int, int]

    def numbers(self, channels: int) -> int:
        """In the matrix of one picture."""
        return math.prod(self.places) * (math.prod(self.size) * channels + 1)

    def blocks(self, x: Floats) -> Iterator[tuple[slice, Floats]]:
        """The windows of some pictures of `x` at a time, as rows of a matrix that ends in a one.

        Numbers that are neighbours in `x` are copied together: those of a window's row or, where
        it has few channels, those of the windows' row, with the matrix the other way round in
        memory. What is beyond the picture is zero. The next block overwrites the last.
        """
        n, channels = len(x), x.shape[3]
        (height, width), (rows, columns) = self.size, self.places
        length = height * width * channels + 1
        count = max(1, min(n, BLOCK // self.numbers(channels)))
        turned = width * channels < columns
        sides = [(p - 1) * self.stride + s for p, s in zip(self.places, self.size, strict=True)]
        frame = _filled(0, (count, *sides, channels), turned, x.dtype)
        matrix = _filled(1, (count, rows, columns, length), turned, x.dtype)
        target = matrix[..., :-1].reshape(count, rows, columns, height, width, channels)
        every = slice(None, None, self.stride)
        source = sliding_window_view(frame, self.size, (1, 2))[:, every, every].transpose(
            0, 1, 2, 4, 5, 3
        )
        put, take = zip(*map(_overlap, sides, self.before, x.shape[1:3]), strict=True)
        for start in range(0, n, count):
            images = slice(start, min(start + count, n))
            here = images.stop - start
            frame[:here, *put] = x[images, *take]
            target[:here] = source[:here]
            yield images, matrix[:here].reshape(-1, length)


def _filled(value: float, shape: Shape, turned: bool, dtype: np.dtype[np.floating]) -> Floats:
    """An array of `shape`, with the last axis first in memory where it is `turned`.

    What is spared behind each of its rows keeps them off the same lines of the cache.
    """
    if not turned:
        return np.full(shape, value, dtype)
    *others, last = shape
    rows = np.full((last, math.prod(others) + SPARE), value, dtype)[:, :-SPARE]
    return np.moveaxis(rows.reshape(last, *others), 0, -1)


def _overlap(side: int, before: int, length: int) -> tuple[slice, slice]:
    """Where a picture's side of `length` lies in a frame that begins `before` it; in both."""
    first = max(0, -before)
    last = max(first, min(length, side - before))
    return slice(first + before, last + before), slice(first, last)


@cache
def _small_products() -> bool:
    """Whether the matrix library has kernels for small products that copy neither factor."""
    from threadpoolctl import threadpool_info  # takes time that other layers need not

    return any(pool.get("architecture") in AVX512 for pool in threadpool_info())


def _product(rows: Floats, matrix: Floats, out: Floats) -> None:
    """`out` = `rows` @ `matrix`.

    To copy `rows` into the order that a kernel wants takes longer than to multiply them by few
    columns. So that a small product needs no copy, they are multiplied a few at a time.
    """
    length, columns = matrix.shape
    count = min(MOST_ROWS, SMALL // matrix.size // ROWS * ROWS)
    whole = 0
    if columns in FEW and count and _small_products():
        whole = len(rows) // count * count
        few = rows[:whole].reshape(-1, count, length)
        np.matmul(few, matrix, out=out[:whole].reshape(-1, count, columns))
    np.matmul(rows[whole:], matrix, out=out[whole:])


class Conv:
    """Cross-correlation of (h, w, c) with `channels` kernels of (kernel, kernel, c), plus bias.

    The weight has the shape (kernel, kernel, c, channels): that of PyTorch's Conv2d with its axes
    turned. `pad` zeros lie around the picture; "same", for stride 1, keeps its size. Both start
    uniform in ±1/√(kernel² c), as in PyTorch, or at zero. Raises ValueError where it does not fit.
    """

    word = "conv"

    def __init__(
        self,
        shape: Shape,
        channels: int,
        kernel: int,
        stride: int = 1,
        pad: int | str = 0,
        zero: bool = False,
    ) -> None:
        height, width, inputs = self._input = picture(shape)
        if isinstance(pad, str):
            if stride != 1:
                raise ValueError("pad same needs stride 1")
            before, sides = (kernel - 1) // 2, (height, width)
        else:
            before = pad
            sides = places(height, kernel, stride, pad), places(width, kernel, stride, pad)
        self._windows = _Windows((kernel, kernel), stride, (before, before), sides)
        self.output: Shape = (*sides, channels)
        self.buffers: dict[str, Floats] = {}
        self.parameters: dict[str, Shape] = {
            "weight": (kernel, kernel, inputs, channels),
            "bias": (channels,),
        }
        self._zero = zero

    @property
    def scratch(self) -> int:
        """About how many numbers a pass holds besides pictures and gradients."""
        back = self._windows._replace(places=self._input[:2])
        return max(BLOCK, self._windows.numbers(self._input[2]), back.numbers(self.output[2]))

    def initial(self, rng: np.random.Generator) -> dict[str, Floats]:
        if self._zero:
            return {name: np.zeros(shape) for name, shape in self.parameters.items()}
        bound = 1 / math.sqrt(math.prod(self.parameters["weight"][:3]))
        return {n: rng.uniform(-bound, bound, shape) for n, shape in self.parameters.items()}

    def forward(self, p: Views, x: Floats, train: bool) -> tuple[Floats, object]:  # noqa: ARG002
        outputs = self.output[-1]
        matrix = np.concatenate((p["weight"].reshape(-1, outputs), p["bias"][None]))
        y = np.empty((len(x), *self.output), x.dtype)
        for images, rows in self._windows.blocks(x.reshape(len(x), *self._input)):
            _product(rows, matrix, y[images].reshape(-1, outputs))
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        x = cast(Floats, cache)
        pictures = x.reshape(len(x), *self._input)
        if need_dx:
            np.add.reduce(dy.reshape(-1, self.output[-1]), axis=0, out=g["bias"])
            return self._spread(p["weight"], g["weight"], pictures, dy).reshape(x.shape)
        outputs = self.output[-1]
        slopes: Floats = np.zeros((p["weight"].size // outputs + 1, outputs), dy.dtype)
        part = np.empty_like(slopes)
        for images, rows in self._windows.blocks(pictures):
            slopes += np.matmul(rows.T, dy[images].reshape(-1, outputs), out=part)
        g["weight"][...] = slopes[:-1].reshape(g["weight"].shape)
        g["bias"][...] = slopes[-1]
        return dy

    def _spread(self, weight: Floats, slope: Floats, x: Floats, dy: Floats) -> Floats:
        """The gradient by the pictures `x`; that by `weight` goes into `slope`.

        The first is the gradient `dy` by the output, correlated with the turned kernel. The second
        is made of the same windows, times the pixel that each of them belongs to. A pixel meets
        every stride-th tap of the kernel only, the first of which depends on where it lies; the
        pixels that have it in common are a correlation of their own.
        """
        kernel, stride = len(weight), self._windows.stride
        inputs = weight.shape[2]
        dx: Floats = np.zeros(x.shape, dy.dtype)
        slope[...] = 0
        sides = zip(self._windows.before, self._input[:2], strict=True)
        for v, h in itertools.product(*(_phases(kernel, stride, *side) for side in sides)):
            size, before, places = zip(v[2:], h[2:], strict=True)
            turned = weight[v.taps, h.taps][::-1, ::-1].swapaxes(2, 3)
            matrix = np.zeros((turned.size // inputs + 1, inputs), dy.dtype)
            matrix[:-1] = turned.reshape(-1, inputs)
            slopes, part = np.zeros_like(matrix), np.empty_like(matrix)
            for images, rows in _Windows(size, 1, before, places).blocks(dy):
                pixels = x[images, v.pixels, h.pixels]
                products = np.empty(pixels.shape, dy.dtype)
                _product(rows, matrix, products.reshape(-1, inputs))
                dx[images, v.pixels, h.pixels] = products
                slopes += np.matmul(rows.T, pixels.reshape(-1, inputs), out=part)
            slope[v.taps, h.taps] = slopes[:-1].reshape(turned.shape).swapaxes(2, 3)[::-1, ::-1]
        return dx


class _Phase(NamedTuple):
    """The pixels of a side that meet the same `taps` of the kernel, `size` of them.

    They are `places` windows on the output's gradient; the first begins at -`before`.
    """

    taps: slice
    pixels: slice
    size: int
    before: int
    places: int


def _phases(kernel: int, stride: int, pad: int, length: int) -> Iterator[_Phase]:
    for first in range(min(stride, kernel)):
        begin = (first - pad) % stride
        if begin < length:
            size = len(range(first, kernel, stride))
            before = size - 1 - (begin + pad - first) // stride
            places = len(range(begin, length, stride))
            taps, pixels = slice(first, None, stride), slice(begin, None, stride)
            yield _Phase(taps, pixels, size, before, places)
