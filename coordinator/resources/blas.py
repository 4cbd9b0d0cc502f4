"""The threads of the workers' matrix library (BLAS): their number, and how idle threads wait.

Both are set in the environment of a worker, because the library reads it when numpy is loaded.
"""

from __future__ import annotations

import math
import os
import re
from typing import Final

from coordinator.resources.cpu_quota import quota
from protocol import Pipeline

THREAD_VARIABLES: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
IDLE: Final = {"OPENBLAS_THREAD_TIMEOUT": "19"}
"""OpenBLAS's idle threads spin for 2^19 cycles instead of 2^26: with several workers per processor
they take time from busy ones. Of 2^14 to 2^22 this was the best for the rule backprop."""


MAX_THREADS: Final = 1024
"""A larger number in the environment is ignored as a mistake."""
CPU_COUNT: Final = "PYTHON_CPU_COUNT"
_COUNT: Final = re.compile(r"\s*0*([1-9]\d{0,3})\s*(,.*)?", re.ASCII)


def cores() -> int:
    """The processor cores that this process may use, by affinity, CPU quota and PYTHON_CPU_COUNT.

    A quota is rounded up to whole cores.
    """
    return _limit()[0]


def _limit() -> tuple[int, str]:
    """The smallest limit of the cores and its name; "" if all cores of the host may be used."""
    limits = [(os.cpu_count() or 1, "")]
    if count := _count(CPU_COUNT):
        limits.insert(0, (count, CPU_COUNT))  # os.cpu_count of newer Pythons returns it too
    if hasattr(os, "sched_getaffinity"):
        limits.append((len(os.sched_getaffinity(0)), "affinity"))
    if limit := quota():
        limits.append((math.ceil(limit), f"CPU quota {round(limit, 2)}"))
    return min(limits, key=lambda limit: limit[0])


def _count(variable: str) -> int:
    """The number in the environment's `variable`; 0 if there is no valid one."""
    found = _COUNT.fullmatch(os.environ.get(variable, ""))
    return int(found[1]) if found and int(found[1]) <= MAX_THREADS else 0


def threads(pipeline: Pipeline) -> int:
    """Threads per worker: the pipeline's number, else the environment's, else a share of the cores.

    With the rule backprop one layer computes at a time, so each worker may use every core.
    """
    return pipeline.train.threads or environment_threads()[0] or _share(pipeline)


def environment_threads() -> tuple[int, str]:
    """The number of threads that the environment sets, and the variable that sets it.

    0 and "" for none. The variable of a library takes precedence over that of OpenMP.
    """
    for name in (*THREAD_VARIABLES[1:], THREAD_VARIABLES[0]):
        if count := _count(name):
            return count, name
    return 0, ""


def unused(pipeline: Pipeline) -> list[str]:
    """One line for each number in the environment that is not valid."""
    if pipeline.train.threads:
        return []
    values = {name: os.environ.get(name, "") for name in (*THREAD_VARIABLES, CPU_COUNT)}
    if values[CPU_COUNT] == "default":
        del values[CPU_COUNT]
    return [
        f"{name}={value[:40]}: is ignored; it is not a whole number from 1 to {MAX_THREADS}"
        for name, value in values.items()
        if value.strip() and not _count(name)
    ]


def reason(pipeline: Pipeline) -> str:
    """What determines `threads`; "" for a share of all cores of the host."""
    if pipeline.train.threads:
        return "train.threads"
    return environment_threads()[1] or _limit()[1]


def _share(pipeline: Pipeline) -> int:
    if pipeline.rule == "backprop":
        return cores()
    return max(1, cores() // (len(pipeline.workers) - 1))  # the source needs none


def environment(count: int) -> dict[str, str]:
    """The environment of a worker with `count` threads."""
    return {**IDLE, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
