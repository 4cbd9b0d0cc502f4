"""What a layer keeps stays finite, or the run says so: else it may stand still unnoticed."""

from __future__ import annotations

import numpy as np
import pytest

from protocol import (
    Activation,
    DataConfig,
    LayerConfig,
    Mark,
    NonFiniteError,
    Pipeline,
    TrainConfig,
)
from protocol.dataset_info import DatasetInfo
from workers.assembly.build import build_layer
from workers.stages.layer import CHECK_EVERY, LayerStage

FACTS = DatasetInfo(
    shape=(4,), dtype="<f4", scale=1.0, classes=1, labelled=False, examples=1000, tests=10
)


def layer(on_nonfinite: str = "fail") -> LayerStage:
    """The only one of a network, under a squared error."""
    train = TrainConfig(steps=10 * CHECK_EVERY, loss="squared-error", on_nonfinite=on_nonfinite)
    one = (LayerConfig(("linear 1",)),)
    made = build_layer(
        Pipeline(name="kept", data=DataConfig(name="x"), train=train, layer=one), FACTS, 0
    )
    assert isinstance(made, LayerStage)
    return made


def learn(of: LayerStage, batch: int, target: float) -> None:
    x = np.random.default_rng(batch).uniform(1, 2, (256, 4)).astype(np.float32)
    labels = np.full((256, 1), target, np.float32)
    of.receive("source", Activation(batch, batch, True, x, labels))
    work(of)


def drain(of: LayerStage) -> None:
    of.receive("source", Mark("drain", of.step))
    work(of)


def work(of: LayerStage) -> None:
    with np.errstate(all="ignore"):  # as in a worker
        while of.ready:
            list(of.work())


def test_a_second_moment_that_is_not_finite_is_told_soon() -> None:
    wild = layer()
    learn(wild, 1, 1e17)  # its loss is finite, and its weights are
    for batch in range(2, CHECK_EVERY):
        learn(wild, batch, 3.0)
    with pytest.raises(NonFiniteError, match=r"optimizer\.second_moment is not finite"):
        learn(wild, CHECK_EVERY, 3.0)


def test_and_in_a_short_run_before_its_last_test() -> None:
    wild = layer()
    learn(wild, 1, 1e17)
    with pytest.raises(NonFiniteError, match=r"optimizer\.second_moment is not finite"):
        drain(wild)


@pytest.mark.parametrize(("on_nonfinite", "target"), [("ignore", 1e17), ("fail", 3.0)])
def test_nothing_is_said_where_that_is_wished_or_all_is_well(
    on_nonfinite: str, target: float
) -> None:
    made = layer(on_nonfinite)
    learn(made, 1, target)
    drain(made)
    assert np.isfinite(made.optimizer.named()["second_moment"]).all() == (target == 3.0)
