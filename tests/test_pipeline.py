"""A pipeline as a value: it is equal after a file and a message, and it decides the weights."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from protocol import (
    DataConfig,
    LayerConfig,
    Pipeline,
    SpecError,
    Start,
    SyntheticConfig,
    TrainConfig,
    decode,
    encode,
)
from protocol.codec.quantization import EDGE_DTYPES
from protocol.config import LOSSES, ON_NONFINITE, OPTIMIZERS, SCHEDULES
from protocol.dataset_info import DatasetInfo
from protocol.from_dict import from_dict
from protocol.pipeline import RULES
from tests.examples import examples
from workers.assembly.build import build_gradient_model, build_layer
from workers.assembly.compatibility import layer_modules
from workers.nn import Floats
from workers.stages.source import order

DIGITS = DatasetInfo((8, 8), "|u1", 1 / 16, classes=10, labelled=True, examples=100, tests=20)

BIG = st.integers(1, 10**6)
BIGS = st.lists(BIG, max_size=3).map(tuple)
RATES = st.floats(1e-9, 10)
TEXTS = st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple)
PATHS = st.text(min_size=1).filter(lambda text: "\0" not in text)
TRAINS = st.builds(
    TrainConfig,
    steps=BIG,
    loss=st.sampled_from(LOSSES),
    optimizer=st.sampled_from(OPTIMIZERS),
    lr=RATES,
    lr_drops=BIGS,
    momentum=st.floats(0, 0.99),
    seed=st.integers(0, 2**63 - 1),
    window=st.integers(1, 4096),
    gradient_queue=st.none() | BIG,
    schedule=st.sampled_from(SCHEDULES),
    eval_every=BIG,
    threads=BIG,
    on_nonfinite=st.sampled_from(ON_NONFINITE),
)
PIPELINES = st.builds(
    Pipeline,
    name=st.from_regex(r"[a-zé0-9_][ a-zé0-9_.]*", fullmatch=True),
    rule=st.sampled_from(RULES),
    data=st.builds(DataConfig, name=st.text(), batch=BIG, augment=TEXTS)
    | st.builds(DataConfig, path=PATHS, batch=BIG),
    train=TRAINS,
    synthetic=st.builds(
        SyntheticConfig, hidden=BIGS, kernel=st.sampled_from([1, 3, 99]), lr=st.none() | RATES
    ),
    layer=st.lists(st.builds(LayerConfig, TEXTS), min_size=1, max_size=4).map(tuple),
) | st.builds(
    Pipeline,
    data=st.just(DataConfig(name="digits")),
    train=st.builds(TrainConfig, update_probability=st.floats(0, 1, exclude_min=True)),
    synthetic=st.builds(SyntheticConfig, input_hidden=BIGS),
    layer=st.just((LayerConfig(("relu",)),) * 3),
    placement=st.sampled_from([(), ((0, 1, 2),), ((2, 0), (1,)), ((0,), (1,), (2,))]),
    edge_dtype=st.sampled_from(EDGE_DTYPES),
    edge_dtypes=st.dictionaries(
        st.sampled_from(["source>layer0", "layer0>layer1", "layer2>layer1"]),
        st.sampled_from(EDGE_DTYPES),
    ),
)


@examples(100)
@given(PIPELINES)
def test_a_pipeline_is_equal_after_a_file_and_after_a_message(pipeline: Pipeline) -> None:
    assert from_dict(Pipeline, tomllib.loads(tomli_w.dumps(pipeline.as_dict()))) == pipeline
    (header,) = encode(Start(pipeline.as_dict(), {}, {}))
    start = decode([bytes(header)])
    assert isinstance(start, Start)
    assert from_dict(Pipeline, start.pipeline) == pipeline


VALUES = replace(DIGITS, labelled=False, classes=3)
MISFITS: dict[tuple[str, ...], tuple[DatasetInfo, tuple[str, ...]]] = {
    ("linaer 10",): (DIGITS, ("layer[0].modules[0]: unknown module", "'linear'")),
    ("relu", ""): (DIGITS, ("layer[0].modules[1]: unknown module", "known: linear")),
    ("linear 10", "relu 3"): (DIGITS, ("layer[0].modules[1]", "should be 'relu'")),
    ("linear",): (DIGITS, ("layer[0].modules[0]", "'linear <outputs>'")),
    **{
        (f"linear {n}",): (DIGITS, ("layer[0].modules[0]", "whole number"))
        for n in ("0", "-10", "1e1", "ten", "9" * 5000)
    },
    ("linear 9",): (DIGITS, ("layer[0].modules", "9 outputs", "'linear 10'")),
    ("relu",): (DIGITS, ("layer[0].modules", "(8, 8)", "'flatten'")),
    ("linear 4",): (VALUES, ("train.loss: cross-entropy", "argmax(axis=1)", "'squared-error'")),
    ("linear 3",): (replace(VALUES, classes=1), ("train.loss: cross-entropy", "astype('int64')")),
    ("linear 10",): (replace(DIGITS, examples=31), ("data.batch: 32", "31 training examples")),
}


@pytest.mark.parametrize("modules", MISFITS, ids=lambda modules: modules[-1][:20])
def test_a_network_that_does_not_fit_its_data_is_refused(modules: tuple[str, ...]) -> None:
    info, parts = MISFITS[modules]
    pipeline = Pipeline(data=DataConfig(name="digits", batch=32), layer=(LayerConfig(modules),))
    with pytest.raises(SpecError) as caught:
        layer_modules(pipeline, info)
    assert str(caught.value).startswith(parts[0])
    assert all(part in str(caught.value) for part in parts)


def weights(pipeline: Pipeline, index: int = 1) -> list[Floats]:
    """The initial weights of a layer and of its gradient model."""
    stack = build_layer(pipeline, DIGITS, index).stack
    model = build_gradient_model(pipeline, DIGITS, stack.output, index).stack
    return [stack.parameters.copy(), model.parameters.copy()]


def test_initial_weights_depend_only_on_the_seed_and_the_number_of_the_layer() -> None:
    hidden, output = LayerConfig(("linear 12", "relu")), LayerConfig(("linear 10",))
    data, deep = DataConfig(name="digits", batch=32), SyntheticConfig(hidden=(5,))
    first = Pipeline(data=data, synthetic=deep, layer=(hidden, hidden, hidden, output))
    expected = weights(first)
    train = TrainConfig(window=9, threads=3, steps=5, optimizer="sgd", schedule="lockstep")
    for other in (
        replace(first, layer=(hidden, hidden, output), train=train, name="other"),
        replace(first, layer=(hidden, hidden), data=DataConfig(path="mine", batch=4)),
        *(replace(first, rule="cdni", train=TrainConfig(loss=loss)) for loss in LOSSES),
    ):
        for ours, theirs in zip(weights(other), expected, strict=True):
            assert_array_equal(ours, theirs)
    for rule in RULES:
        assert_array_equal(weights(replace(first, rule=rule))[0], expected[0])
    for changed in (weights(replace(first, train=TrainConfig(seed=1))), weights(first, 2)):
        for ours, theirs in zip(changed, expected, strict=True):
            assert np.any(ours != theirs)


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 100), st.integers(2, 50))
def test_the_order_of_examples_depends_on_seed_and_epoch(seed: int, epoch: int, n: int) -> None:
    rows = order(seed, epoch, n)
    assert sorted(rows) == list(range(n))
    assert_array_equal(rows, order(seed, epoch, n))
    longer = [order(*at, 1000).tolist() for at in ((seed, epoch), (seed, epoch + 1), (seed + 1, 0))]
    assert longer[0] not in longer[1:]
