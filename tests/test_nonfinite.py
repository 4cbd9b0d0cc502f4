"""A kept array that is not finite ends the run; otherwise learning could stop unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

from protocol import (
    Activation,
    DataConfig,
    LayerConfig,
    Marker,
    NonFiniteError,
    Pipeline,
    TrainConfig,
)
from protocol.dataset_info import DatasetInfo
from workers.assembly.build import build_layer
from workers.stages.layer import CHECK_EVERY, LayerStage

INFO = DatasetInfo(
    shape=(4,), dtype="<f4", scale=1.0, classes=1, labelled=False, examples=1000, tests=10
)


def layer(on_nonfinite: str = "fail") -> LayerStage:
    """The only layer of a network, with a squared error."""
    train = TrainConfig(steps=10 * CHECK_EVERY, loss="squared-error", on_nonfinite=on_nonfinite)
    one = (LayerConfig(("linear 1",)),)
    made = build_layer(
        Pipeline(name="kept", data=DataConfig(name="x"), train=train, layer=one), INFO, 0
    )
    assert isinstance(made, LayerStage)
    return made


def learn(stage: LayerStage, batch: int, target: float) -> None:
    x = np.random.default_rng(batch).uniform(1, 2, (256, 4)).astype(np.float32)
    labels = np.full((256, 1), target, np.float32)
    stage.receive("source", Activation(batch, batch, True, x, labels))
    work(stage)


def drain(stage: LayerStage) -> None:
    stage.receive("source", Marker("drain", stage.step))
    work(stage)


def work(stage: LayerStage) -> None:
    with np.errstate(all="ignore"):  # as in a worker
        while stage.ready:
            list(stage.work())


def test_an_infinite_second_moment_is_found_after_a_fixed_number_of_updates() -> None:
    diverging = layer()
    learn(diverging, 1, 1e17)  # its loss and its weights are finite
    for batch in range(2, CHECK_EVERY):
        learn(diverging, batch, 3.0)
    with pytest.raises(NonFiniteError, match=r"optimizer\.second_moment is not finite"):
        learn(diverging, CHECK_EVERY, 3.0)


def test_an_infinite_second_moment_is_found_before_the_last_evaluation() -> None:
    diverging = layer()
    learn(diverging, 1, 1e17)
    with pytest.raises(NonFiniteError, match=r"optimizer\.second_moment is not finite"):
        drain(diverging)


@pytest.mark.parametrize(("on_nonfinite", "target"), [("ignore", 1e17), ("fail", 3.0)])
def test_nothing_is_raised_if_that_is_configured_or_all_is_finite(
    on_nonfinite: str, target: float
) -> None:
    made = layer(on_nonfinite)
    learn(made, 1, target)
    drain(made)
    assert np.isfinite(made.optimizer.named()["second_moment"]).all() == (target == 3.0)
