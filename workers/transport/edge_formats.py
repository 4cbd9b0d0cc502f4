"""How wide numbers go along each edge out of a worker, and what is too large for that."""

from __future__ import annotations

from protocol import Activation, DataMessage, Edge, Gradient, NonFiniteError, Pipeline
from protocol.codec.quantization import overflows


class Widths:
    """The widths of all edges of `pipeline`, in the words of `protocol.codec.quantization`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._widths = {edge: pipeline.dtype_on(edge) for edge in pipeline.edges}
        self._strict = pipeline.train.on_nonfinite == "fail"

    def width(self, edge: Edge, message: DataMessage) -> str:
        """How wide `message` goes along `edge`.

        Raises NonFiniteError where numbers in it would become infinite there, unless that is to be
        ignored.
        """
        wire = self._widths[edge]
        if self._strict and isinstance(message, Activation | Gradient):
            array = message.x if isinstance(message, Activation) else message.gradient
            if overflows(array, wire):
                raise NonFiniteError(f"what it sends along {edge} leaves the range of {wire}")
        return wire
