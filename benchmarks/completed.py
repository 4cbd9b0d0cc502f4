"""Runs for benchmarks, which use the figures of completed runs only."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.record import ROOT
from cli import run
from coordinator.lifecycle.train import Result
from protocol import Pipeline

MNIST: Final = ROOT / "examples" / "mnist-fcn4.toml"
"""The pipeline that most benchmarks train."""


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


def lr_drops(steps: int) -> str:
    """The setting that lowers the learning rate after 60 % and 85 % of `steps`."""
    return f"train.lr_drops=[{steps * 60 // 100}, {steps * 85 // 100}]"
