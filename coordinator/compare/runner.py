"""Run a comparison, and write its results, its table and its plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from coordinator.compare.cells import Cell
from coordinator.compare.plot import draw_curves
from coordinator.compare.results import (
    RunGroup,
    choose_goals,
    group_runs,
    read_cell_result,
    write_results,
)
from coordinator.lifecycle.train import Result
from coordinator.observers.run_end import RunEnd
from coordinator.run_folder.create import output_folder
from protocol import DataError, Pipeline, RunError, SpecError, UserError

ReportLine: TypeAlias = Callable[[str], None]


class RunCell(Protocol):
    """Runs a pipeline on an engine in so many workers, and leaves its run folder."""

    def __call__(
        self, pipeline: Pipeline, *, engine: str, workers: int | None, run_dir: Path
    ) -> Result:
        """Raises UserError if the pipeline cannot be run."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of a comparison. `end` is the end of the run that interrupted it, if one did."""

    groups: list[RunGroup]
    goal: dict[str, float]
    end: RunEnd
    signal: int
    failures: tuple[str, ...]
    image: Path | None


def compare(
    cells: Sequence[Cell], out: Path, run: RunCell, report: ReportLine, goal: float | None
) -> Comparison:
    """Run the cells that have no result in `out`, and write the results of all of them.

    A failed run does not end the comparison. Raises UserError if `out` cannot be written, or if no
    cell can be run; then no empty folder is left.
    """
    with output_folder(out, "--out"):
        try:
            end, signal, failures = _run_all(cells, out, run, report)
            results = [read_cell_result(cell, out) for cell in cells]
            groups = group_runs([result for result in results if result is not None])
            goals = choose_goals(groups, goal)
            write_results(groups, goals, out)
            image = _draw(groups, out, report)
        except OSError as error:
            raise RunError(f"{error.filename or out}: {error.strerror}") from error
        return Comparison(groups, goals, end, signal, tuple(failures), image)


def _draw(groups: Sequence[RunGroup], out: Path, report: ReportLine) -> Path | None:
    if not groups:
        return None
    try:
        return draw_curves(groups, out)
    except RunError as error:
        report(str(error))
        return None


def _run_all(
    cells: Sequence[Cell], out: Path, run: RunCell, report: ReportLine
) -> tuple[RunEnd, int, list[str]]:
    failures: list[str] = []
    many_datasets = len({cell.pipeline.data for cell in cells}) > 1  # only one may be missing
    for number, cell in enumerate(cells, 1):
        label = f"{number}/{len(cells)} {cell.label}"
        if (before := read_cell_result(cell, out)) is not None:
            report(f"{label}: exists already, {before.error:.2f} %")
            continue
        report(f"{label}: {cell.pipeline.train.steps:,} steps")
        try:
            result = run(
                cell.pipeline,
                engine=cell.engine,
                workers=cell.workers,
                run_dir=out / cell.folder,
            )
        except UserError as error:
            if isinstance(error, DataError | SpecError) and not many_datasets:
                raise
            failures.append(f"{label}: {error}")
            report(failures[-1])
            continue
        if result.end.outcome == "interrupted":
            return result.end, result.signal, failures
        if result.end.outcome == "failed":
            failures.append(f"{label}: {result.end.text}")
            report(failures[-1])
        else:
            found = result.summary
            report(f"{label}: {found['test_error']:.2f} % in {found['wall_seconds']:.1f} s")
    if failures:
        return RunEnd("failed", f"{len(failures)} of {len(cells)} runs failed"), 0, failures
    return RunEnd("completed"), 0, failures
