"""Groups of layers in one worker: the same run in fewer processes, under one name."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cli import evaluate, run
from protocol import DataConfig, Edge, LayerConfig, Pipeline, TrainConfig

if TYPE_CHECKING:
    from tests.dni import Dni, Training

GROUPED = ("-o", "placement=[[0, 1], [2]]")
WORKERS = ("source", "layer0-1", "layer2")
LAYERS = ("layer0", "layer1", "layer2")
RULES = ("cdni", "unlocked-cdni")
LATE = 15.0


def grouped(*placement: tuple[int, ...], layers: int = 4) -> Pipeline:
    return Pipeline(
        data=DataConfig(name="digits"),
        layer=(LayerConfig(("linear 10",)),) * layers,
        placement=placement,
    )


def test_a_worker_is_named_after_its_layers() -> None:
    one_each = {"source": ("source",), **{f"layer{i}": (f"layer{i}",) for i in range(4)}}
    assert grouped().workers == one_each
    assert grouped((2,), (0,), (3,), (1,)).workers == one_each
    assert grouped((1, 0), (2, 3)).workers == {
        "source": ("source",),
        "layer0-1": ("layer0", "layer1"),
        "layer2-3": ("layer2", "layer3"),
    }
    assert grouped((0, 2), (1, 3)).workers == {
        "source": ("source",),
        "layer0,2": ("layer0", "layer2"),
        "layer1,3": ("layer1", "layer3"),
    }


def test_placement_does_not_change_the_edges() -> None:
    edges = grouped(layers=2).edges
    assert set(edges) == {
        Edge("source", "layer0"),
        Edge("layer0", "source"),
        Edge("layer0", "layer1"),
        Edge("layer1", "layer0"),
    }
    assert grouped((0, 1), layers=2).edges == edges
    assert [Edge.named(str(edge)) for edge in edges] == list(edges)


def weights(training: Training) -> set[str]:
    return {path.stem for path in (training.folder / "weights").iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_run_with_groups_completes(dni: Dni, rule: str) -> None:
    options = (*GROUPED, "-o", f"rule={rule}")
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--json", *options)
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["outcome"] == "completed"
    assert [layer["name"] for layer in summary["layers"]] == list(LAYERS)
    assert all(layer["updates"] for layer in summary["layers"])
    judged = json.loads(dni("evaluate", "run", "--json").stdout)
    assert judged["test_error"] == summary["test_error"]
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_ctrl_c_saves_the_weights_of_every_layer_in_a_worker(dni: Dni, rule: str) -> None:
    training = dni.train(*GROUPED, "-o", f"rule={rule}", workers=WORKERS)
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    assert training.summary()["outcome"] == "interrupted"
    assert weights(training) == set(LAYERS)
    assert dni("evaluate", "run").returncode == 0
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["layer0-1", "layer2"])
def test_the_death_of_a_grouped_worker_is_noticed_and_named(dni: Dni, victim: str) -> None:
    training = dni.train(*GROUPED, workers=WORKERS)
    began = time.monotonic()
    training.family[victim].kill()
    assert training.end(LATE) == 1
    assert time.monotonic() - began < 2.0
    assert training.summary()["failure"] == f"{victim} was killed by SIGKILL"
    assert f"{victim} was killed by SIGKILL" in training.text
    assert weights(training) == ({"layer2"} if victim == "layer0-1" else {"layer0", "layer1"})
    dni.nothing_left()


RAISES_IN_LAYER1 = """
from workers.nn.activation import Tanh  # TINY has one, in layer1
def broken(self, p, x, train):
    raise RuntimeError("a cosmic ray")
Tanh.forward = broken
"""


@pytest.mark.slow
def test_a_failure_names_the_layer_and_not_its_worker(dni: Dni) -> None:
    environment = dni.sitecustomize(RAISES_IN_LAYER1)
    training = dni.start(*GROUPED, environment=environment, workers=WORKERS)
    assert training.end(LATE) == 1
    assert "layer1 failed at step 1: " in training.text
    assert "a cosmic ray" in training.text
    assert weights(training) == {"layer2"}
    dni.nothing_left()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["no-bprop", "cdni", "unlocked-cdni"])
def test_an_array_that_a_stage_of_the_same_worker_holds_is_not_overwritten(
    tmp_path: Path, rule: str
) -> None:
    """The output of a flatten layer shares memory that the sender overwrites."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6000, 128, 8)).astype(np.float32)
    y = (x.reshape(len(x), -1) @ rng.standard_normal((1024, 5))).argmax(axis=1)
    np.savez(tmp_path / "wide.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    heavy = ("linear 1500", "relu", "linear 1500", "relu", "linear 5")
    pipeline = Pipeline(
        rule=rule,
        data=DataConfig(path=str(tmp_path / "wide.npz"), batch=200),
        train=TrainConfig(steps=60),
        layer=(LayerConfig(("flatten",)), LayerConfig(("linear 64", "relu")), LayerConfig(heavy)),
        placement=((0, 1), (2,)),
    )
    result = run(pipeline, run_dir=tmp_path / "run")
    exact = evaluate(tmp_path / "run")
    assert result.summary["test_error"] == pytest.approx(100 * exact.errors / exact.judged)


@pytest.mark.slow
def test_unlocked_layers_of_one_worker_make_equal_progress(dni: Dni) -> None:
    settings = ("rule=unlocked-cdni", "placement=[[0,1,2]]", "train.steps=400", "train.threads=1")
    options = [option for setting in settings for option in ("-o", setting)]
    ran = dni("run", "tiny.toml", "--run-dir", "run", "--json", *options)
    assert ran.returncode == 0, ran.stderr
    updates = [layer["updates"] for layer in json.loads(ran.stdout)["layers"]]
    assert min(updates) >= 0.8 * max(updates)
