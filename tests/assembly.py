"""All stages of a pipeline in one process."""

from __future__ import annotations

from protocol import Pipeline, Stage
from workers.assembly.build import build_layer, dataset_info
from workers.data import Dataset
from workers.stages.source import Source


def build_stages(pipeline: Pipeline, data: Dataset) -> list[Stage]:
    """The source and all layers, in order."""
    info = dataset_info(data)
    layers = [build_layer(pipeline, info, i) for i in range(len(pipeline.layer))]
    return [Source(pipeline, data), *layers]
