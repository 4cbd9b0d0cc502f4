"""Random updates (section 3.3 of the paper): each layer updates on a random part of its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from protocol import Pipeline, Send
from protocol.pipeline import RULES
from tests.network import Network, tiny
from workers.nn import Floats
from workers.stages.layer import LayerStage
from workers.stages.pending import SentBatch

STEPS = 400
TOLERANCE = 5 * (STEPS / 4) ** 0.5
"""Five standard deviations of the number of updates in `STEPS` steps with probability 1/2."""
LEARNING = [rule for rule in RULES if rule != "no-bprop"]
NEVER = 1e-12

Choices = dict[str, list[bool]]


def run(rule: str, **train: Any) -> Network:
    network = Network(tiny(rule, eval_every=0, **train))
    network.drain(20 * network.pipeline.train.steps)
    return network


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> Choices:
    """Whether each layer updated on each of its batches, by the layer's name."""
    chosen_batches: Choices = {}
    choose: Callable[[LayerStage], bool] = LayerStage.chooses_batch

    def noted(layer: LayerStage) -> bool:
        outcome = choose(layer)
        chosen_batches.setdefault(layer.name, []).append(outcome)
        return outcome

    monkeypatch.setattr(LayerStage, "chooses_batch", noted)
    return chosen_batches


@pytest.mark.parametrize("rule", LEARNING)
def test_layers_update_on_half_of_the_batches_independently(rule: str, choices: Choices) -> None:
    network = run(rule, steps=STEPS, update_probability=0.5, schedule="async")
    for layer in network.layers():
        stats, chosen_batches = layer.stats, choices[layer.name]
        assert stats.activations == len(chosen_batches)
        assert stats.updates == sum(chosen_batches) == layer.optimizer.count
        assert abs(stats.updates - len(chosen_batches) / 2) < TOLERANCE
    names = list(choices)
    for i, one in enumerate(names):
        for other in names[:i]:
            alike = [a == b for a, b in zip(choices[one], choices[other], strict=False)]
            assert abs(sum(alike) - len(alike) / 2) < TOLERANCE


@pytest.mark.parametrize("rule", LEARNING)
def test_the_choice_of_batches_depends_on_the_seed(rule: str, choices: Choices) -> None:
    settings: dict[str, Any] = {"steps": 50, "update_probability": 0.5}
    found = []
    for seed in (1, 1, 2):
        choices.clear()
        found.append((run(rule, seed=seed, **settings).arrays(), dict(choices)))
    assert found[0] == found[1]
    assert found[0][1] != found[2][1]


@pytest.mark.parametrize("rule", LEARNING)
def test_with_probability_1_no_random_number_is_drawn(rule: str) -> None:
    network = run(rule, update_probability=1.0)
    for layer, fresh in zip(network.layers(), Network(network.pipeline).layers(), strict=True):
        assert layer.rng.bit_generator.state == fresh.rng.bit_generator.state
        assert layer.stats.updates == layer.stats.activations


def parameters(network: Network) -> list[bytes]:
    return [layer.stack.parameters.tobytes() for layer in network.layers()]


@pytest.mark.parametrize("rule", RULES)
def test_layers_that_never_update_keep_their_initial_weights(rule: str) -> None:
    network = run(rule, steps=30, update_probability=NEVER)
    assert parameters(network) == parameters(Network(network.pipeline))
    assert [layer.stats.updates for layer in network.layers()] == [0, 0, 0, 0]


def gradients(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The true gradients that reached the first layer."""
    network = Network(pipeline)
    lowest = network.layers()[0]
    found: list[Any] = []
    use = lowest.on_true_gradient

    def noted(batch: int, sent: SentBatch, true_gradient: Floats) -> Iterator[Send]:
        found.append(true_gradient.copy())
        return use(batch, sent, true_gradient)

    monkeypatch.setattr(lowest, "on_true_gradient", noted)
    network.drain()
    return found


def test_backprop_sends_the_true_gradient_down_without_an_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learns = gradients(tiny("backprop"), monkeypatch)
    idle = gradients(tiny("backprop", update_probability=NEVER), monkeypatch)
    assert len(learns) == len(idle) == tiny("backprop").train.steps
    assert_array_equal(learns[0], idle[0])  # the first batch met the same weights
    assert np.any(learns[-1] != idle[-1])
    assert all(np.any(gradient) for gradient in idle)


def test_a_gradient_model_is_fitted_on_batches_without_an_update() -> None:
    network = run("cdni", steps=30, update_probability=NEVER)
    assert [layer.stats.gradients for layer in network.layers()] == [0, 0, 0, 0]
    network = run("cdni", steps=60, update_probability=0.5, schedule="lockstep")
    for layer, above in pairwise(network.layers()):
        assert layer.stats.gradients == above.stats.updates
        assert layer.stats.gradients + layer.stats.dropped_gradients == 60
        assert layer.stats.updates != layer.stats.gradients
