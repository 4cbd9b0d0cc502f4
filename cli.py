"""The `dni` command, and the same in Python: the place where all parts are put together.

    from cli import run
    result = run(pipeline)

Imports happen inside functions so that a word such as `dni --help` answers at once.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click

import dni_command
from coordinator.commands import options
from coordinator.commands.cluster import cluster_commands
from coordinator.commands.compare import Wishes, wishes
from coordinator.commands.control import CONTROL_COMMANDS
from coordinator.commands.engine_options import EngineCommand
from coordinator.commands.manifest import manifest_group
from coordinator.commands.parameters import run_argument
from coordinator.commands.trace import trace_group
from coordinator.commands.trace_export import replay_command
from coordinator.console.json_output import print_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coordinator.cluster.gather import Policy, Question
    from coordinator.cluster.launchers.launcher import Launcher
    from coordinator.cluster.listen import Door
    from coordinator.control.run_control import RunControl
    from coordinator.lifecycle.events import RunEnd
    from coordinator.lifecycle.train import Drive, Result
    from coordinator.observers.observer import Observer, Observers
    from coordinator.run_folder.create import RunFolder
    from protocol import Pipeline
    from workers.data import Dataset
    from workers.nn import Judgement
    from workers.tools.check import LayerPlan
    from workers.tools.replay import ReplayResult

# -- in Python


def run(
    pipeline: Pipeline,
    *,
    engine: str = "local",
    engine_options: Mapping[str, object] | None = None,
    tell: Callable[[str], None] = lambda _: None,
    run_dir: str | Path | None = None,
    force: bool = False,
    observers: Sequence[Observer] = (),
) -> Result:
    """Train `pipeline` and leave a run folder, as `dni run` does.

    `engine` is "local", a process a layer, "inline", all in this process, or the name of one that
    is installed, such as "ssh" with the `engine_options` {"hosts": "a,b"}; `tell` gets lines about
    the data and about machines.
    Without `observers` nothing is printed. Raises UserError for what the user can mend; a run that
    fails on its way is a Result whose `end` says so.
    """
    from coordinator.cluster.gather import LaunchedHosts
    from coordinator.cluster.launchers.installed import choose
    from coordinator.cluster.listen import Door
    from coordinator.engines.blas import threads
    from coordinator.engines.local import local
    from coordinator.engines.options import NoOptions, parse
    from coordinator.lifecycle.train import train
    from protocol import SpecError, located

    engine_options = engine_options or {}
    if engine not in options.ENGINES:
        chosen = choose(engine, engine_options, options.ENGINES)
        door = Door(chosen.bind).check() if chosen.bind else None
        policy = partial(LaunchedHosts, chosen.launcher, chosen.start_timeout, tell)
        plan = _plan(pipeline, run_dir, force, tell)
        return _elsewhere(plan, engine, chosen.launcher, door, tell, observers, policy)
    parse(NoOptions, engine_options, f"engine {engine}")
    if located(pipeline).data_away:
        raise SpecError(
            f"data.host: {pipeline.data.host!r} is not this host; engine {engine} has no other"
        )
    plan = _plan(pipeline, run_dir, force, tell)
    assert plan.known is not None
    pipeline, (data, info), costs, folder = plan.pipeline, plan.known, plan.costs, plan.folder
    count = threads(pipeline)
    drive: Drive
    if engine == "inline":
        drive = partial(_inline, pipeline, data, info, count)
    else:
        drive = local(pipeline, info, count, costs)
    del data, plan  # the source has its own
    return train(pipeline, folder, engine, count, drive, observers)


def up(
    pipeline: Pipeline,
    bind: str,
    *,
    tell: Callable[[str], None],
    workers: int | Literal["auto"] | None = None,
    wait: float | None = None,
    question: Question | None = None,
    joins: int | None = None,
    advertise: str | None = None,
    insecure: bool = False,
    run_dir: str | Path | None = None,
    force: bool = False,
    observers: Sequence[Observer] = (),
) -> Result:
    """Train `pipeline` on the machines that join at `bind`, as `dni up` does.

    `tell` gets the line to paste on them and what there is to say of them and of the data. Training
    begins when there are slots for `workers`: one a layer, that many, or with "auto" for all that
    have joined once no host has come for `wait` seconds (30). Without "auto" `question` is put
    then, or else the run fails where a `wait` is given. `joins` hosts may join. They come to
    `advertise` where that is not `bind`. Nothing is encrypted if `insecure`. Raises UserError for
    what the user can mend.
    """
    from coordinator.cluster.gather import PastedHosts
    from coordinator.cluster.listen import Door
    from coordinator.cluster.run import Pasted
    from protocol import SpecError

    door = Door(bind, advertise, joins, insecure).check()
    if workers == "auto" and pipeline.placement:
        raise SpecError(
            "--workers auto: the pipeline divides its layers itself, by the key workers"
        )
    share, count = workers == "auto", None if workers == "auto" else workers
    fixed = bool(pipeline.placement)
    policy = partial(PastedHosts, tell, share=share, fixed=fixed, seconds=wait, question=question)
    plan = _plan(pipeline, run_dir, force, tell, count)
    return _elsewhere(plan, "several", Pasted(tell), door, tell, observers, policy)


def check(pipeline: Pipeline, tell: Callable[[str], None] = lambda _: None) -> list[LayerPlan]:
    """What every layer of `pipeline` will need, as `dni check` shows. Raises UserError.

    `tell` gets lines about the data: what they are, and what is odd about them.
    """
    from workers.assembly.build import dataset_info
    from workers.tools.check import plan_layers

    data = _load(pipeline)
    plans = plan_layers(pipeline, dataset_info(data))
    _describe(pipeline, data, tell)
    return plans


def evaluate(
    run_dir: str | Path,
    overrides: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Judgement:
    """The test error of a run's final weights, as `dni evaluate`. Raises UserError.

    `overrides` say where the data are now: `data.path=…`, `data.host=head`. Only their test set is
    needed. `tell` gets lines about what is odd about them.
    """
    from threadpoolctl import threadpool_limits

    from coordinator.engines import blas
    from coordinator.run_folder.read import read_run
    from protocol import SpecError
    from workers.tools.evaluate import evaluate_weights

    for override in overrides:
        if not override.strip().startswith("data."):
            raise SpecError(f"-o {override}: of a run that is over only data.… can be another")
    pipeline, saved = read_run(Path(run_dir), overrides)
    data = _load(pipeline, tests_only=True)
    for note in data.notes:
        tell(f"note: {note}")
    with threadpool_limits(blas.asked()[0] or blas.cores()):
        return evaluate_weights(pipeline, data, saved, lambda note: tell(f"note: {note}"))


def replay(run_dir: str | Path, layer: int) -> ReplayResult:
    """A layer that is told its recorded messages again, as `dni trace replay`. Raises UserError."""
    from coordinator.run_folder.layout import TRACE
    from coordinator.run_folder.read import read_run_pipeline
    from workers.tools.replay import replay_layer

    return replay_layer(read_run_pipeline(Path(run_dir)), Path(run_dir) / TRACE, layer)


def _load(pipeline: Pipeline, tests_only: bool = False) -> Dataset:
    from protocol import DataError, located
    from workers.data import load

    pipeline = located(pipeline)
    if pipeline.data_away and pipeline.data.path is not None:
        raise DataError(
            f"data.host: {pipeline.data.path} is on {pipeline.data.host}; for data on this host "
            "give -o data.host=head -o data.path=…"
        )
    return load(pipeline.data.name, pipeline.data.path, tests_only=tests_only)


def _describe(pipeline: Pipeline, data: Dataset | None, tell: Callable[[str], None]) -> None:
    """Say what a run learns from: a line about the data, and one for each thing that is odd."""
    from coordinator.engines.blas import unused
    from protocol import notes
    from workers.assembly.fit import notes as notes_on_data

    odd = (*notes(pipeline), *unused(pipeline))
    if data is not None:
        tell(data.summary)
        odd = (*odd, *notes_on_data(pipeline, data))
    for note in odd:
        tell(f"note: {note}")


class _Plan(NamedTuple):
    """What every run needs: its costs are the work of each layer.

    `known` are the data and their facts. Where they are away it is None, and there are no costs.
    """

    pipeline: Pipeline
    known: tuple[Dataset, dict[str, object]] | None
    costs: Mapping[str, float]
    folder: RunFolder


def _plan(
    pipeline: Pipeline,
    run_dir: str | Path | None,
    force: bool,
    tell: Callable[[str], None],
    workers: int | None = None,
) -> _Plan:
    """All of it, with the layers in so many `workers`; `tell` gets lines about the data.

    Raises UserError where they do not fit.
    """
    from coordinator.cluster.placement import divided
    from coordinator.run_folder.create import RunFolder
    from protocol import located
    from workers.assembly.build import dataset_info, spelled
    from workers.tools.check import plan_layers

    pipeline = located(pipeline)
    folder = RunFolder(pipeline.name, run_dir or None, force)
    known, costs = None, {}
    if pipeline.data_away:
        spelled(pipeline)
    else:
        data = _load(pipeline)
        info = dataset_info(data)
        known, costs = (data, info.as_dict()), {p.name: p.work for p in plan_layers(pipeline, info)}
    pipeline = divided(pipeline, workers, costs)
    _describe(pipeline, known[0] if known else None, tell)
    return _Plan(pipeline, known, costs, folder)


def _elsewhere(
    plan: _Plan,
    name: str,
    launcher: Launcher,
    door: Door | None,
    tell: Callable[[str], None],
    observers: Sequence[Observer],
    policy: Callable[[], Policy],
) -> Result:
    from coordinator.cluster.run import elsewhere
    from coordinator.lifecycle.train import train

    pipeline, folder, costs = plan.pipeline, plan.folder, plan.costs
    info = plan.known[1] if plan.known else None
    del plan  # the source has its own data
    drive = elsewhere(pipeline, launcher, door, info, costs, tell, policy)
    threads = pipeline.train.threads
    return train(pipeline, folder, name, threads, drive, observers)


def _inline(
    pipeline: Pipeline,
    data: Dataset,
    info: Mapping[str, object],
    threads: int,
    observers: Observers,
    control: RunControl,
) -> RunEnd:
    from coordinator.control.snapshot import LocalHost
    from coordinator.engines.blas import cores as processors
    from coordinator.engines.inline import run_inline
    from coordinator.run_folder.layout import TRACE
    from workers.assembly.build import build_cores
    from workers.recording.instrument import instrument

    control.hosts = LocalHost(pipeline, processors())
    cores = build_cores(pipeline, data)
    meters = (instrument(core, pipeline, info, observers.folder / TRACE) for core in cores)
    return run_inline(meters, threads, observers, control)


# -- on the command line


@click.group(cls=options.Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dni-train")
def main() -> None:
    """Train a network whose layers are processes that never wait for each other."""


def _read(path: Path | None, overrides: tuple[str, ...]) -> Pipeline:
    from protocol import read_pipeline
    from workers.data import EXAMPLE

    return read_pipeline(path or EXAMPLE, overrides, "" if path else options.EXAMPLE)


@main.command("run", cls=EngineCommand)
@options.pipeline_argument
@options.overrides
@options.any_engine
@options.run_dir
@options.force
@options.deterministic
@options.trace
@options.as_json
@click.pass_context
def run_command(
    ctx: click.Context,
    pipeline: Path | None,
    overrides: tuple[str, ...],
    engine: str,
    engine_options: Mapping[str, str],
    run_dir: Path | None,
    force: bool,
    deterministic: bool,
    trace: str | None,
    as_json: bool,
) -> None:
    """Train the PIPELINE file, or the embedded example where none is given.

    Layers do not wait for each other, so two runs with the same train.seed differ a little:
    --deterministic makes them equal, bit for bit, and slower.
    """
    from coordinator.commands.tables import end_of_run
    from coordinator.console.terminal import Terminal
    from coordinator.observers.terminal import choose_display

    console = Terminal(stderr=as_json)
    read = _read(pipeline, options.with_options(overrides, deterministic, trace))
    with options.about(pipeline, overrides):
        result = run(
            read,
            engine=engine,
            engine_options=engine_options,
            tell=console.try_print,
            run_dir=run_dir,
            force=force,
            observers=[choose_display(console)],
        )
    ctx.exit(end_of_run(console, result, as_json))


@main.command("compare")
@options.pipeline_argument
@options.overrides
@wishes
@options.engine
@options.deterministic
@options.as_json
@click.pass_context
def compare_command(
    ctx: click.Context,
    pipeline: Path | None,
    overrides: tuple[str, ...],
    wish: Wishes,
    engine: str,
    deterministic: bool,
    as_json: bool,
) -> None:
    """Run the PIPELINE file with several rules and seeds, and put the results side by side.

    Runs that are there already are not run again, so an interrupted comparison goes on where it
    stopped.
    """
    from coordinator.compare.report import end_of_comparison
    from coordinator.compare.runner import compare
    from coordinator.console.terminal import Terminal
    from coordinator.observers.terminal import choose_display
    from protocol import SpecError, located

    overrides = options.with_options(overrides, deterministic)
    if wish.table1 and (pipeline or overrides):
        raise SpecError(
            "--table1: brings its own pipelines; give no file, no -o and no --deterministic"
        )
    console = Terminal(stderr=as_json)
    read = None if wish.table1 else located(_read(pipeline, overrides))
    cells, out = wish.cells(read, engine)
    observers = [choose_display(console)] if console.interactive else []
    tell = _once(console.try_print)
    if read:
        _describe(read, None, tell)
    with options.about(pipeline, overrides):
        train = partial(run, force=True, observers=observers, tell=tell)
        result = compare(cells, out, train, console.try_print, wish.goal)
    ctx.exit(end_of_comparison(console, result, out, as_json))


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say`, for lines that were not said before: several runs have the same data."""
    said: set[str] = set()

    def tell(line: str) -> None:
        if line not in said:
            said.add(line)
            say(line)

    return tell


