"""In which format arrays travel along each edge out of a worker, and which arrays do not fit."""

from __future__ import annotations

from protocol import Activation, DataMessage, Edge, Gradient, NonFiniteError, Pipeline
from protocol.codec.quantization import overflows


class EdgeFormats:
    """The format of each edge of `pipeline`; see `protocol.codec.quantization`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._formats = {edge: pipeline.dtype_on(edge) for edge in pipeline.edges}
        self._strict = pipeline.train.on_nonfinite == "fail"

    def format_of(self, edge: Edge, message: DataMessage) -> str:
        """The format in which `message` travels along `edge`.

        Raises NonFiniteError if finite numbers of `message` would become infinite in it, unless
        `train.on_nonfinite` is "ignore".
        """
        edge_dtype = self._formats[edge]
        if self._strict and isinstance(message, Activation | Gradient):
            array = message.x if isinstance(message, Activation) else message.gradient
            if overflows(array, edge_dtype):
                raise NonFiniteError(f"what it sends along {edge} leaves the range of {edge_dtype}")
        return edge_dtype
