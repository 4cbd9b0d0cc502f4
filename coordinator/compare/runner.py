"""One comparison from its cells to its table, picture and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from coordinator.compare.cells import Cell
from coordinator.compare.plot import draw
from coordinator.compare.results import Group, goals, grouped, read, write
from coordinator.lifecycle.train import Result
from coordinator.observers.run_end import RunEnd
from coordinator.run_folder.create import output_folder
from protocol import DataError, Pipeline, RunError, SpecError, UserError

Say: TypeAlias = Callable[[str], None]


class Train(Protocol):
    """What runs a pipeline and leaves its folder."""

    def __call__(self, pipeline: Pipeline, *, engine: str, run_dir: Path) -> Result:
        """Raises UserError where the pipeline cannot be run at all."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it. `end` is that of the run that broke it off, if one did."""

    groups: list[Group]
    goal: dict[str, float]
    end: RunEnd
    signal: int
    failures: tuple[str, ...]
    picture: Path | None


def compare(
    cells: Sequence[Cell], out: Path, train: Train, say: Say, goal: float | None
) -> Comparison:
    """Run the cells that are not there yet, and leave the files; a failed run is not the end.

    Raises UserError where `out` cannot be written, or nothing can be run at all; then no empty
    folder is left.
    """
    with output_folder(out, "--out"):
        return _compare(cells, out, train, say, goal)


def _compare(
    cells: Sequence[Cell], out: Path, train: Train, say: Say, goal: float | None
) -> Comparison:
    try:
        end, signal, failures = _run(cells, out, train, say)
        groups = grouped([run for cell in cells if (run := read(cell, out)) is not None])
        reached = goals(groups, goal)
        write(groups, reached, out)
        picture = None
        if groups:
            try:
                picture = draw(groups, out)
            except RunError as error:
                say(str(error))
    except OSError as error:
        raise RunError(f"{error.filename or out}: {error.strerror}") from error
    return Comparison(groups, reached, end, signal, tuple(failures), picture)


def _run(cells: Sequence[Cell], out: Path, train: Train, say: Say) -> tuple[RunEnd, int, list[str]]:
    failures: list[str] = []
    several = len({cell.pipeline.data for cell in cells}) > 1  # then one of them may be missing
    for number, cell in enumerate(cells, 1):
        pipeline = cell.pipeline
        what = f"{number}/{len(cells)} {pipeline.name} {pipeline.rule} seed {pipeline.train.seed}"
        if (before := read(cell, out)) is not None:
            say(f"{what}: there already, {before.error:.2f} %")
            continue
        say(f"{what}: {pipeline.train.steps:,} steps")
        try:
            result = train(pipeline, engine=cell.engine, run_dir=out / cell.folder)
        except UserError as error:
            if isinstance(error, DataError | SpecError) and not several:
                raise
            failures.append(f"{what}: {error}")
            say(failures[-1])
            continue
        if result.end.outcome == "interrupted":
            return result.end, result.signal, failures
        if result.end.outcome == "failed":
            failures.append(f"{what}: {result.end.text}")
            say(failures[-1])
        else:
            found = result.summary
            say(f"{what}: {found['test_error']:.2f} % in {found['wall_seconds']:.1f} s")
    if failures:
        return RunEnd("failed", f"{len(failures)} of {len(cells)} runs failed"), 0, failures
    return RunEnd("completed"), 0, failures
