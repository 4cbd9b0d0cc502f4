"""Convolutions of images, channels last.

A convolution is one matrix product once every window of the image is a row of a matrix. That matrix
is kernel² times larger than the images, so it is built for a few images at a time, in a buffer that
stays in the caches, and built again in the backward pass: copying is much faster than the product,
and nothing of that size is kept. A last column of ones adds the bias and, in the backward pass,
sums its gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from workers.nn.image import image_shape, window_count
from workers.nn.module import Floats, Shape, Views
from workers.nn.product import multiply

BLOCK: Final = 1 << 18
"""Numbers in the matrix of windows, but at least one image; the fastest of 2^16 to 2^19."""
SPARE: Final = 16
"""Numbers (one cache line) between rows, which may otherwise be a power of two apart."""


class _Windows(NamedTuple):
    """`counts` (rows, columns) windows of `size`, every `stride`; the first begins at -`before`."""

    size: tuple[int, int]
    stride: int
    before: tuple[int, int]
    counts: tuple[int, int]

    def numbers(self, channels: int) -> int:
        """The size of the matrix of one image."""
        return math.prod(self.counts) * (math.prod(self.size) * channels + 1)

    def blocks(self, x: Floats) -> Iterator[tuple[slice, Floats]]:
        """The windows of a few images of `x` at a time, as rows of a matrix that end in a one.

        Numbers that are neighbours in `x` are copied together: those of a row of one window or, if
        there are few channels, those of a row of windows, with the matrix transposed in memory.
        Numbers outside the image are zero. Each block overwrites the one before it.
        """
        n, channels = len(x), x.shape[3]
        (height, width), (rows, columns) = self.size, self.counts
        length = height * width * channels + 1
        block = max(1, min(n, BLOCK // self.numbers(channels)))
        turned = width * channels < columns
        sides = [(p - 1) * self.stride + s for p, s in zip(self.counts, self.size, strict=True)]
        frame = _filled(0, (block, *sides, channels), turned, x.dtype)
        matrix = _filled(1, (block, rows, columns, length), turned, x.dtype)
        target = matrix[..., :-1].reshape(block, rows, columns, height, width, channels)
        every = slice(None, None, self.stride)
        source = sliding_window_view(frame, self.size, (1, 2))[:, every, every].transpose(
            0, 1, 2, 4, 5, 3
        )
        inner, outer = zip(*map(_overlap, sides, self.before, x.shape[1:3]), strict=True)
        for start in range(0, n, block):
            images = slice(start, min(start + block, n))
            here = images.stop - start
            frame[:here, *inner] = x[images, *outer]
            target[:here] = source[:here]
            yield images, matrix[:here].reshape(-1, length)


def _filled(value: float, shape: Shape, turned: bool, dtype: np.dtype[np.floating]) -> Floats:
    """An array of `shape`; with the last axis first in memory if it is `turned`.

    The spare numbers behind each row keep the rows off the same cache lines.
    """
    if not turned:
        return np.full(shape, value, dtype)
    *others, last = shape
    rows = np.full((last, math.prod(others) + SPARE), value, dtype)[:, :-SPARE]
    return np.moveaxis(rows.reshape(last, *others), 0, -1)


def _overlap(side: int, before: int, length: int) -> tuple[slice, slice]:
    """The overlap of an image's side with a frame that begins `before` it, in frame and image."""
    first = max(0, -before)
    last = max(first, min(length, side - before))
    return slice(first + before, last + before), slice(first, last)


