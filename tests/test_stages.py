"""What a layer does with its messages, step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol import Activation, Credit, Gradient, Stage
from tests.assembly import build_stages
from tests.network import DATA, STEPS, Network, tiny
from workers.rules.dni import DniLayer

X, LABELS = np.ones((8, 6), np.float32), np.zeros(8, np.int64)
TRUE_GRADIENT = np.ones((8, 5), np.float32)


@contextmanager
def noted_calls(monkeypatch: pytest.MonkeyPatch, *methods: tuple[object, str]) -> Iterator[Any]:
    """A list that gets the names of `methods` (of objects) as they are called."""
    calls: list[str] = []
    for owner, name in methods:
        monkeypatch.setattr(owner, name, _noting(getattr(owner, name), name, calls))
    yield calls


def _noting(method: Any, name: str, calls: list[str]) -> Any:
    def noted(*arguments: Any) -> Any:
        calls.append(name)
        return method(*arguments)

    return noted


def first_layer(**train: Any) -> DniLayer:
    layer = build_stages(tiny("cdni", **train), DATA)[1]
    assert isinstance(layer, DniLayer)
    return layer


def activate(layer: DniLayer, *batches: int) -> None:
    """Let the source send training batches to `layer`."""
    for batch in batches:
        layer.receive("source", Activation(batch, batch, True, X, LABELS))


def answer(layer: DniLayer, *batches: int) -> None:
    """Let the layer above send the true gradients of batches, with their credits."""
    for batch in batches:
        layer.receive("layer1", Gradient(batch, batch, TRUE_GRADIENT))


def work_all(stage: Stage) -> None:
    while stage.ready:
        list(stage.work())


@pytest.mark.parametrize("rule", ["dni", "cdni"])
def test_a_step_sends_up_then_predicts_then_updates_then_sends_down(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = build_stages(tiny(rule), DATA)[2]
    assert isinstance(layer, DniLayer)
    x = np.ones((8, 5), np.float32)
    layer.receive(layer.below, Activation(1, 1, True, x, LABELS))
    methods = (layer.synthetic, "predict"), (layer.optimizer, "step")
    with noted_calls(monkeypatch, *methods) as happened:
        while layer.ready:
            happened.extend(f"{type(send.message).__name__} {send.to}" for send in layer.work())
    assert happened == ["Activation layer2", "predict", "step", "Gradient layer0"]


def test_older_gradients_are_used_before_a_prediction_and_its_own_gradient_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = first_layer(window=2, gradient_queue=0)
    methods = (layer.synthetic, "predict"), (layer.synthetic, "fit")
    with noted_calls(monkeypatch, *methods) as happened:
        activate(layer, 1)
        work_all(layer)
        activate(layer, 2)
        list(layer.work())
        answer(layer, 1, 2)
        work_all(layer)
    assert happened == ["predict", "fit", "predict", "fit"]
    assert layer.stats.gradients == 2


def test_a_full_queue_of_gradients_drops_the_oldest_and_keeps_its_credit() -> None:
    layer = first_layer(window=3, gradient_queue=1)
    activate(layer, 1, 2, 3, 4)
    work_all(layer)
    handled = [layer.stats.activations]
    answer(layer, 1, 2, 3)
    work_all(layer)
    assert (layer.stats.gradients, layer.stats.dropped_gradients) == (1, 2)
    assert [*handled, layer.stats.activations] == [3, 4]


def test_a_layer_with_a_full_window_waits_but_still_uses_gradients() -> None:
    layer = first_layer(window=1)
    activate(layer, 1, 2)
    work_all(layer)
    waiting = layer.ready
    answer(layer, 1)
    assert (waiting, layer.ready) == (False, True)


def test_a_credit_for_a_batch_that_was_not_sent_does_not_open_the_window() -> None:
    layer = first_layer(window=1)
    layer.receive("layer1", Credit(1000))
    work_all(layer)
    activate(layer, 1, 2)
    work_all(layer)
    assert layer.step == 1


def test_evaluations_do_not_change_the_weights() -> None:
    often, never = (
        Network(replace(p, train=replace(p.train, schedule="lockstep", eval_every=every)))
        for p, every in ((tiny("cdni"), 1), (tiny("cdni"), 0))
    )
    often.drain()
    never.drain()
    assert often.arrays() == never.arrays()
    assert len(often.evaluations) == STEPS
    assert len(never.evaluations) == 1


def test_the_newest_gradient_is_used_before_a_prediction_although_an_older_one_was_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer = first_layer(window=3, gradient_queue=1)
    activate(layer, 1, 2)
    work_all(layer)
    methods = (layer.synthetic, "predict"), (layer.synthetic, "fit")
    with noted_calls(monkeypatch, *methods) as happened:
        activate(layer, 3)
        list(layer.work())
        answer(layer, 1, 2)
        work_all(layer)
    assert happened == ["fit", "predict"]
