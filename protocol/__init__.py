"""What all parts share: messages, their binary form, pipelines and the interface of a stage."""

from protocol.codec.arrays import WireError
from protocol.codec.frames import decode, encode
from protocol.codec.version import VERSION
from protocol.config import DataConfig, LayerConfig, SyntheticConfig, TraceConfig, TrainConfig
from protocol.did_you_mean import did_you_mean
from protocol.errors import DataError, RunError, SpecError, UserError
from protocol.from_dict import from_dict
from protocol.messages import (
    Activation,
    Array,
    Credit,
    DataMessage,
    DatasetReady,
    Evaluated,
    Failed,
    Go,
    Gradient,
    Hello,
    Leave,
    Marker,
    Message,
    Ping,
    Pong,
    Ready,
    Report,
    Start,
    State,
    Stop,
    ToCoordinator,
    ToWorker,
)
from protocol.notes import pipeline_notes
from protocol.pipeline import Edge, Pipeline
from protocol.pipeline_file import read_pipeline, with_absolute_path
from protocol.stage import COORDINATOR, NonFiniteError, NullTracer, Send, Stage, Tracer

__all__ = [
    "COORDINATOR",
    "VERSION",
    "Activation",
    "Array",
    "Credit",
    "DataConfig",
    "DataError",
    "DataMessage",
    "DatasetReady",
    "Edge",
    "Evaluated",
    "Failed",
    "Go",
    "Gradient",
    "Hello",
    "LayerConfig",
    "Leave",
    "Marker",
    "Message",
    "NonFiniteError",
    "NullTracer",
    "Ping",
    "Pipeline",
    "Pong",
    "Ready",
    "Report",
    "RunError",
    "Send",
    "SpecError",
    "Stage",
    "Start",
    "State",
    "Stop",
    "SyntheticConfig",
    "ToCoordinator",
    "ToWorker",
    "TraceConfig",
    "Tracer",
    "TrainConfig",
    "UserError",
    "WireError",
    "decode",
    "did_you_mean",
    "encode",
    "from_dict",
    "pipeline_notes",
    "read_pipeline",
    "with_absolute_path",
]
