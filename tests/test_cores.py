"""What a core does with its messages, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol import Activation, Credit, Gradient, Stage
from tests.network import DATA, STEPS, Network, tiny
from workers.assembly.build import build_stages
from workers.rules.dni import Dni


def _note(monkeypatch: pytest.MonkeyPatch, of: object, name: str, happened: list[str]) -> None:
    """Let calls of the method `name` leave their name in `happened`."""
    method = getattr(of, name)

    def noted(*arguments: Any) -> Any:
        happened.append(name)
        return method(*arguments)

    monkeypatch.setattr(of, name, noted)


@pytest.mark.parametrize("rule", ["dni", "cdni"])
def test_a_step_sends_up_then_guesses_then_updates_then_sends_down(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    pipeline = tiny(rule)
    layer = build_stages(pipeline, DATA)[2]
    assert isinstance(layer, Dni)
    _note(monkeypatch, layer.synthetic, "predict", happened)
    _note(monkeypatch, layer.optimizer, "step", happened)
    x = np.ones((8, 5), np.float32)
    layer.receive(layer.below, Activation(1, 1, True, x, np.zeros(8, np.int64)))
    while layer.ready:
        happened.extend(f"{type(send.message).__name__} {send.to}" for send in layer.work())
    assert happened == ["Activation layer2", "predict", "step", "Gradient layer0"]


def run_dry(core: Stage) -> None:
    while core.ready:
        list(core.work())


def test_older_gradients_are_used_before_a_guess_and_its_own_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []
    layer = build_stages(tiny("cdni", window=2, gradient_queue=0), DATA)[1]
    assert isinstance(layer, Dni)
    _note(monkeypatch, layer.synthetic, "predict", happened)
    _note(monkeypatch, layer.synthetic, "fit", happened)
    x, truth = np.ones((8, 6), np.float32), np.ones((8, 5), np.float32)
    layer.receive(layer.below, Activation(1, 1, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    layer.receive(layer.below, Activation(2, 2, True, x, np.zeros(8, np.int64)))
    list(layer.work())
    layer.receive("layer1", Gradient(1, 1, truth))
    layer.receive("layer1", Gradient(2, 2, truth))
    run_dry(layer)
    assert happened == ["predict", "fit", "predict", "fit"]
    assert layer.stats.gradients == 2


def test_a_full_queue_of_gradients_drops_the_oldest_and_keeps_its_credit() -> None:
    layer = build_stages(tiny("cdni", window=3, gradient_queue=1), DATA)[1]
    assert isinstance(layer, Dni)
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2, 3, 4):
        layer.receive("source", Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    taken = [layer.stats.activations]
    truth = np.ones((8, 5), np.float32)
    for batch in (1, 2, 3):
        layer.receive("layer1", Gradient(batch, batch, truth))
    run_dry(layer)
    assert (layer.stats.gradients, layer.stats.dropped_gradients) == (1, 2)
    assert [*taken, layer.stats.activations] == [3, 4]


def test_a_layer_above_its_window_waits_but_still_takes_gradients() -> None:
    layer = build_stages(tiny("cdni", window=1), DATA)[1]
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2):
        layer.receive("source", Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    waiting = layer.ready
    layer.receive("layer1", Gradient(1, 1, np.ones((8, 5), np.float32)))
    assert (waiting, layer.ready) == (False, True)


def test_a_foreign_credit_cannot_open_the_window_further() -> None:
    layer = build_stages(tiny("cdni", window=1), DATA)[1]
    layer.receive("layer1", Credit(1000))
    run_dry(layer)
    x = np.ones((8, 6), np.float32)
    for batch in (1, 2):
        layer.receive("source", Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    assert layer.step == 1


def test_the_evaluations_do_not_change_what_is_learnt() -> None:
    often, never = (
        Network(replace(p, train=replace(p.train, schedule="lockstep", eval_every=every)))
        for p, every in ((tiny("cdni"), 1), (tiny("cdni"), 0))
    )
    often.drain()
    never.drain()
    assert often.learnt() == never.learnt()
    assert len(often.evaluations) == STEPS
    assert len(never.evaluations) == 1


def test_a_dropped_gradient_does_not_keep_the_newest_from_the_guess(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []
    layer = build_stages(tiny("cdni", window=3, gradient_queue=1), DATA)[1]
    assert isinstance(layer, Dni)
    x, truth = np.ones((8, 6), np.float32), np.ones((8, 5), np.float32)
    for batch in (1, 2):
        layer.receive(layer.below, Activation(batch, batch, True, x, np.zeros(8, np.int64)))
    run_dry(layer)
    _note(monkeypatch, layer.synthetic, "predict", happened)
    _note(monkeypatch, layer.synthetic, "fit", happened)
    layer.receive(layer.below, Activation(3, 3, True, x, np.zeros(8, np.int64)))
    list(layer.work())
    for batch in (1, 2):
        layer.receive("layer1", Gradient(batch, batch, truth))
    run_dry(layer)
    assert happened == ["fit", "predict"]
