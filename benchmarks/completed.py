"""Runs for benchmarks, which use the figures of completed runs only."""

from __future__ import annotations

from pathlib import Path

from cli import run
from coordinator.lifecycle.train import Result
from protocol import Pipeline


def completed_run(pipeline: Pipeline, folder: str | Path) -> Result:
    """Train `pipeline`; exit if the run fails or is interrupted."""
    result = run(pipeline, run_dir=folder)
    outcome = result.summary["outcome"]
    if outcome != "completed":
        raise SystemExit(f"{pipeline.name} {outcome}: {result.summary['failure'] or folder}")
    return result


def figure(result: Result, key: str) -> float:
    """The number `key` in the summary of a run."""
    return float(str(result.summary[key]))
