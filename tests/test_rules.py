"""The rules compared with each other and with a network that is not divided into layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from protocol import (
    DataConfig,
    DataMessage,
    Edge,
    Evaluated,
    LayerConfig,
    Pipeline,
    Stage,
    State,
    TrainConfig,
)
from tests.assembly import build_stages
from workers.assembly.build import UPDATES, build_stack, dataset_info, layer_rng
from workers.assembly.compatibility import layer_modules
from workers.data import Dataset
from workers.nn import LOSSES, Floats, Labels, Stack
from workers.nn.optim import Adam, Optimizer, Sgd, learning_rate
from workers.recording.instrument import InstrumentedStage
from workers.rules.backprop import BackpropLayer
from workers.rules.dni import DniLayer
from workers.rules.synthetic import Prediction
from workers.stages.driver import StageGroup
from workers.stages.layer import LayerStage
from workers.stages.source import order

HIDDEN = LayerConfig(("linear 7", "batchnorm", "relu"))
STEPS, BATCH, DROPS = 25, 8, (10, 20)


def toy_data() -> Dataset:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (60, 3, 2), dtype=np.uint8)
    y = rng.integers(0, 3, 60)
    return Dataset("toy", x[:44], y[:44], x[44:], y[44:], classes=3, scale=1 / 255)


DATA = toy_data()


def toy(rule: str, **train: Any) -> Pipeline:
    settings = {"steps": STEPS, "schedule": "lockstep", "lr": 0.01, "lr_drops": DROPS, **train}
    return Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=BATCH),
        train=TrainConfig(**settings),
        layer=(HIDDEN, HIDDEN, LayerConfig(("linear 3",))),
    )


class Discard:
    """An outlet that discards evaluations; no message leaves the group of all stages."""

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str) -> None:
        pytest.fail(f"{message} left the group along {edge} as {edge_dtype}")

    def report(self, message: Evaluated | State, copy: bool = False) -> None: ...


def run_all(stages: Sequence[Stage]) -> None:
    """Run `stages` as one group until all have finished."""
    group = StageGroup(map(InstrumentedStage, stages), Discard())
    while not group.finished:
        stage = group.next()
        assert stage is not None, "the stages stalled"
        group.run(stage)


def layers(stages: Sequence[Stage]) -> list[LayerStage]:
    return [stage for stage in stages if isinstance(stage, LayerStage)]


def undivided_backprop(pipeline: Pipeline) -> tuple[list[Stack], list[list[Floats]]]:
    """Back-propagation through the whole network in one loop: the reference.

    Also the true gradients by the output of every layer, one list per step.
    """
    info = dataset_info(DATA)
    made = layer_modules(pipeline, info)
    stacks = [build_stack(pipeline, info.scale, modules, i) for i, modules in enumerate(made)]
    optimizers: list[Optimizer] = [
        Adam(len(s.parameters))
        if pipeline.train.optimizer == "adam"
        else Sgd(len(s.parameters), pipeline.train.momentum)
        for s in stacks
    ]
    rngs = [layer_rng(pipeline, i, UPDATES) for i in range(len(stacks))]
    probability = pipeline.train.update_probability
    gradients = []
    for step in range(1, STEPS + 1):
        an_epoch = len(DATA.x_train) // BATCH
        epoch, number = divmod(step - 1, an_epoch)
        rows = order(pipeline.train.seed, epoch, len(DATA.x_train))[number * BATCH :][:BATCH]
        y: Any = DATA.x_train[rows]
        caches = []
        for stack in stacks:
            y, cache = stack.forward(y, train=True)
            caches.append(cache)
        dy = LOSSES[pipeline.train.loss](y, DATA.y_train[rows]).gradient
        gradients.append([dy])
        for i in reversed(range(len(stacks))):
            dx = stacks[i].backward(caches[i], dy, need_dx=i > 0)
            lr = learning_rate(pipeline.train.lr, DROPS, step)
            if probability == 1 or rngs[i].random() < probability:
                optimizers[i].step(stacks[i].parameters, stacks[i].gradients, lr, 1 / BATCH)
            dy = dx
            gradients[-1].insert(0, dy)
    return stacks, [gradient[1:] for gradient in gradients]


class PerfectModel:
    """Replaces a gradient model; every prediction is the true gradient."""

    def __init__(self, gradients: Sequence[Floats]) -> None:
        self._gradients = iter(gradients)
        self.error = 0.0

    def predict(self, h: Floats, labels: Labels) -> Prediction:  # noqa: ARG002
        return Prediction(next(self._gradients), h, [], 0)

    def named(self, prefix: str) -> dict[str, Floats]:  # noqa: ARG002
        return {}

    def fit(self, prediction: Prediction, true_gradient: Floats, lr: float) -> None:  # noqa: ARG002
        self.error = max(self.error, float(np.abs(prediction.value - true_gradient).max()))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_backprop_over_stages_equals_undivided_backprop(optimizer: str, probability: float) -> None:
    pipeline = toy("backprop", optimizer=optimizer, update_probability=probability)
    stages = build_stages(pipeline, DATA)
    run_all(stages)
    stacks, _ = undivided_backprop(pipeline)
    for layer, stack in zip(layers(stages), stacks, strict=True):
        for name, array in stack.named().items():
            np.testing.assert_array_equal(layer.stack.named()[name], array, err_msg=name)


@pytest.mark.parametrize("rule", ["dni", "cdni"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_dni_with_true_gradients_for_predictions_equals_backprop(rule: str, optimizer: str) -> None:
    pipeline = toy(rule, optimizer=optimizer)
    stacks, gradients = undivided_backprop(pipeline)
    stages = build_stages(pipeline, DATA)
    models = []
    for i, layer in enumerate(layers(stages)[:-1]):
        assert isinstance(layer, DniLayer)
        models.append(PerfectModel([gradient[i] for gradient in gradients]))
        layer.synthetic = models[-1]  # type: ignore[assignment]
    run_all(stages)
    assert [model.error for model in models] == [0.0, 0.0]
    for layer, stack in zip(layers(stages), stacks, strict=True):
        for name, array in stack.named().items():
            np.testing.assert_array_equal(layer.stack.named()[name], array, err_msg=name)


@pytest.mark.service
def test_backprop_equals_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pipeline = toy("backprop")
    stages = build_stages(pipeline, DATA)
    network = torch.nn.Sequential()
    info = dataset_info(DATA)
    for i, modules in enumerate(layer_modules(pipeline, info)):
        named = build_stack(pipeline, info.scale, modules, i).named()
        linear = torch.nn.Linear(*named["0.linear.weight"].shape)
        linear.weight.data = torch.from_numpy(named["0.linear.weight"].T.copy())
        linear.bias.data = torch.from_numpy(named["0.linear.bias"].copy())
        network.append(linear)
        if len(modules) > 1:
            network.append(torch.nn.BatchNorm1d(7))
            network.append(torch.nn.ReLU())
    optimizer = torch.optim.Adam(network.parameters(), lr=pipeline.train.lr)
    drops = torch.optim.lr_scheduler.MultiStepLR(optimizer, [d - 1 for d in DROPS], gamma=0.1)
    an_epoch = len(DATA.x_train) // BATCH
    for step in range(STEPS):
        epoch, number = divmod(step, an_epoch)
        rows = order(0, epoch, len(DATA.x_train))[number * BATCH :][:BATCH]
        x = torch.from_numpy(DATA.x_train[rows].reshape(BATCH, -1)).float() / 255
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(
            network(x), torch.from_numpy(DATA.y_train[rows])
        ).backward()
        optimizer.step()
        drops.step()
    run_all(stages)
    for i, layer in enumerate(layers(stages)):
        ours, theirs = (
            layer.stack.named()["0.linear.weight"],
            network[3 * i].weight.detach().numpy(),
        )
        np.testing.assert_allclose(ours, theirs.T, rtol=2e-3, atol=2e-4)


def test_without_backprop_only_the_output_layer_changes() -> None:
    pipeline = toy("no-bprop")
    before = [layer.stack.parameters.copy() for layer in layers(build_stages(pipeline, DATA))]
    stages = build_stages(pipeline, DATA)
    run_all(stages)
    moved = [
        not np.array_equal(layer.stack.parameters, first)
        for layer, first in zip(layers(stages), before, strict=True)
    ]
    assert moved == [False, False, True]


def test_the_first_step_of_dni_does_not_change_hidden_weights_as_its_prediction_is_zero() -> None:
    pipeline = toy("dni", steps=1, optimizer="sgd")
    before = [layer.stack.parameters.copy() for layer in layers(build_stages(pipeline, DATA))]
    stages = build_stages(pipeline, DATA)
    run_all(stages)
    for layer, first in zip(layers(stages)[:-1], before, strict=False):
        np.testing.assert_array_equal(layer.stack.parameters, first)


def test_backprop_layers_answer_every_gradient_once() -> None:
    stages = build_stages(toy("backprop"), DATA)
    run_all(stages)
    for layer in layers(stages)[:-1]:
        assert isinstance(layer, BackpropLayer)
        assert layer.stats.updates == layer.stats.gradients == STEPS
