"""The event loop of a run with a scripted engine: deadlines, errors while it closes, full disks."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from coordinator.control.snapshot import LocalHost
from coordinator.lifecycle.engine import ENGINE_API, Job
from coordinator.lifecycle.events import RunBroken, WorkerExited
from coordinator.lifecycle.train import Plan, Result, train
from coordinator.observers.recorder import RunRecorder
from coordinator.observers.run_stats import RunStats
from coordinator.run_folder.create import RunFolder
from protocol import (
    VERSION,
    Hello,
    Leave,
    Pipeline,
    Ready,
    Report,
    RunError,
    SpecError,
    Start,
    State,
    Stop,
    ToCoordinator,
    ToWorker,
)
from tests.traced import tiny

PIPELINE = tiny()
FINISHED = [Report(name, 3, finished=True) for name in PIPELINE.stages]


def weights(name: str) -> State:
    return State(name, 3, {}, ("w",), (np.zeros(2, np.float32),))


class Scripted(LocalHost):
    """Workers that enlist and get ready; `during` is called for each poll after that."""

    api_version = ENGINE_API
    one_host = True
    stop_seconds = 0.1

    def __init__(
        self,
        during: Callable[[Scripted], Iterator[ToCoordinator]] = lambda _: iter(FINISHED),
        errors: Mapping[str, Exception] | None = None,
    ) -> None:
        super().__init__(1, PIPELINE)
        self.during = during
        self.errors = dict(errors or {})
        self.sent: list[tuple[str, ToWorker]] = []
        self.called: list[str] = []
        self.broken: list[WorkerExited | RunBroken] = []

    def _note(self, name: str) -> None:
        self.called.append(name)
        if name in self.errors:
            raise self.errors[name]

    def threads(self, pipeline: Pipeline) -> int:  # noqa: ARG002
        return 1

    def check(self, pipeline: Pipeline) -> None:  # noqa: ARG002
        self._note("check")

    def open(self, job: Job) -> None:
        self.job = job
        self._note("open")

    def placed(self) -> Pipeline | None:
        self._note("placed")
        return PIPELINE

    def start(self, pipeline: Pipeline) -> None:  # noqa: ARG002
        self._note("start")

    def send(self, name: str, message: ToWorker) -> None:
        self.sent.append((name, message))

    def poll(self, seconds: float) -> Iterator[ToCoordinator]:  # noqa: ARG002
        kinds = {type(message) for _, message in self.sent}
        if not kinds:
            return iter([Hello(name, 1, VERSION, {}) for name in PIPELINE.workers])
        if kinds == {Start}:
            return iter([Ready(name) for name in PIPELINE.workers])
        return self.during(self)

    def exits(self) -> Iterator[WorkerExited | RunBroken]:
        found, self.broken = self.broken, []
        return iter(found)

    def close(self) -> None:
        self._note("close")

    def kinds_sent_to(self, name: str) -> list[type]:
        return [type(message) for receiver, message in self.sent if receiver == name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "run"


def run(engine: Scripted, folder: Path) -> Result:
    plan = Plan(PIPELINE, {"name": "x"}, {}, RunFolder("x", folder, False), "scripted")
    return train(plan, engine, lambda _: None)


def test_a_run_calls_the_engine_in_the_documented_order(folder: Path) -> None:
    engine = Scripted()
    result = run(engine, folder)
    assert result.end.outcome == "completed", result.end
    assert engine.called == ["open", "placed", "start", "close"]
    assert engine.kinds_sent_to("layer0") == [Start, Leave]


@pytest.mark.parametrize("step", ["open", "placed", "start"])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (RunError("no host"), RunError),
        (SpecError("2 workers do not fit"), SpecError),
        (OSError(errno.EMFILE, "Too many open files"), RunError),
        (ZeroDivisionError("a bug"), ZeroDivisionError),
    ],
)
def test_an_error_before_the_workers_run_closes_the_engine_once_and_leaves_no_folder(
    folder: Path, step: str, error: Exception, raised: type[Exception]
) -> None:
    engine = Scripted(errors={step: error})
    with pytest.raises(raised):
        run(engine, folder)
    assert engine.called.count("close") == 1
    assert engine.called[-2:] == [step, "close"]
    assert not folder.exists()


@pytest.mark.parametrize("error", [RunError("no host"), SpecError("no host")])
def test_of_an_error_and_one_while_closing_both_texts_are_kept(
    folder: Path, error: Exception
) -> None:
    engine = Scripted(errors={"start": error, "close": RunError("job 7 is left")})
    with pytest.raises(type(error), match=r"^no host; job 7 is left$"):
        run(engine, folder)


def test_a_failed_run_whose_engine_cannot_close_has_both_texts(folder: Path) -> None:
    def dies(engine: Scripted) -> Iterator[ToCoordinator]:
        engine.broken.append(RunBroken("host1 leaves"))
        yield from FINISHED if Stop in engine.kinds_sent_to("layer0") else ()

    engine = Scripted(dies, {"close": RunError("job 7 is left")})
    result = run(engine, folder)
    assert result.end.outcome == "failed"
    assert result.end.text == "host1 leaves\njob 7 is left"
    assert result.summary["failure"] == result.end.text


def test_ctrl_c_while_the_engine_opens_starts_no_worker_and_leaves_no_folder(folder: Path) -> None:
    class Interrupted(Scripted):
        def open(self, job: Job) -> None:
            super().open(job)
            signal.raise_signal(signal.SIGTERM)

    engine = Interrupted()
    result = run(engine, folder)
    assert (result.end.outcome, result.kept) == ("interrupted", False)
    assert result.signal == signal.SIGTERM
    assert engine.called == ["open", "close"]
    assert not folder.exists()


def test_weights_that_arrive_as_the_time_limit_ends_extend_it(folder: Path) -> None:
    """Each poll takes longer than the limit, and brings the weights of one layer."""
    left = list(PIPELINE.stages[1:])

    def slow(engine: Scripted) -> Iterator[ToCoordinator]:
        if Stop not in engine.kinds_sent_to("layer0"):
            engine.broken.append(RunBroken("host1 leaves"))
        elif left:
            time.sleep(1.5 * engine.stop_seconds)
            name = left.pop(0)
            yield from (weights(name), Report(name, 3, finished=True))
        else:
            yield Report("source", 3, finished=True)

    result = run(Scripted(slow), folder)
    assert result.end.text == "host1 leaves"
    names = {path.stem for path in (folder / "weights").iterdir()}
    assert names == set(PIPELINE.stages[1:])


def test_a_run_whose_last_report_cannot_be_recorded_has_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: RunRecorder, stats: RunStats, _row: Mapping[str, object]) -> None:
        if len(stats.layers) == len(PIPELINE.stages):
            raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(RunRecorder, "on_metrics", full)
    result = run(Scripted(), folder)
    assert result.end.outcome == "failed"
    assert result.end.text == "metrics.jsonl: No space left on device"
    assert result.summary["outcome"] == "failed"


def test_an_interrupted_run_whose_weights_cannot_be_written_has_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights of the other layers are still collected."""

    def full(recorder: RunRecorder, state: State) -> None:
        if state.name == "layer0":
            raise OSError(errno.ENOSPC, "No space left on device", f"{state.name}.safetensors")
        saved(recorder, state)

    def interrupted(engine: Scripted) -> Iterator[ToCoordinator]:
        if Stop not in engine.kinds_sent_to("layer0"):
            signal.raise_signal(signal.SIGTERM)
            return
        yield from map(weights, PIPELINE.stages[1:])
        yield from FINISHED

    saved = RunRecorder.on_weights
    monkeypatch.setattr(RunRecorder, "on_weights", full)
    result = run(Scripted(interrupted), folder)
    assert result.end.outcome == "failed"
    assert result.end.text == "layer0.safetensors: No space left on device"
    names = {path.stem for path in (folder / "weights").iterdir()}
    assert names == set(PIPELINE.stages[2:])