class Conv:
    """Cross-correlation of (h, w, c) with `channels` kernels of (kernel, kernel, c), plus bias.

    The weight has the shape (kernel, kernel, c, channels): that of PyTorch's Conv2d with its axes
    reordered. `pad` zeros surround the image; "same", for stride 1, keeps its size. Weight and bias
    are initially uniform in ±1/√(kernel² c), as in PyTorch, or zero. Raises ValueError if no window
    fits.
    """

    kind = "conv"

    def __init__(
        self,
        shape: Shape,
        channels: int,
        kernel: int,
        stride: int = 1,
        pad: int | str = 0,
        zero: bool = False,
    ) -> None:
        height, width, inputs = self._input = image_shape(shape)
        if isinstance(pad, str):
            if stride != 1:
                raise ValueError("pad same needs stride 1")
            before, sides = (kernel - 1) // 2, (height, width)
        else:
            before = pad
            rows = window_count(height, kernel, stride, pad)
            sides = rows, window_count(width, kernel, stride, pad)
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
        """About how many numbers a pass holds besides images and gradients."""
        back = self._windows._replace(counts=self._input[:2])
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
            multiply(rows, matrix, y[images].reshape(-1, outputs))
        return y, x

    def backward(self, p: Views, g: Views, cache: object, dy: Floats, need_dx: bool) -> Floats:
        x = cast(Floats, cache)
        image_batch = x.reshape(len(x), *self._input)
        if need_dx:
            np.add.reduce(dy.reshape(-1, self.output[-1]), axis=0, out=g["bias"])
            return self._input_gradient(p["weight"], g["weight"], image_batch, dy).reshape(x.shape)
        outputs = self.output[-1]
        sums: Floats = np.zeros((p["weight"].size // outputs + 1, outputs), dy.dtype)
        part = np.empty_like(sums)
        for images, rows in self._windows.blocks(image_batch):
            sums += np.matmul(rows.T, dy[images].reshape(-1, outputs), out=part)
        g["weight"][...] = sums[:-1].reshape(g["weight"].shape)
        g["bias"][...] = sums[-1]
        return dy

    def _input_gradient(self, weight: Floats, dw: Floats, x: Floats, dy: Floats) -> Floats:
        """The gradient by the images `x`; the gradient by `weight` is written to `dw`.

        The former is the gradient `dy` by the output, correlated with the rotated kernel. The
        latter is computed from the same windows, times the pixel that each of them belongs to. A
        pixel meets only every stride-th tap of the kernel, and its position decides which tap is
        the first; the pixels with the same first tap form one correlation.
        """
        kernel, stride = len(weight), self._windows.stride
        inputs = weight.shape[2]
        dx: Floats = np.zeros(x.shape, dy.dtype)
        dw[...] = 0
        sides = zip(self._windows.before, self._input[:2], strict=True)
        for v, h in itertools.product(*(_phases(kernel, stride, *side) for side in sides)):
            size, before, counts = zip(v[2:], h[2:], strict=True)
            turned = weight[v.taps, h.taps][::-1, ::-1].swapaxes(2, 3)
            matrix = np.zeros((turned.size // inputs + 1, inputs), dy.dtype)
            matrix[:-1] = turned.reshape(-1, inputs)
            sums, part = np.zeros_like(matrix), np.empty_like(matrix)
            for images, rows in _Windows(size, 1, before, counts).blocks(dy):
                pixels = x[images, v.pixels, h.pixels]
                products = np.empty(pixels.shape, dy.dtype)
                multiply(rows, matrix, products.reshape(-1, inputs))
                dx[images, v.pixels, h.pixels] = products
                sums += np.matmul(rows.T, pixels.reshape(-1, inputs), out=part)
            dw[v.taps, h.taps] = sums[:-1].reshape(turned.shape).swapaxes(2, 3)[::-1, ::-1]
        return dx


class _Phase(NamedTuple):
    """The pixels of a side that meet the same `taps` of the kernel, `size` of them.

    They are `windows` windows on the output's gradient; the first begins at -`before`.
    """

    taps: slice
    pixels: slice
    size: int
    before: int
    windows: int


def _phases(kernel: int, stride: int, pad: int, length: int) -> Iterator[_Phase]:
    for first in range(min(stride, kernel)):
        begin = (first - pad) % stride
        if begin < length:
            size = len(range(first, kernel, stride))
            before = size - 1 - (begin + pad - first) // stride
            windows = len(range(begin, length, stride))
            taps, pixels = slice(first, None, stride), slice(begin, None, stride)
            yield _Phase(taps, pixels, size, before, windows)