@main.command("check")
@options.pipeline_argument
@options.overrides
@click.option("--workers", type=click.IntRange(1), help="As `up` divides it among so many.")
@options.as_json
def check_command(
    pipeline: Path | None, overrides: tuple[str, ...], workers: int | None, as_json: bool
) -> None:
    """Show shapes, parameters, bytes a batch and memory of the PIPELINE file; start nothing."""
    from dataclasses import asdict

    from coordinator.cluster.placement import divided
    from coordinator.commands.tables import plan_table
    from coordinator.console.terminal import Terminal
    from coordinator.engines.blas import threads
    from protocol import located

    read = _read(pipeline, overrides)
    lines: list[str] = []
    with options.about(pipeline, overrides):
        plans = check(read, lines.append)
    known = not located(read).data_away
    read = divided(read, workers, {p.name: p.work for p in plans} if known else {})
    if as_json:
        found = {"threads": threads(read), "workers": read.workers, "data": lines}
        print_json(found | {"layers": [asdict(plan) for plan in plans]})
    else:
        console = Terminal()
        for line in lines:
            console.print_text(line)
        console.show(plan_table(read, [asdict(plan) for plan in plans]))


@main.command("evaluate")
@run_argument()
@options.overrides
@options.as_json
def evaluate_command(run: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Compute the exact test error of the final weights of RUN, in one process.

    RUN is a run folder, the end of a name in runs/, or newest.

    -o says where the data are, if not where they were: -o data.path=elsewhere.npz. Only their test
    set is needed.
    """
    from coordinator.commands.tables import judgement_line
    from coordinator.console.terminal import Terminal

    tell = Terminal(stderr=True).try_print
    loss, _, errors, judged, absolute = evaluate(run, overrides, tell)
    found = {"test_error": 100 * errors / judged, "test_loss": loss / judged, "errors": errors}
    found |= {"judged": judged, "absolute_error": absolute}
    if as_json:
        print_json(found)
    else:
        Terminal().show(judgement_line(found))


@main.group("data")
def data_group() -> None:
    """Data sets: where they come from, and how to get them."""


@data_group.command("list")
@options.as_json
def data_list(as_json: bool) -> None:
    """Show the data sets that go by a name: source, checksums, and where they are."""
    from dataclasses import asdict

    from coordinator.commands.tables import data_list as shown
    from coordinator.console.terminal import Terminal
    from workers.data import catalogue

    entries = [asdict(entry) for entry in catalogue()]
    if as_json:
        print_json(entries)
    else:
        Terminal().show(shown(entries))


@data_group.command("get")
@click.argument("name")
def data_get(name: str) -> None:
    """Download the data set NAME where it is not here yet, verify it, and say where it is."""
    from coordinator.commands.tables import DownloadBar
    from coordinator.console.terminal import Terminal
    from workers.data import get

    place = get(name, DownloadBar(Terminal(stderr=True), name))
    console = Terminal()
    if place is None or console.interactive:
        console.print_text(str(place or f"{name} is generated; there is nothing to get"))
    else:
        click.echo(os.fsencode(place))  # a script wants the very path


trace_group.add_command(replay_command(replay))
for command in (*cluster_commands(_read, up), *CONTROL_COMMANDS):
    main.add_command(command)
for group in (trace_group, manifest_group(_read)):
    main.add_command(group)


@main.command("worker", hidden=True)
@click.argument("name")
@click.pass_context
def worker_command(ctx: click.Context, name: str) -> None:  # noqa: ARG001  it is for `ps`
    """Be the worker NAME of a pipeline; the rest of the story comes on standard input."""
    from workers import lifeline

    lifeline.watch()

    from workers.process import main as live

    ctx.exit(live())


if __name__ == "__main__":
    dni_command.main()
