"""The matrix library of the workers: how many threads it gets, and how idle ones wait.

Both are said in the environment, because the library reads it once, when numpy is loaded.
"""

from __future__ import annotations

import math
import os
import re
from typing import Final

from coordinator.quota import quota
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


_COUNT: Final = re.compile(r"\s*(\d{1,5})\s*(,.*)?")


def cores() -> int:
    """The processor cores that this process may use: by affinity, CPU quota and Python's own word.

    A quota of a part of a core counts as a whole one.
    """
    limit = quota()
    return _present() if limit is None else min(_present(), math.ceil(limit))


def threads(pipeline: Pipeline) -> int:
    """Threads a worker: what the pipeline says, else the user's environment, else a share.

    The share is such that all cores are busy and none twice. Where one layer at a time computes,
    because the rule is locked, it may use every core.
    """
    return pipeline.train.threads or asked()[0] or _share(pipeline)


def asked() -> tuple[int, str]:
    """The number of threads that the user asks for in the environment, and in which variable.

    0 and "" for none. Of several variables that of a certain library goes before OpenMP's.
    """
    for name in (*THREAD_VARIABLES[1:], THREAD_VARIABLES[0]):
        found = _COUNT.fullmatch(os.environ.get(name, ""))
        if found and int(found[1]):
            return int(found[1]), name
    return 0, ""


def reason(pipeline: Pipeline) -> str:
    """Where `threads` has its number from; "" where all cores of the machine are shared."""
    if pipeline.train.threads:
        return "train.threads"
    if variable := asked()[1]:
        return variable
    limit = quota()
    if limit is None or math.ceil(limit) >= _present():
        return ""
    return f"CPU quota {round(limit, 2)}"


def _share(pipeline: Pipeline) -> int:
    if pipeline.rule == "backprop":
        return cores()
    return max(1, cores() // (len(pipeline.processes) - 1))  # the source multiplies nothing


def _present() -> int:
    """The cores that this process may run on, however much of their time it gets."""
    count = getattr(os, "process_cpu_count", os.cpu_count)() or 1
    if hasattr(os, "sched_getaffinity"):
        count = min(count, len(os.sched_getaffinity(0)))
    said = _COUNT.fullmatch(os.environ.get("PYTHON_CPU_COUNT", ""))
    return min(count, int(said[1]) or count) if said else count


def environment(count: int) -> dict[str, str]:
    """The environment of a worker with `count` threads."""
    return {**IDLE, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
