"""The kernels that matrix libraries use in benchmarks."""

from __future__ import annotations

import os
from typing import Final

KERNELS: Final = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""Variables that choose OpenBLAS's kernels, and no kernels of PyTorch."""


def let_libraries_choose_kernels() -> None:
    """Remove `KERNELS` from the environment, so that each library chooses for this processor."""
    for name in KERNELS:
        if os.environ.pop(name, None):
            print(f"without {name}, which the environment sets")
