"""The matrix library of the workers: how many threads it gets, and how idle ones wait.

Both are said in the environment, because the library reads it once, when numpy is loaded.
"""

from __future__ import annotations

import os
from typing import Final

from protocol import Pipeline

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
IDLE: Final = {"OPENBLAS_THREAD_TIMEOUT": "19"}
"""OpenBLAS's idle threads spin for 2^19 cycles instead of 2^26: with several workers a core they
take it from whoever has work. Of 2^14 to 2^22 this was the best for locked training."""


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads(pipeline: Pipeline) -> int:
    """Threads a worker: what the pipeline says, else so that all cores are busy and none twice.

    Where one layer at a time computes, because the rule is locked, it may use every core.
    """
    if pipeline.train.threads:
        return pipeline.train.threads
    if pipeline.rule == "backprop":
        return cores()
    return max(1, cores() // (len(pipeline.processes) - 1))  # the source multiplies nothing


def environment(count: int) -> dict[str, str]:
    """The environment of a worker with `count` threads."""
    return {**IDLE, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
