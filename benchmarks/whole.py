"""Runs that benchmarks take their figures from: those that came to their end."""

from __future__ import annotations

from pathlib import Path

from cli import run
from coordinator.lifecycle.train import Result
from protocol import Pipeline


def whole(pipeline: Pipeline, folder: str | Path) -> Result:
    """Train `pipeline`; what breaks off or is broken off ends the program, not only this run."""
    result = run(pipeline, run_dir=folder)
    outcome = result.summary["outcome"]
    if outcome != "completed":
        raise SystemExit(f"{pipeline.name} {outcome}: {result.summary['failure'] or folder}")
    return result


def figure(result: Result, key: str) -> float:
    """A number of the run's summary."""
    return float(str(result.summary[key]))
