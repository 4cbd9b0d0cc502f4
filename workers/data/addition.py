"""The addition of two numbers, bit by bit: a generated data set that needs no file.

The task of A. Trask, "Deep Learning without Backpropagation" (2017), an introduction to
synthetic gradients: https://iamtrask.github.io/2017/03/21/synthetic-gradients/. There as here
the network is judged on the examples that it learns from; the numbers are drawn anew here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.data.dataset import Dataset

EXAMPLES = 100
_BITS = 8
_SEED = 0


def load() -> Dataset:
    """100 sums: x `(100, 16)` is the bits of two numbers of 0 to 127, y `(100, 8)` of their sum.

    All is float32, each number 8 bits with the highest first; the test set is the training set.
    """
    numbers = np.random.default_rng(_SEED).integers(1 << (_BITS - 1), size=(EXAMPLES, 2))
    x, y = _bits(numbers), _bits(numbers.sum(axis=1, keepdims=True))
    return Dataset("addition", x, y, x, y, classes=_BITS, scale=1.0)


def _bits(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """The bits of each row of numbers below 256, side by side."""
    return np.unpackbits(numbers.astype(np.uint8), axis=1).astype(np.float32)
