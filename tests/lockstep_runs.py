"""Runs in lockstep that several tests compare; each is made once per session."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from safetensors.numpy import load_file

from cli import run
from coordinator.lifecycle.train import Result
from protocol import DataConfig, LayerConfig, Pipeline, SyntheticConfig, TrainConfig

HIDDEN: Final = LayerConfig(("linear 24", "batchnorm", "relu"))


class LockstepRuns:
    """Makes runs in folders below `folder`, and returns the earlier run of an equal pipeline."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._results: dict[tuple[str, str, int], Result] = {}

    def __call__(self, pipeline: Pipeline, engine: str = "local", repetition: int = 0) -> Result:
        """The run of `pipeline` on `engine`; every `repetition` is a run of its own."""
        assert pipeline.lockstep
        key = (repr(pipeline), engine, repetition)
        if key not in self._results:
            folder = self._folder / str(len(self._results))
            self._results[key] = run(pipeline, engine=engine, run_dir=folder)
        return self._results[key]


def digits(
    rule: str,
    hidden: tuple[int, ...] = (),
    optimizer: str = "adam",
    schedule: str = "lockstep",
    steps: int = 50,
) -> Pipeline:
    """Three layers on the embedded digits; `hidden` layers of the gradient models."""
    return Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(
            steps=steps,
            eval_every=20,
            schedule=schedule,
            optimizer=optimizer,
            seed=5,
            threads=1,  # the number of threads decides how products are rounded
        ),
        synthetic=SyntheticConfig(hidden=hidden),
        layer=(HIDDEN, HIDDEN, LayerConfig(("linear 10",))),
    )


def arrays(folder: Path) -> dict[str, bytes]:
    """All that a run saved: weights, gradient models, optimiser state, running statistics."""
    return {
        f"{path.stem}/{name}": array.tobytes()
        for path in sorted((folder / "weights").glob("*.safetensors"))
        for name, array in load_file(path).items()
    }


def files(folder: Path) -> dict[str, bytes]:
    """The contents of the files of weights."""
    return {path.name: path.read_bytes() for path in (folder / "weights").iterdir()}


def require_equal(one: Result, other: Result) -> None:
    """Both runs completed with the same weights, models and test error, bit for bit."""
    assert [result.summary["outcome"] for result in (one, other)] == ["completed"] * 2
    assert arrays(one.folder) == arrays(other.folder)
    assert files(one.folder) == files(other.folder)
    assert one.summary["test_error"] == other.summary["test_error"]
