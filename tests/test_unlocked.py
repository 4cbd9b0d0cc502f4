"""Unlocked layers: what they do with the source's batches and with their neighbours' messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol import Activation, Credit, DataMessage, Gradient, Marker, Send, Stage
from protocol.saved_weights import SavedWeights
from tests.assembly import build_stages
from tests.network import DATA, Network, tiny
from workers.rules.unlocked_dni import (
    WINDOWS_REMEMBERED,
    UnlockedDniLayer,
    UnlockedLayer,
    UnlockedOutputLayer,
)
from workers.stages.source import Source
from workers.tools.evaluate import evaluate_weights

LABELS = np.zeros(8, np.int64)
RAW, REAL = np.ones((8, 6), np.float32), np.full((8, 5), 2, np.float32)
RULES = pytest.mark.parametrize("rule", ["unlocked-dni", "unlocked-cdni"])


def middle(**train: Any) -> UnlockedDniLayer:
    """layer1 of four."""
    layer = build_stages(tiny("unlocked-cdni", **train), DATA)[2]
    assert isinstance(layer, UnlockedDniLayer)
    return layer


def work(stage: Stage) -> list[Send]:
    """All that the stage sends until it waits for messages."""
    sends: list[Send] = []
    while stage.ready:
        sends.extend(stage.work())
    return sends


def kinds(sends: Sequence[Send]) -> list[str]:
    return [f"{type(message).__name__} {to}" for to, message in sends]


def own(batch: int) -> tuple[str, DataMessage]:
    return "source", Activation(batch, batch, True, RAW, LABELS)


def real(batch: int) -> tuple[str, DataMessage]:
    return "layer0", Activation(batch, batch, True, REAL, LABELS)


def true_gradient(batch: int, credit: int = 0) -> tuple[str, DataMessage]:
    return "layer2", Gradient(batch, credit, REAL)


def test_a_step_sends_up_then_learns_then_sends_down_then_credits_the_source() -> None:
    layer = middle()
    layer.receive(*own(1))
    sends = work(layer)
    assert kinds(sends) == ["Activation layer2", "Gradient layer0", "Credit source"]
    assert sends[-1].message == Credit(1)
    assert layer.stats.updates == 1


def test_an_activation_waits_for_the_own_batch_and_then_fits_the_input_model() -> None:
    layer = middle()
    assert layer.inputs is not None
    layer.receive(*real(1))
    assert not layer.ready
    layer.receive(*own(1))
    sends = kinds(work(layer))
    assert sends == ["Activation layer2", "Gradient layer0", "Credit source", "Credit layer0"]
    assert layer.stats.inputs == layer.inputs.optimizer.count == 1
    assert layer.stats.activations == 1


def test_an_activation_for_a_missed_batch_is_dropped_and_counted() -> None:
    layer = middle()
    layer.receive(*real(1))
    layer.receive(*own(2))
    sends = work(layer)
    assert (layer.stats.inputs, layer.stats.dropped_inputs) == (0, 1)
    assert Send("layer0", Credit(1)) in sends
    layer.receive(*real(2))
    work(layer)
    assert (layer.stats.inputs, layer.stats.dropped_inputs) == (1, 1)


def test_a_gradient_waits_for_the_own_batch_and_is_dropped_if_that_was_missed() -> None:
    layer = middle()
    layer.receive(*true_gradient(1))
    layer.receive(*true_gradient(2))
    assert not layer.ready
    layer.receive(*own(2))
    sends = work(layer)
    assert layer.stats.gradients == layer.synthetic.optimizer.count == 1
    assert Send("layer2", Credit(2)) in sends


def test_messages_of_neighbours_are_used_after_their_own_batch_and_before_the_next() -> None:
    layer = middle()
    for message in (own(1), own(2), real(1), true_gradient(1), real(2), true_gradient(2)):
        layer.receive(*message)
    counts = []
    while layer.ready:
        list(layer.work())
        stats = layer.stats
        counts.append((stats.activations, stats.updates, stats.gradients, stats.inputs))
    assert counts == [
        (1, 0, 0, 0),  # forward and up
        (1, 1, 0, 0),  # predict, learn and send down
        (1, 1, 1, 0),  # the gradient of the batch, then its real activation
        (1, 1, 1, 1),
        (2, 1, 1, 1),
        (2, 2, 1, 1),
        (2, 2, 2, 1),
        (2, 2, 2, 2),
    ]


def test_nothing_is_sent_to_neighbours_that_are_a_window_behind_and_that_is_counted() -> None:
    layer = middle(window=2)
    for batch in (1, 2, 3, 4, 5):
        layer.receive(*own(batch))
    sends = kinds(work(layer))
    assert sends.count("Activation layer2") == sends.count("Gradient layer0") == 2
    assert sends.count("Credit source") == layer.stats.updates == 5
    assert layer.stats.unsent == 2 * 3
    layer.receive("layer2", Credit(1))
    layer.receive("layer0", Credit(2))
    layer.receive(*own(6))
    assert kinds(work(layer)) == ["Activation layer2", "Gradient layer0", "Credit source"]
    assert layer.stats.unsent == 2 * 3


def test_only_a_few_windows_of_own_batches_are_remembered() -> None:
    window = 2
    layer = middle(window=window)
    last = 100
    for batch in range(1, last + 1):
        layer.receive(*own(batch))
        work(layer)
        assert len(layer.predicted) <= WINDOWS_REMEMBERED * window
        assert len(layer.unanswered) <= WINDOWS_REMEMBERED * window
    oldest = last + 1 - WINDOWS_REMEMBERED * window
    assert list(layer.predicted) == list(layer.unanswered) == list(range(oldest, last + 1))
    layer.receive(*real(oldest - 1))
    layer.receive(*real(oldest))
    work(layer)
    assert (layer.stats.inputs, layer.stats.dropped_inputs) == (1, 1)
    layer.receive(*true_gradient(oldest + 1))
    work(layer)
    assert layer.stats.gradients == 1
    assert layer.stats.dropped_gradients == oldest
    assert min(layer.unanswered) == oldest + 2


def test_the_drain_marker_is_sent_up_when_it_has_come_from_both_senders() -> None:
    for first, second in (("source", "layer0"), ("layer0", "source")):
        layer = middle()
        layer.receive(first, Marker("drain", 1))
        assert work(layer) == []
        layer.receive(second, Marker("drain", 1))
        assert work(layer) == [Send("layer2", Marker("drain", 1))]


def test_messages_from_stages_that_may_not_send_them_are_ignored() -> None:
    layer = middle()
    for _, message in (own(1), real(1), true_gradient(1)):
        layer.receive("layer3", message)
        layer.receive("coordinator", message)
    layer.receive("source", Gradient(1, 1, REAL))
    assert not layer.ready


def test_the_output_layer_learns_from_its_predicted_input() -> None:
    layer = build_stages(tiny("unlocked-dni"), DATA)[-1]
    assert isinstance(layer, UnlockedOutputLayer)
    layer.receive(*own(1))
    assert kinds(work(layer)) == ["Gradient layer2", "Credit source"]
    assert layer.report().loss is not None
    assert layer.stats.updates == 1


# -- the source


def source(**train: Any) -> Source:
    stage = build_stages(tiny("unlocked-dni", **{"steps": 9, "eval_every": 0, **train}), DATA)[0]
    assert isinstance(stage, Source)
    return stage


def receivers(stage: Source) -> list[str]:
    return [to for to, _ in stage.work()] if stage.ready else []


ALL_LAYERS = ["layer0", "layer1", "layer2", "layer3"]


def test_the_source_feeds_all_layers_and_waits_for_a_slow_one_while_the_others_have_work() -> None:
    stage = source(window=3)
    assert [receivers(stage) for _ in range(4)] == [ALL_LAYERS, ALL_LAYERS, ALL_LAYERS, []]
    for name in ("layer0", "layer1", "layer3"):
        stage.receive(name, Credit(2))
    assert receivers(stage) == []  # they have a batch each
    stage.receive("layer0", Credit(3))
    stage.receive("layer1", Credit(3))
    assert receivers(stage) == []
    stage.receive("layer3", Credit(3))
    assert receivers(stage) == ["layer0", "layer1", "layer3"]
    stage.receive("layer2", Credit(1))
    assert receivers(stage) == ALL_LAYERS


def test_the_source_waits_for_two_slow_layers() -> None:
    stage = source(window=1)
    receivers(stage)
    stage.receive("layer0", Credit(1))
    stage.receive("layer3", Credit(1))
    assert receivers(stage) == []
    stage.receive("layer1", Credit(1))
    assert receivers(stage) == ["layer0", "layer1", "layer3"]


@pytest.mark.parametrize("every", [0, 2])
def test_no_layer_misses_the_batch_before_a_test(every: int) -> None:
    stage = source(window=1, eval_every=every)
    assert receivers(stage) == ALL_LAYERS
    for name in ALL_LAYERS[1:]:
        stage.receive(name, Credit(1))
    assert receivers(stage) == ([] if every else ALL_LAYERS[1:])
    stage.receive("layer0", Credit(1))
    assert bool(receivers(stage)) == bool(every)


# -- whole networks


@RULES
@pytest.mark.parametrize("slow", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 4])
def test_a_very_slow_layer_stalls_no_evaluation(rule: str, slow: int, window: int) -> None:
    steps = 60
    network = Network(tiny(rule, steps=steps, eval_every=20, window=window))
    names = list(network.stages)
    for turn in range(20_000):
        if network.finished:
            break
        for name in names:
            if name != names[1 + slow] or turn % 25 == 0:
                network.work(name)
        for edge in network.queues:
            network.deliver(edge)
    assert [e.step for e in network.evaluations] == [20, 40, 60]
    handled = [layer.stats.activations for layer in network.layers()]
    assert handled.pop(slow) < 2 * steps / 3
    if window > 1:
        assert min(handled) > 0.9 * steps


def saved(network: Network) -> list[SavedWeights]:
    return [SavedWeights(layer.name, layer.arrays()) for layer in network.layers()]


@RULES
def test_evaluation_passes_through_the_layers_without_synthetic_models(rule: str) -> None:
    pipeline = tiny(rule, steps=30)
    network = Network(pipeline)
    network.drain()
    weights = saved(network)
    result = evaluate_weights(pipeline, DATA, weights)
    last = network.evaluations[-1]
    assert (last.errors, last.judged) == (result.errors, result.judged)
    assert last.loss == pytest.approx(result.loss, rel=1e-6)
    locked = replace(pipeline, rule="backprop")
    assert evaluate_weights(locked, DATA, weights).loss == result.loss
    for layer in network.layers():
        assert isinstance(layer, UnlockedLayer)
        if layer.inputs is not None:
            layer.inputs.stack.parameters.fill(np.nan)  # evaluation does not use the models
    again = evaluate_weights(pipeline, DATA, saved(network))
    assert again.loss == result.loss
