"""Puts the parts of `dni` together: the functions behind the commands, also for use in Python.

    from cli import run
    result = run(pipeline)

Imports happen inside functions, so that `dni --help` answers at once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dni_command
from coordinator.commands.functions import Functions
from coordinator.commands.main import command_group

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from coordinator.cluster.gather import Question
    from coordinator.engines.inline import InlineChannel
    from coordinator.lifecycle.engine import Engine
    from coordinator.lifecycle.train import Plan, Result
    from coordinator.observers.observer import Observer
    from protocol import Pipeline
    from workers.data import Dataset, DatasetEntry, Progress
    from workers.nn import LossResult
    from workers.tools.check import LayerPlan
    from workers.tools.replay import ReplayResult

    Report = Callable[[str], None]


def load_pipeline(path: Path | None, overrides: tuple[str, ...] = ()) -> Pipeline:
    """The pipeline in the file `path`, None for the embedded example, with `overrides`.

    Raises UserError.
    """
    from coordinator.commands.options import EXAMPLE as NAME
    from protocol import read_pipeline
    from workers.data import EXAMPLE

    return read_pipeline(path or EXAMPLE, overrides, "" if path else NAME)


def check_engine(engine: str, engine_options: Mapping[str, object]) -> None:
    """Raise UserError for an unknown `engine`, and for options that it does not have."""
    from coordinator.cluster.select import select_engine

    select_engine(engine, engine_options, lambda _: None, partial(_inline_worker, []))


def run(
    pipeline: Pipeline,
    *,
    engine: str = "local",
    engine_options: Mapping[str, object] | None = None,
    workers: int | None = None,
    report: Report = lambda _: None,
    run_dir: str | Path | None = None,
    force: bool = False,
    observers: Sequence[Observer] = (),
) -> Result:
    """Train `pipeline` and leave a run folder, as `dni run` does.

    `engine` is "local" (one process per layer), "inline" (everything in this process) or the name
    of an installed engine or launcher, such as "ssh" with the `engine_options` {"hosts": "a,b"}.
    The layers share `workers` worker processes, by default one each. `report` takes lines about the
    data and about hosts. Without `observers` nothing is printed. Raises UserError for a mistake
    that the user can mend; a run that fails later is a Result whose `end` has the reason.
    """
    from coordinator.cluster.select import select_engine

    data: list[Dataset] = []
    chosen = select_engine(engine, engine_options or {}, report, partial(_inline_worker, data))
    chosen.check(pipeline)
    plan, loaded = _plan(pipeline, run_dir, force, report, engine, workers)
    if engine == "inline" and loaded is not None:
        data.append(loaded)
    del loaded  # a worker process of the source reads the data itself
    return _train(plan, chosen, report, observers)


def up(
    pipeline: Pipeline,
    bind: str,
    *,
    report: Report,
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
    """Train `pipeline` on the hosts that join at `bind`, as `dni up` does.

    `report` takes the line to paste on them, and lines about hosts and about the data. Training
    starts when there are slots for `workers`: one per layer, that many, or, with "auto", all that
    have joined once no host has joined for `wait` seconds (30). Without "auto" a person is asked
    the `question` then; without a question the run fails if `wait` is given. `joins` hosts may
    join, at `advertise` if it is not `bind`. With `insecure` nothing is encrypted.
    Raises UserError.
    """
    from coordinator.cluster.engine import ClusterEngine
    from coordinator.cluster.gather import PastedHosts
    from coordinator.cluster.launchers.manual import Manual
    from coordinator.cluster.listen import ListenConfig
    from protocol import SpecError

    listen = ListenConfig(bind, advertise, joins, insecure).checked()
    share, fixed = workers == "auto", bool(pipeline.placement)
    if share and fixed:
        raise SpecError("--workers auto: the pipeline's key placement divides the layers already")
    policy = partial(PastedHosts, report, share=share, fixed=fixed, seconds=wait, question=question)
    count = None if workers == "auto" else workers
    plan, _ = _plan(pipeline, run_dir, force, report, "cluster", count)
    return _train(plan, ClusterEngine(listen, Manual(report), policy), report, observers)


def check(pipeline: Pipeline, report: Report = lambda _: None) -> list[LayerPlan]:
    """What each layer of `pipeline` needs, as `dni check` shows. Raises UserError.

    `report` takes lines about the data: what they are, and what is unusual about them.
    """
    from workers.assembly.build import dataset_info
    from workers.tools.check import plan_layers

    data = _load(pipeline)
    plans = plan_layers(pipeline, dataset_info(data))
    describe(pipeline, data, report)
    return plans


def evaluate(
    run_dir: str | Path,
    overrides: tuple[str, ...] = (),
    report: Report = lambda _: None,
) -> LossResult:
    """The test error of a run's final weights, as `dni evaluate`. Raises UserError.

    `overrides` set where the data are now, such as data.path=…; only their test set is needed.
    `report` takes lines about what is unusual about the data.
    """
    from threadpoolctl import threadpool_limits

    from coordinator.resources import blas
    from coordinator.run_folder.read import read_run
    from protocol import SpecError
    from workers.tools.evaluate import evaluate_weights

    for override in overrides:
        if not override.strip().startswith("data."):
            raise SpecError(f"-o {override}: for a finished run only data.… can be set")
    pipeline, saved = read_run(Path(run_dir), overrides)
    data = _load(pipeline, tests_only=True)
    for note in data.notes:
        report(f"note: {note}")
    with threadpool_limits(blas.environment_threads()[0] or blas.cores()):
        return evaluate_weights(pipeline, data, saved, lambda note: report(f"note: {note}"))


def replay(run_dir: str | Path, layer: int) -> ReplayResult:
    """Repeat the training of a layer from its recorded messages, as `dni trace replay` does.

    Raises UserError.
    """
    from coordinator.run_folder.layout import TRACE
    from coordinator.run_folder.read import read_run_pipeline
    from workers.tools.replay import replay_layer

    return replay_layer(read_run_pipeline(Path(run_dir)), Path(run_dir) / TRACE, layer)


def describe(pipeline: Pipeline, data: Dataset | None, report: Report) -> None:
    """Report one line about the data, and one for each setting or property that is unusual."""
    from coordinator.resources.blas import unused
    from protocol import pipeline_notes
    from workers.assembly.compatibility import data_notes as notes_on_data

    unusual = (*pipeline_notes(pipeline), *unused(pipeline))
    if data is not None:
        report(data.summary)
        unusual = (*unusual, *notes_on_data(pipeline, data))
    for note in unusual:
        report(f"note: {note}")


def list_datasets() -> list[DatasetEntry]:
    """The data sets that have a name."""
    from workers.data import list_datasets

    return list(list_datasets())


def get_data(name: str, progress: Progress) -> Path | None:
    """Download the data set `name` if it is not here; where it is. Raises UserError."""
    from workers.data import get

    return get(name, progress)


def work_as_worker() -> int:
    """Run the worker that standard input describes; the exit status."""
    from workers import lifeline

    lifeline.exit_when_closed()

    from workers.process import main as work

    return work()


def _load(pipeline: Pipeline, tests_only: bool = False) -> Dataset:
    from protocol import DataError, with_absolute_path
    from workers.data import load

    pipeline = with_absolute_path(pipeline)
    if pipeline.remote_data and pipeline.data.path is not None:
        raise DataError(
            f"data.host: {pipeline.data.path} is on {pipeline.data.host}; for data on this host "
            "give -o data.host=head -o data.path=…"
        )
    return load(pipeline.data.name, pipeline.data.path, tests_only=tests_only)


def _plan(
    pipeline: Pipeline,
    run_dir: str | Path | None,
    force: bool,
    report: Report,
    engine: str,
    workers: int | None,
) -> tuple[Plan, Dataset | None]:
    """Check a run before anything is made; also the data, None if they are on another host.

    Raises UserError where the pipeline, its data and `workers` do not fit.
    """
    from coordinator.cluster.placement import set_workers
    from coordinator.lifecycle.train import Plan
    from coordinator.run_folder.create import RunFolder
    from protocol import with_absolute_path
    from workers.assembly.build import dataset_info, validate_modules
    from workers.tools.check import plan_layers

    pipeline = with_absolute_path(pipeline)
    folder = RunFolder(pipeline.name, run_dir or None, force)
    data, dataset, work = None, None, {}
    if pipeline.remote_data:
        validate_modules(pipeline)
    else:
        data = _load(pipeline)
        info = dataset_info(data)
        dataset, work = info.as_dict(), {p.name: p.work for p in plan_layers(pipeline, info)}
    pipeline = set_workers(pipeline, workers, work)
    describe(pipeline, data, report)
    return Plan(pipeline, dataset, work, folder, engine), data


def _train(plan: Plan, engine: Engine, report: Report, observers: Sequence[Observer]) -> Result:
    from coordinator.lifecycle.train import train

    return train(plan, engine, report, observers)


def _inline_worker(
    data: list[Dataset], name: str, channel: InlineChannel, trace: str
) -> Generator[bool, None, None]:
    from protocol.clock import clock_name
    from workers.channel import Config
    from workers.worker import Worker

    config = Config(name, trace=trace, clock=clock_name())
    return Worker(config, channel, load=lambda _: data[0]).run()


main = command_group(
    Functions(
        load_pipeline=load_pipeline,
        check_engine=check_engine,
        run=run,
        up=up,
        check=check,
        evaluate=evaluate,
        replay=replay,
        describe=describe,
        list_datasets=list_datasets,
        get_data=get_data,
        work_as_worker=work_as_worker,
    )
)

if __name__ == "__main__":
    dni_command.main()
