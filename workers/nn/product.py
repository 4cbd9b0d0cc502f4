"""Matrix products of many rows by few columns."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from workers.nn.module import Floats

SMALL: Final = 10**6
"""Up to this many multiplications OpenBLAS uses its kernels for small products, on `AVX512`."""
AVX512: Final = ("SkylakeX", "Cooperlake", "SapphireRapids")
FEW: Final = range(4, 33)
"""Numbers of columns for which rows are split: fewer are faster in one product, and more gain
nothing."""
ROWS: Final = 12
MAX_ROWS: Final = 48
"""The most rows per product, a multiple of `ROWS`: 1.1 to 1.8 times as fast as one product."""


def architectures() -> set[str]:
    """The processors for which the loaded matrix libraries have chosen their kernels."""
    from threadpoolctl import threadpool_info  # slow to import, and only convolutions need it

    return {pool.get("architecture", "") for pool in threadpool_info()}


@cache
def small_products_need_no_copy() -> bool:
    """Whether the matrix library has kernels for small products that copy neither factor."""
    return not architectures().isdisjoint(AVX512)


def multiply(rows: Floats, matrix: Floats, out: Floats) -> None:
    """Set `out` to `rows` @ `matrix`.

    Copying `rows` into the order that a kernel needs takes longer than multiplying them by few
    columns. Products of a few rows each need no copy.
    """
    length, columns = matrix.shape
    count = min(MAX_ROWS, SMALL // matrix.size // ROWS * ROWS)
    whole = 0
    if columns in FEW and count and small_products_need_no_copy():
        whole = len(rows) // count * count
        few = rows[:whole].reshape(-1, count, length)
        np.matmul(few, matrix, out=out[:whole].reshape(-1, count, columns))
    np.matmul(rows[whole:], matrix, out=out[whole:])
