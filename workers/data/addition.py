"""The addition of two numbers, bit by bit: a generated data set.

The task of A. Trask, "Deep Learning without Backpropagation" (2017), an introduction to
synthetic gradients: https://iamtrask.github.io/2017/03/21/synthetic-gradients/. As there, the test
set is the training set. The numbers are drawn with a fixed seed of our own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from workers.data.dataset import Dataset

EXAMPLES = 100
_BITS = 8
_SEED = 0


def load() -> Dataset:
    """100 sums: x `(100, 16)` holds the bits of two numbers from 0 to 127, y `(100, 8)` their sum.

    All arrays are float32. A number has 8 bits, the most significant first.
    """
    numbers = np.random.default_rng(_SEED).integers(1 << (_BITS - 1), size=(EXAMPLES, 2))
    x, y = _bits(numbers), _bits(numbers.sum(axis=1, keepdims=True))
    return Dataset("addition", x, y, x, y, classes=_BITS, scale=1.0)


def _bits(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    """The concatenated bits of the numbers below 256 in each row."""
    return np.unpackbits(numbers.astype(np.uint8), axis=1).astype(np.float32)
