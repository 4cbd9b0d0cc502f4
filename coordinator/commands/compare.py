"""The command `dni compare` and its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from coordinator.commands import options
from coordinator.commands.engine_options import EngineCommand
from coordinator.commands.functions import Functions
from coordinator.commands.parameters import UserPath

if TYPE_CHECKING:
    from coordinator.compare.cells import Cell
    from coordinator.compare.runner import Comparison
    from coordinator.console.terminal import Terminal
    from coordinator.lifecycle.train import Result
    from protocol import Pipeline

_OPTIONS: Final = (
    click.option(
        "--rules",
        help="The rules to compare, separated by commas.  [default: no-bprop,backprop,dni,cdni]",
    ),
    click.option(
        "--seeds",
        type=int,
        default=3,
        show_default=True,
        help="Number of runs per rule, each with its own seed.",
    ),
    click.option(
        "--goal",
        type=float,
        help="Test error, percent, to report the time to.  [default: one that all rules reach]",
    ),
    click.option("--table1", is_flag=True, help="Compare the networks of the paper's table 1."),
    click.option(
        "--quick", is_flag=True, help="With --table1: train for a twentieth of the steps."
    ),
    click.option(
        "--cifar10",
        type=UserPath(exists=True),
        help="With --table1: use these images in place of the canonical CIFAR-10.",
    ),
    click.option(
        "--only",
        default="",
        help="With --table1: compare only networks whose name starts with this.",
    ),
    click.option(
        "--out",
        type=UserPath(file_okay=False),
        help="Folder for the runs and the results.  [default: runs/compare-<name>]",
    ),
)


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """The values of the options of a comparison."""

    rules: str | None
    seeds: int
    goal: float | None
    table1: bool
    quick: bool
    cifar10: Path | None
    only: str
    out: Path | None
    engine: str
    workers: int | None

    def cells(self, pipeline: Pipeline | None) -> tuple[list[Cell], Path]:
        """The runs to compare, and their folder; `pipeline` is None with --table1.

        Raises SpecError if the options contradict each other.
        """
        from coordinator.compare import table1
        from coordinator.compare.cells import make_cells
        from coordinator.run_folder.layout import utf8_file_name
        from protocol import SpecError

        rules = table1.RULES if self.rules is None else [r.strip() for r in self.rules.split(",")]
        if pipeline and (self.quick or self.only or self.cifar10):
            raise SpecError("--quick, --only and --cifar10 require --table1")
        if self.goal is not None and not 0 <= self.goal <= 100:
            raise SpecError(f"--goal: {self.goal} is not a percentage; give 0 … 100")
        if pipeline:
            name = pipeline.name
            found = make_cells(pipeline, rules, self.seeds, table1.paper_errors(pipeline))
        else:
            name = f"table1{'-quick' if self.quick else ''}"
            found = table1.table1_cells(rules, self.seeds, self.quick, self.only, self.cifar10)
        out = self.out or Path("runs") / utf8_file_name(f"compare-{name}")
        return [replace(cell, engine=self.engine, workers=self.workers) for cell in found], out


def comparison_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a comparison to `command`, which gets them as argument `chosen`."""

    @wraps(command)
    def wrapper(*arguments: Any, **values: Any) -> None:
        names = [field.name for field in fields(ComparisonOptions)]
        chosen = ComparisonOptions(**{name: values.pop(name) for name in names})
        command(*arguments, chosen=chosen, **values)

    for option in reversed((*_OPTIONS, options.engine, options.workers)):
        wrapper = option(wrapper)
    return wrapper


def compare_command(functions: Functions) -> click.Command:
    """The command `dni compare`."""

    @click.command("compare", cls=EngineCommand)
    @options.pipeline_argument
    @options.overrides
    @comparison_options
    @options.deterministic
    @options.trace
    @options.as_json
    @click.pass_context
    def compare(
        ctx: click.Context,
        pipeline: Path | None,
        overrides: tuple[str, ...],
        chosen: ComparisonOptions,
        engine_options: Mapping[str, str],
        deterministic: bool,
        trace: str | None,
        as_json: bool,
    ) -> None:
        """Run the PIPELINE file with several rules and seeds, and compare the results.

        Runs that exist already are not repeated, so an interrupted comparison continues.
        """
        overrides = options.with_options(overrides, deterministic, trace)
        functions.check_engine(chosen.engine, engine_options)
        run = partial(functions.run, engine_options=engine_options, force=True)
        console = _console(as_json)
        result, out = _compare(functions, run, pipeline, overrides, chosen, console)
        ctx.exit(_show(console, result, out, as_json))

    return compare


def _console(as_json: bool) -> Terminal:
    from coordinator.console.terminal import Terminal

    return Terminal(stderr=as_json)


def _show(console: Terminal, result: Comparison, out: Path, as_json: bool) -> int:
    from coordinator.commands.comparison_tables import end_of_comparison

    return end_of_comparison(console, result, out, as_json)


def _compare(
    functions: Functions,
    run: Callable[..., Result],
    path: Path | None,
    overrides: tuple[str, ...],
    chosen: ComparisonOptions,
    console: Terminal,
) -> tuple[Comparison, Path]:
    """Compare with `run`, and report progress to `console`; return the results and their folder."""
    from coordinator.compare.runner import compare
    from coordinator.observers.terminal import choose_display
    from protocol import SpecError, with_absolute_path

    if chosen.table1 and (path or overrides):
        raise SpecError(
            "--table1: has its own pipelines; give no file, no -o, --deterministic or --trace"
        )
    pipeline = (
        None if chosen.table1 else with_absolute_path(functions.load_pipeline(path, overrides))
    )
    cells, out = chosen.cells(pipeline)
    report = _once(console.try_print)
    if pipeline:
        functions.describe(pipeline, None, report)
    observers = [choose_display(console)] if console.interactive else []
    run = partial(run, observers=observers, report=report)
    with options.about(path, overrides):
        return compare(cells, out, run, console.try_print, chosen.goal), out


def _once(report: Callable[[str], None]) -> Callable[[str], None]:
    """`report` without lines that were reported before: several runs have the same data."""
    seen: set[str] = set()

    def report_new(line: str) -> None:
        if line not in seen:
            seen.add(line)
            report(line)

    return report_new
