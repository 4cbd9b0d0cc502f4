"""The results of the runs of a comparison, and the files that hold them."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from coordinator.compare.cells import Cell
from coordinator.run_folder.layout import METRICS, PIPELINE, SUMMARY, write_atomically
from protocol import UserError, read_pipeline
from protocol.builtin import to_json

CSV: Final = "comparison.csv"
JSON: Final = "comparison.json"
COLUMNS: Final = (
    *("network", "rule", "seed", "steps", "test_error", "samples_per_second"),
    *("wall_seconds", "goal", "seconds_to_goal", "paper", "folder"),
)
BASELINE_RULE: Final = "no-bprop"
"""The rule whose error does not count for the default goal."""


class CurvePoint(NamedTuple):
    """The test error in percent after a number of steps and seconds."""

    step: int
    seconds: float
    error: float


@dataclass(frozen=True, slots=True)
class CellResult:
    """A completed run: its final test error in percent, its rate in samples/s, its evaluations."""

    cell: Cell
    folder: Path
    error: float
    rate: float
    seconds: float
    curve: tuple[CurvePoint, ...]

    def seconds_to(self, error: float) -> float | None:
        """The seconds until an evaluation first was at most `error`; None if none was."""
        return next((point.seconds for point in self.curve if point.error <= error), None)


def read_cell_result(cell: Cell, out: Path) -> CellResult | None:
    """The completed run of `cell` in `out`; None if it is missing or incomplete."""
    folder = out / cell.folder
    try:
        summary = json.loads((folder / SUMMARY).read_text("utf-8"))
        lines = map(json.loads, (folder / METRICS).read_text("utf-8").splitlines())
        curve = [
            CurvePoint(line["step"], line["seconds"], line["test_error"])
            for line in lines
            if "test_error" in line
        ]
        saved = read_pipeline(folder / PIPELINE)
        same = replace(saved, placement=cell.pipeline.placement) == cell.pipeline
        if summary["outcome"] != "completed" or summary["engine"] != cell.engine or not same:
            return None
        return CellResult(
            cell,
            folder,
            error=float(summary["test_error"]),
            rate=float(summary["samples_per_second"]),
            seconds=float(summary["wall_seconds"]),
            curve=tuple(curve),
        )
    except (OSError, ValueError, TypeError, KeyError, UserError):
        return None


@dataclass(frozen=True, slots=True)
class RunGroup:
    """The runs of one network with one rule, one run per seed."""

    network: str
    rule: str
    paper: float | None
    runs: tuple[CellResult, ...]

    @property
    def error(self) -> float:
        """The mean test error, percent."""
        return statistics.mean(run.error for run in self.runs)

    @property
    def spread(self) -> float:
        """The standard deviation of the test error over the seeds; 0 for a single seed."""
        return statistics.stdev(run.error for run in self.runs) if len(self.runs) > 1 else 0.0

    @property
    def rate(self) -> float:
        """The median rate, samples/s."""
        return statistics.median(run.rate for run in self.runs)

    def seconds_to(self, error: float) -> float | None:
        """The median seconds to `error`; None if a run did not reach it."""
        times = [run.seconds_to(error) for run in self.runs]
        reached = [time for time in times if time is not None]
        return statistics.median(reached) if len(reached) == len(times) else None

    def as_dict(self, goal: float) -> dict[str, object]:
        """The group as built-in types, for JSON."""
        return {
            "network": self.network,
            "rule": self.rule,
            "test_error": self.error,
            "spread": self.spread,
            "test_errors": [run.error for run in self.runs],
            "samples_per_second": self.rate,
            "goal": goal,
            "seconds_to_goal": self.seconds_to(goal),
            "paper": self.paper,
            "runs": [str(run.folder) for run in self.runs],
        }


def group_runs(runs: Sequence[CellResult]) -> list[RunGroup]:
    """Group the runs by network and rule, in the order of `runs`."""
    groups: dict[tuple[str, str], list[CellResult]] = {}
    for run in runs:
        pipeline = run.cell.pipeline
        groups.setdefault((pipeline.name, pipeline.rule), []).append(run)
    return [
        RunGroup(network, rule, members[0].cell.paper, tuple(members))
        for (network, rule), members in groups.items()
    ]


def choose_goals(groups: Sequence[RunGroup], given: float | None) -> dict[str, float]:
    """The error to report the time to, by network.

    If it is not `given`, it is the largest final error of all rules except the baseline.
    """
    found: dict[str, float] = {}
    for group in groups:
        compared = [g for g in groups if g.network == group.network and g.rule != BASELINE_RULE]
        worst = max((run.error for g in compared or [group] for run in g.runs), default=0.0)
        found[group.network] = given if given is not None else math.ceil(worst * 10) / 10
    return found


def write_results(groups: Sequence[RunGroup], goal: dict[str, float], out: Path) -> None:
    """Write comparison.csv, one line per run, and comparison.json, one entry per group."""
    entries = [group.as_dict(goal[group.network]) for group in groups]
    lines = [_line(group, run, goal[group.network]) for group in groups for run in group.runs]
    text = to_json(entries, indent=2) + "\n"
    write_atomically(out / JSON, lambda part: part.write_text(text, "utf-8"))
    write_atomically(out / CSV, lambda part: _write_csv(part, lines))


def _write_csv(path: Path, lines: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(lines)


def _line(group: RunGroup, run: CellResult, goal: float) -> dict[str, object]:
    train = run.cell.pipeline.train
    return {
        "network": group.network,
        "rule": group.rule,
        "seed": train.seed,
        "steps": train.steps,
        "test_error": run.error,
        "samples_per_second": run.rate,
        "wall_seconds": run.seconds,
        "goal": goal,
        "seconds_to_goal": run.seconds_to(goal),
        "paper": group.paper,
        "folder": run.folder.name,
    }
