"""What a pipeline will need, worked out without starting anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocol import Edge, Pipeline
from protocol.codec.quantization import size
from protocol.dataset_info import DatasetInfo
from workers.assembly.compatibility import (
    condition,
    gradient_model_modules,
    input_model_modules,
    layer_modules,
)
from workers.nn import Conv, Module, Shape
from workers.rules.synthetic import conditioned_shape
from workers.rules.unlocked_dni import WINDOWS_REMEMBERED

_RUNTIME_MB = 45.0
"""Resident memory of a worker before it holds anything, MiB, as measured."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer: shapes of an example, numbers of parameters, bytes a batch on the edge below.

    `work` is the multiply-adds of a forward pass of an example through layer and synthetic models;
    `memory_mb` estimates the worker's resident memory, MiB.
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
    """The plan of every layer. Raises SpecError where pipeline and data do not fit together."""
    plans = []
    shape, dtype = info.shape, np.dtype(info.dtype)
    labels = 8 if info.labelled else 4 * info.classes
    last = len(pipeline.layer) - 1
    for i, made in enumerate(layer_modules(pipeline, info)):
        output = made[-1].output
        has_model = i < last and pipeline.decoupled
        model = gradient_model_modules(pipeline, info, output) if has_model else []
        pictures = has_model and pipeline.conditioned and len(output) == 3  # copied with labels
        joint = conditioned_shape(output, condition(pipeline, info)) if pictures else (0,)
        inputs = input_model_modules(pipeline, info, shape) if i and pipeline.unlocked else []
        up = pipeline.data.batch * (math.prod(shape) * dtype.itemsize + labels)
        kept = math.prod(output) + math.prod(joint) + _outputs(model) + _outputs(inputs)
        batch, edge = (pipeline.data.batch, *shape), Edge(*pipeline.stages[i : i + 2])
        down = size(
            batch, np.dtype(np.float32), pipeline.dtype_on(Edge(edge.receiver, edge.sender))
        )
        sends_down = i > 0 and pipeline.rule != "no-bprop"
        plans.append(
            LayerPlan(
                name=f"layer{i}",
                modules=pipeline.layer[i].modules,
                input=shape,
                output=output,
                parameters=_size(made),
                synthetic_parameters=_size(model) + _size(inputs),
                up_bytes=size(batch, dtype, pipeline.dtype_on(edge)) + pipeline.data.batch * labels,
                down_bytes=down if sends_down else 0,
                work=_work(made) + _work(model) + _work(inputs),
                memory_mb=_memory(pipeline, [*made, *model, *inputs], up, kept, _outputs(made)),
            )
        )
        shape, dtype = output, np.dtype(np.float32)
    return plans


def _size(made: Sequence[Module]) -> int:
    return sum(math.prod(shape) for module in made for shape in module.parameters.values())


def _work(made: Sequence[Module]) -> int:
    """Every parameter is used once at each place of the output."""
    return sum(_size([module]) * math.prod(module.output[:-1]) for module in made)


def _memory(
    pipeline: Pipeline, modules: Sequence[Module], up: int, kept: int, passing: int
) -> float:
    """Parameters, gradients and moments; the batches of both windows and those being computed.

    Of each example in the window above `kept` numbers are: the activation and, with a gradient
    model, what went into and came out of each of its modules. Of one being computed the `passing`
    numbers are that came out of each module, and as many again for what they work with. An
    unlocked layer remembers more than a window.
    """
    remembered = (WINDOWS_REMEMBERED if pipeline.unlocked else 1) * pipeline.window
    vectors = 4 if pipeline.train.optimizer == "adam" else 3
    scratch = max((module.scratch for module in modules if isinstance(module, Conv)), default=0)
    examples = remembered * kept + 2 * passing
    numbers = vectors * _size(modules) + scratch + pipeline.data.batch * examples
    return _RUNTIME_MB + (4 * numbers + (pipeline.window + 4) * up) / (1 << 20)


def _outputs(made: Sequence[Module]) -> int:
    return sum(math.prod(module.output) for module in made)
