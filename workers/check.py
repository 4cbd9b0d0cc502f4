"""What a pipeline will need, worked out without starting anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocol import Pipeline
from workers.build import Facts, condition, layer_modules
from workers.nn import Module, Shape
from workers.synthetic import model_modules

_RUNTIME_MB = 45.0
"""Resident memory of a worker before it holds anything, MiB, as measured."""


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer: shapes of an example, numbers of parameters, bytes a batch on the edge below.

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
    memory_mb: float


def check(pipeline: Pipeline, facts: Facts) -> list[LayerPlan]:
    """The plan of every layer. Raises SpecError where pipeline and data do not fit together."""
    plans = []
    shape, item = facts.shape, np.dtype(facts.dtype).itemsize
    labels = 8 if facts.labelled else 4 * facts.classes
    last = len(pipeline.layer) - 1
    for i, made in enumerate(layer_modules(pipeline, facts)):
        output = made[-1].output
        has_model = i < last and pipeline.rule in ("dni", "cdni")
        model = _size(_model(pipeline, facts, output)) if has_model else 0
        up = pipeline.data.batch * (math.prod(shape) * item + labels)
        down = pipeline.data.batch * math.prod(shape) * 4
        sends_down = i > 0 and pipeline.rule != "no-bprop"
        parameters = _size(made)
        plans.append(
            LayerPlan(
                name=f"layer{i}",
                modules=pipeline.layer[i].modules,
                input=shape,
                output=output,
                parameters=parameters,
                synthetic_parameters=model,
                up_bytes=up,
                down_bytes=down if sends_down else 0,
                memory_mb=_memory(pipeline, parameters + model, up, output),
            )
        )
        shape, item = output, 4
    return plans


def _model(pipeline: Pipeline, facts: Facts, shape: Shape) -> list[Module]:
    return model_modules(shape, condition(pipeline, facts), pipeline.synthetic.hidden)


def _size(made: Sequence[Module]) -> int:
    return sum(math.prod(shape) for module in made for shape in module.parameters.values())


def _memory(pipeline: Pipeline, parameters: int, up: int, output: Shape) -> float:
    """Parameters, gradients and moments; the batches of both windows and those being computed."""
    vectors = 4 if pipeline.train.optimizer == "adam" else 3
    batch = pipeline.data.batch * math.prod(output) * 4
    in_flight = pipeline.window * (up + 3 * batch) + 4 * up + 6 * batch
    return _RUNTIME_MB + (4 * vectors * parameters + in_flight) / (1 << 20)
