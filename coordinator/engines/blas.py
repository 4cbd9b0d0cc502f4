"""The matrix library of the workers: how many threads it gets, and how idle ones wait.

Both are said in the environment, because the library reads it once, when numpy is loaded.
"""

from __future__ import annotations

import math
import os
import re
from typing import Final

from coordinator.engines.cpu_quota import quota
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


MOST: Final = 1024
"""Threads that may be asked for; a larger number is taken for a slip."""
CPU_COUNT: Final = "PYTHON_CPU_COUNT"
_COUNT: Final = re.compile(r"\s*0*([1-9]\d{0,3})\s*(,.*)?", re.ASCII)


def cores() -> int:
    """The processor cores that this process may use: by affinity, CPU quota and Python's own word.

    A quota of a part of a core counts as a whole one.
    """
    return _limit()[0]


def _limit() -> tuple[int, str]:
    """The least of what limits the cores, and what that is called; "" for the machine."""
    limits = [(os.cpu_count() or 1, "")]
    if said := _count(CPU_COUNT):
        limits.insert(0, (said, CPU_COUNT))  # newer Pythons count no more either
    if hasattr(os, "sched_getaffinity"):
        limits.append((len(os.sched_getaffinity(0)), "affinity"))
    if limit := quota():
        limits.append((math.ceil(limit), f"CPU quota {round(limit, 2)}"))
    return min(limits, key=lambda limit: limit[0])


def _count(variable: str) -> int:
    """The number in the environment's `variable`; 0 where there is none that can be."""
    found = _COUNT.fullmatch(os.environ.get(variable, ""))
    return int(found[1]) if found and int(found[1]) <= MOST else 0


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
        if count := _count(name):
            return count, name
    return 0, ""


def unused(pipeline: Pipeline) -> list[str]:
    """What there is to say of numbers in the environment that cannot be used, a line each."""
    if pipeline.train.threads:
        return []
    said = {name: os.environ.get(name, "") for name in (*THREAD_VARIABLES, CPU_COUNT)}
    if said[CPU_COUNT] == "default":
        del said[CPU_COUNT]
    return [
        f"{name}={value[:40]}: is not used; it is no whole number from 1 to {MOST}"
        for name, value in said.items()
        if value.strip() and not _count(name)
    ]


def reason(pipeline: Pipeline) -> str:
    """Where `threads` has its number from; "" where all cores of the machine are shared."""
    if pipeline.train.threads:
        return "train.threads"
    return asked()[1] or _limit()[1]


def _share(pipeline: Pipeline) -> int:
    if pipeline.rule == "backprop":
        return cores()
    return max(1, cores() // (len(pipeline.workers) - 1))  # the source multiplies nothing


def environment(count: int) -> dict[str, str]:
    """The environment of a worker with `count` threads."""
    return {**IDLE, **os.environ, **dict.fromkeys(THREAD_VARIABLES, str(count))}
