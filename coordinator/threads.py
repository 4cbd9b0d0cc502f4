"""How many threads the matrix library of each worker gets."""

from __future__ import annotations

import os

from protocol import Pipeline


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
    return max(1, cores() // len(pipeline.layer))
