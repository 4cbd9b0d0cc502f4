"""Cores from a pipeline: the one place where shapes, rules and seeds come together.

A layer's first weights depend on the seed and the layer's number alone, so they are the same on
whatever engine, worker or number of cores the layer lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from protocol import Pipeline, SpecError, Stage
from protocol.builtin import json_text
from protocol.dataset_info import CLASS_NAMES, DatasetInfo, sized, usable_names
from workers.assembly.fit import MAX_BYTES, condition, layer_modules
from workers.data import Augment, Dataset
from workers.nn import LOSSES, Module, Shape, Stack, readers
from workers.nn.optim import Adam, Optimizer, Sgd
from workers.rules.dni import Decoupled, Fixed, Locked, Top
from workers.rules.synthetic import SyntheticGradient, SyntheticInput
from workers.rules.unlocked import UnlockedHidden, UnlockedTop
from workers.stages.layer import Layer
from workers.stages.source import Source

LABELS: Final = 10
"""How many of the class numbers are among the facts."""
_WEIGHTS: Final = 0
_SYNTHETIC: Final = 1
_UPDATES: Final = 2
_INPUTS: Final = 3


def dataset_info(data: Dataset) -> DatasetInfo:
    """What is to be known of a loaded data set."""
    labels = data.labels
    return DatasetInfo(
        shape=data.shape,
        dtype=data.x_train.dtype.str,
        scale=data.scale,
        classes=data.classes,
        labelled=data.labelled,
        examples=len(data.x_train),
        tests=len(data.x_test),
        labels=tuple(labels[:LABELS].tolist()),
        distinct=len(labels) or len(data.maybe_labels),
        class_names=usable_names(data.class_names),
    )


def spelled(pipeline: Pipeline) -> None:
    """Look at what can be told without the data. Raises SpecError for what no data would fit."""
    for i, layer in enumerate(pipeline.layer):
        readers(layer.modules, f"layer[{i}]")
    Augment(pipeline.data.augment, (MAX_BYTES, MAX_BYTES))  # the largest picture there can be


def build_stack(pipeline: Pipeline, scale: float, made: Sequence[Module], index: int) -> Stack:
    """Layer `index` with its first weights; the lowest multiplies integers by `scale`."""
    rng = _rng(pipeline, index, _WEIGHTS)
    return Stack(made, rng, scale=1.0 if index else scale)


def build_layer(pipeline: Pipeline, info: DatasetInfo, index: int) -> Layer:
    """The core of layer `index`, counted from 0 at the bottom. Raises SpecError."""
    try:
        layer = _build_layer(pipeline, info, index)
    except MemoryError as error:
        raise SpecError(f"layer[{index}]: more memory than there is: {error}") from None
    if index == 0:
        layer.data_facts = {"shape": sized(info.shape), "dtype": info.dtype, "scale": info.scale}
        if info.class_names:
            layer.data_facts[CLASS_NAMES] = json_text(info.class_names)
    return layer


def _build_layer(pipeline: Pipeline, info: DatasetInfo, index: int) -> Layer:
    made = layer_modules(pipeline, info)
    stack = build_stack(pipeline, info.scale, made[index], index)
    optimizer = _optimizer(pipeline, len(stack.parameters))
    common = (index, pipeline, stack, optimizer, _rng(pipeline, index, _UPDATES))
    top = index == len(pipeline.layer) - 1
    if pipeline.rule == "no-bprop" and not top:
        return Fixed(*common)
    if pipeline.rule == "backprop" and not top:
        return Locked(*common)
    judge = LOSSES[pipeline.train.loss]
    if not pipeline.unlocked:
        if top:
            return Top(*common, judge)
        return Decoupled(*common, build_synthetic(pipeline, info, stack.output, index))
    inputs = _inputs(pipeline, info, made[index - 1][-1].output, index) if index else None
    if top:
        return UnlockedTop(*common, judge, inputs=inputs)
    synthetic = build_synthetic(pipeline, info, stack.output, index)
    return UnlockedHidden(*common, synthetic, inputs=inputs)


def build_cores(pipeline: Pipeline, data: Dataset) -> list[Stage]:
    """The source and all layers, in order. Raises SpecError."""
    info = dataset_info(data)
    layers = [build_layer(pipeline, info, i) for i in range(len(pipeline.layer))]
    return [Source(pipeline, data), *layers]


def build_synthetic(
    pipeline: Pipeline, info: DatasetInfo, shape: Shape, index: int
) -> SyntheticGradient:
    """The gradient model behind layer `index`, whose activations have `shape`."""
    rng = _rng(pipeline, index, _SYNTHETIC)
    classes, model = condition(pipeline, info), pipeline.synthetic
    optimizer = partial(_optimizer, pipeline)
    return SyntheticGradient(shape, classes, model.hidden, model.kernel, rng, optimizer)


def _inputs(pipeline: Pipeline, info: DatasetInfo, shape: Shape, index: int) -> SyntheticInput:
    """What guesses the input of layer `index`, which has `shape`."""
    rng, hidden = _rng(pipeline, index, _INPUTS), pipeline.synthetic.input_hidden
    make = partial(_optimizer, pipeline)
    return SyntheticInput(info.shape, shape, hidden, rng, make, info.scale)


def _rng(pipeline: Pipeline, index: int, purpose: int) -> np.random.Generator:
    sequence = np.random.SeedSequence(pipeline.train.seed, spawn_key=(1 + index, purpose))
    return np.random.default_rng(sequence)


def _optimizer(pipeline: Pipeline, size: int) -> Optimizer:
    if pipeline.train.optimizer == "sgd":
        return Sgd(size, pipeline.train.momentum)
    return Adam(size)
