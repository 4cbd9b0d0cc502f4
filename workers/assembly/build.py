"""Builds the stages of a pipeline: the only place where shapes, rules and seeds come together.

The initial weights of a layer depend on the seed and the layer's number alone, so they do not
depend on the engine, the worker or the number of processors.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from protocol import Pipeline, SpecError
from protocol.builtin import to_json
from protocol.dataset_info import CLASS_NAMES, DatasetInfo, shape_text, usable_class_names
from workers.assembly.compatibility import MAX_BYTES, condition, layer_modules
from workers.data import Augment, Dataset
from workers.nn import LOSSES, Module, Shape, Stack, readers
from workers.nn.optim import OPTIMIZER_CLASSES, Optimizer, Sgd
from workers.rules.backprop import BackpropLayer, NoBackpropLayer
from workers.rules.dni import DniLayer
from workers.rules.output import OutputLayer
from workers.rules.synthetic import SyntheticGradient, SyntheticInput
from workers.rules.unlocked_dni import UnlockedDniLayer, UnlockedOutputLayer
from workers.stages.layer import LayerStage

LABELS: Final = 10
"""The number of class numbers in the description of a data set."""
WEIGHTS: Final = 0
GRADIENT_MODEL: Final = 1
UPDATES: Final = 2
INPUT_MODEL: Final = 3


def dataset_info(data: Dataset) -> DatasetInfo:
    """The description of a loaded data set."""
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
        class_names=usable_class_names(data.class_names),
    )


def validate_modules(pipeline: Pipeline) -> None:
    """Check the modules without the data. Raises SpecError for those that no data could fit."""
    for i, layer in enumerate(pipeline.layer):
        readers(layer.modules, f"layer[{i}]")
    Augment(pipeline.data.augment, (MAX_BYTES, MAX_BYTES))  # the largest possible image


def build_stack(pipeline: Pipeline, scale: float, made: Sequence[Module], index: int) -> Stack:
    """The stack of layer `index`, initialised; layer 0 multiplies integers by `scale`."""
    rng = layer_rng(pipeline, index, WEIGHTS)
    return Stack(made, rng, scale=1.0 if index else scale)


def build_layer(pipeline: Pipeline, info: DatasetInfo, index: int) -> LayerStage:
    """The stage of layer `index`, counted from 0 at the bottom. Raises SpecError."""
    try:
        layer = _build_layer(pipeline, info, index)
    except MemoryError as error:
        raise SpecError(f"layer[{index}]: not enough memory: {error}") from None
    if index == 0:
        metadata: dict[str, object] = {
            "shape": shape_text(info.shape),
            "dtype": info.dtype,
            "scale": info.scale,
        }
        if info.class_names:
            metadata[CLASS_NAMES] = to_json(info.class_names)
        layer.dataset_metadata = metadata
    return layer


def _build_layer(pipeline: Pipeline, info: DatasetInfo, index: int) -> LayerStage:
    made = layer_modules(pipeline, info)
    stack = build_stack(pipeline, info.scale, made[index], index)
    optimizer = _optimizer(pipeline, len(stack.parameters))
    common = (index, pipeline, stack, optimizer, layer_rng(pipeline, index, UPDATES))
    top = index == len(pipeline.layer) - 1
    if pipeline.rule == "no-bprop" and not top:
        return NoBackpropLayer(*common)
    if pipeline.rule == "backprop" and not top:
        return BackpropLayer(*common)
    loss = LOSSES[pipeline.train.loss]
    if not pipeline.unlocked:
        if top:
            return OutputLayer(*common, loss)
        return DniLayer(*common, build_gradient_model(pipeline, info, stack.output, index))
    inputs = None
    if index:
        inputs = _build_input_model(pipeline, info, made[index - 1][-1].output, index)
    if top:
        return UnlockedOutputLayer(*common, loss, inputs=inputs)
    synthetic = build_gradient_model(pipeline, info, stack.output, index)
    return UnlockedDniLayer(*common, synthetic, inputs=inputs)


def build_gradient_model(
    pipeline: Pipeline, info: DatasetInfo, shape: Shape, index: int
) -> SyntheticGradient:
    """The gradient model of layer `index`, whose activations have `shape`."""
    rng = layer_rng(pipeline, index, GRADIENT_MODEL)
    classes, model = condition(pipeline, info), pipeline.synthetic
    optimizer = partial(_optimizer, pipeline)
    return SyntheticGradient(shape, classes, model.hidden, model.kernel, rng, optimizer)


def _build_input_model(
    pipeline: Pipeline, info: DatasetInfo, shape: Shape, index: int
) -> SyntheticInput:
    """The synthetic-input model of layer `index`, whose input has `shape`."""
    rng, hidden = layer_rng(pipeline, index, INPUT_MODEL), pipeline.synthetic.input_hidden
    make = partial(_optimizer, pipeline)
    return SyntheticInput(info.shape, shape, hidden, rng, make, info.scale)


def layer_rng(pipeline: Pipeline, index: int, purpose: int) -> np.random.Generator:
    """The random numbers of layer `index` for one `purpose`, such as `WEIGHTS`."""
    sequence = np.random.SeedSequence(pipeline.train.seed, spawn_key=(1 + index, purpose))
    return np.random.default_rng(sequence)


def _optimizer(pipeline: Pipeline, size: int) -> Optimizer:
    made = OPTIMIZER_CLASSES[pipeline.train.optimizer]
    return Sgd(size, pipeline.train.momentum) if made is Sgd else made(size)
