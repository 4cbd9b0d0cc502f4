"""Computes the shapes, parameters, traffic and memory of each layer, without starting a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocol import Edge, Pipeline
from protocol.codec.quantization import encoded_size
from protocol.dataset_info import DatasetInfo
from workers.assembly.compatibility import (
    condition,
    gradient_model_modules,
    input_model_modules,
    layer_modules,
)
from workers.nn import Conv, Module, Shape
from workers.nn.optim import OPTIMIZER_CLASSES
from workers.rules.synthetic import conditioned_shape
from workers.rules.unlocked_dni import WINDOWS_REMEMBERED

_RUNTIME_MB = 45.0
"""The measured resident memory of a worker without a layer, in MiB."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """The needs of one layer.

    `input` and `output` are shapes of one example. `up_bytes` and `down_bytes` are the bytes per
    batch on the edge below. `work` counts the multiply-adds of a forward pass of one example
    through the layer and its synthetic models. `memory_mb` estimates the resident memory of the
    worker in MiB.
    """

    name: str
    modules: tuple[str, ...]
    input: Shape
    output: Shape
    parameters: int
    synthetic_parameters: int
    up_bytes: int
    down_bytes: int
    work: int
    memory_mb: float


def plan_layers(pipeline: Pipeline, info: DatasetInfo) -> list[LayerPlan]:
    """The plan of every layer. Raises SpecError if the pipeline does not fit the data set."""
    plans = []
    shape, dtype = info.shape, np.dtype(info.dtype)
    for index, modules in enumerate(layer_modules(pipeline, info)):
        plans.append(_plan_layer(pipeline, info, index, modules, shape, dtype))
        shape, dtype = plans[-1].output, np.dtype(np.float32)
    return plans


def _plan_layer(
    pipeline: Pipeline,
    info: DatasetInfo,
    index: int,
    modules: Sequence[Module],
    shape: Shape,
    dtype: np.dtype[np.generic],
) -> LayerPlan:
    """The plan of layer number `index`, whose inputs have `shape` and `dtype`."""
    output = modules[-1].output
    predicts = index < len(pipeline.layer) - 1 and pipeline.decoupled
    gradient_model = gradient_model_modules(pipeline, info, output) if predicts else []
    copies_images = predicts and pipeline.conditioned and len(output) == 3  # with labels
    joint = conditioned_shape(output, condition(pipeline, info)) if copies_images else (0,)
    predicts_input = index > 0 and pipeline.unlocked
    input_model = input_model_modules(pipeline, info, shape) if predicts_input else []
    models = [*gradient_model, *input_model]
    labels = pipeline.data.batch * (8 if info.labelled else 4 * info.classes)
    up = pipeline.data.batch * math.prod(shape) * dtype.itemsize + labels
    stored = math.prod(output) + math.prod(joint) + _outputs(models)
    edge = Edge(*pipeline.stages[index : index + 2])
    return LayerPlan(
        name=f"layer{index}",
        modules=pipeline.layer[index].modules,
        input=shape,
        output=output,
        parameters=_parameters(modules),
        synthetic_parameters=_parameters(models),
        up_bytes=_edge_bytes(pipeline, edge, shape, dtype) + labels,
        down_bytes=_down_bytes(pipeline, edge, shape) if index else 0,
        work=_work(modules) + _work(models),
        memory_mb=_memory(pipeline, [*modules, *models], up, stored, _outputs(modules)),
    )


def _edge_bytes(pipeline: Pipeline, edge: Edge, shape: Shape, dtype: np.dtype[np.generic]) -> int:
    """The size of a batch of examples of `shape`, as encoded on `edge`."""
    return encoded_size((pipeline.data.batch, *shape), dtype, pipeline.dtype_on(edge))


def _down_bytes(pipeline: Pipeline, edge: Edge, shape: Shape) -> int:
    """The size of a gradient in the opposite direction of `edge`; 0 if none is sent."""
    if pipeline.rule == "no-bprop":
        return 0
    down = Edge(edge.receiver, edge.sender)
    return _edge_bytes(pipeline, down, shape, np.dtype(np.float32))


def _parameters(modules: Sequence[Module]) -> int:
    return sum(math.prod(shape) for module in modules for shape in module.parameters.values())


def _work(modules: Sequence[Module]) -> int:
    """The multiply-adds: every parameter is used once at each position of the output."""
    return sum(_parameters([module]) * math.prod(module.output[:-1]) for module in modules)


def _memory(
    pipeline: Pipeline, modules: Sequence[Module], up: int, stored: int, passing: int
) -> float:
    """The memory for parameters, gradients, moments, the batches in both windows, and the work.

    Each example in the window above takes `stored` numbers: the activation and, with a gradient
    model, the inputs and outputs of its modules. Each example in work takes the `passing` numbers
    that the modules output, and as many again for intermediate results. An unlocked layer stores
    more than one window.
    """
    remembered = (WINDOWS_REMEMBERED if pipeline.unlocked else 1) * pipeline.window
    vectors = 2 + OPTIMIZER_CLASSES[pipeline.train.optimizer].vectors
    scratch = max((module.scratch for module in modules if isinstance(module, Conv)), default=0)
    examples = remembered * stored + 2 * passing
    numbers = vectors * _parameters(modules) + scratch + pipeline.data.batch * examples
    return _RUNTIME_MB + (4 * numbers + (pipeline.window + 4) * up) / (1 << 20)


def _outputs(modules: Sequence[Module]) -> int:
    """The numbers that all modules output for one example."""
    return sum(math.prod(module.output) for module in modules)
