"""Random updates (section 3.3 of the paper): each layer learns from batches of its own choice."""

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
FAR = 5 * (STEPS / 4) ** 0.5
"""Five standard deviations of how often one of two ways is taken in so many steps."""
LEARNING = [rule for rule in RULES if rule != "no-bprop"]
NEVER = 1e-12

Dice = dict[str, list[bool]]


def run(rule: str, **train: Any) -> Network:
    network = Network(tiny(rule, eval_every=0, **train))
    network.drain(20 * network.pipeline.train.steps)
    return network


@pytest.fixture
def dice(monkeypatch: pytest.MonkeyPatch) -> Dice:
    """What every layer has thrown so far, by the layer's name."""
    thrown: Dice = {}
    chosen: Callable[[LayerStage], bool] = LayerStage.chooses_batch

    def noted(layer: LayerStage) -> bool:
        outcome = chosen(layer)
        thrown.setdefault(layer.name, []).append(outcome)
        return outcome

    monkeypatch.setattr(LayerStage, "chooses_batch", noted)
    return thrown


@pytest.mark.parametrize("rule", LEARNING)
def test_half_of_the_batches_make_an_update_each_layer_by_itself(rule: str, dice: Dice) -> None:
    network = run(rule, steps=STEPS, update_probability=0.5, schedule="async")
    for layer in network.layers():
        stats, thrown = layer.stats, dice[layer.name]
        assert stats.activations == len(thrown)
        assert stats.updates == sum(thrown) == layer.optimizer.count
        assert abs(stats.updates - len(thrown) / 2) < FAR
    names = list(dice)
    for i, one in enumerate(names):
        for other in names[:i]:
            alike = [a == b for a, b in zip(dice[one], dice[other], strict=False)]
            assert abs(sum(alike) - len(alike) / 2) < FAR


@pytest.mark.parametrize("rule", LEARNING)
def test_a_seed_repeats_and_another_does_not(rule: str, dice: Dice) -> None:
    settings: dict[str, Any] = {"steps": 50, "update_probability": 0.5}
    found = []
    for seed in (1, 1, 2):
        dice.clear()
        found.append((run(rule, seed=seed, **settings).learnt(), dict(dice)))
    assert found[0] == found[1]
    assert found[0][1] != found[2][1]


@pytest.mark.parametrize("rule", LEARNING)
def test_with_certainty_nothing_is_drawn(rule: str) -> None:
    network = run(rule, update_probability=1.0)
    for core, fresh in zip(network.layers(), Network(network.pipeline).layers(), strict=True):
        assert core.rng.bit_generator.state == fresh.rng.bit_generator.state
        assert core.stats.updates == core.stats.activations


def parameters(network: Network) -> list[bytes]:
    return [layer.stack.parameters.tobytes() for layer in network.layers()]


@pytest.mark.parametrize("rule", RULES)
def test_layers_that_never_learn_keep_their_first_weights(rule: str) -> None:
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


def test_backprop_passes_the_true_gradient_on_where_it_does_not_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learns = gradients(tiny("backprop"), monkeypatch)
    idle = gradients(tiny("backprop", update_probability=NEVER), monkeypatch)
    assert len(learns) == len(idle) == tiny("backprop").train.steps
    assert_array_equal(learns[0], idle[0])  # the first batch met the same weights
    assert np.any(learns[-1] != idle[-1])
    assert all(np.any(gradient) for gradient in idle)


def test_a_guesser_learns_from_batches_that_its_layer_does_not_learn_from() -> None:
    network = run("cdni", steps=30, update_probability=NEVER)
    assert [layer.stats.gradients for layer in network.layers()] == [0, 0, 0, 0]
    network = run("cdni", steps=60, update_probability=0.5, schedule="lockstep")
    for layer, above in pairwise(network.layers()):
        assert layer.stats.gradients == above.stats.updates
        assert layer.stats.gradients + layer.stats.dropped_gradients == 60
        assert layer.stats.updates != layer.stats.gradients
