"""All messages between the parts of a run, as immutable records.

Data messages travel along edges (`Pipeline.edges`), control messages between a worker or an agent
and the coordinator. The unions at the end let `match` and mypy prove that each receiver handles
each message. An array in a message is never written after the message is made: the sender keeps its
own reference, the transport sends it without a copy, and a receiver gets a read-only view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
MarkerName: TypeAlias = Literal["evaluated", "drain", "drained", "end"]
Cause: TypeAlias = Literal["error", "user", "nonfinite"]


class Activation(NamedTuple):
    """A batch on its way up.

    `batch` counts all batches that the source sent, from 1; `step` counts the training batches
    among them. `x` is (n, *features); `labels` is (n,) class numbers or (n, k) target values.
    """

    batch: int
    step: int
    train: bool
    x: Array
    labels: Array


class Gradient(NamedTuple):
    """The gradient of the summed loss with respect to the activation of `batch`, same shape.

    `credit` means what it means in `Credit`; it is here to save a message.
    """

    batch: int
    credit: int
    gradient: Array


class Credit(NamedTuple):
    """Batch `credit`, and all batches sent before it, no longer count as in flight on this edge."""

    credit: int


class Marker(NamedTuple):
    """A signal that travels in order with the batches.

    evaluated: all test batches of this evaluation came before; the output layer reports the result.
    drain: no training batch follows; the output layer answers with drained.
    drained: travels down behind the last gradient, so that every gradient is used.
    end: nothing follows.
    """

    name: MarkerName
    step: int


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker has started; `endpoints` are those of its inboxes, by edge."""

    name: str
    pid: int
    version: int
    endpoints: dict[str, object]


@dataclass(frozen=True, slots=True)
class Start:
    """To a worker: the pipeline, the description of the data, and its receivers' endpoints by edge.

    `dataset` is a `DatasetInfo` as a dict. It is empty in the message to a source that alone has
    the data; the source answers with DatasetReady.
    """

    pipeline: dict[str, object]
    dataset: dict[str, object]
    endpoints: dict[str, object]


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker has built its stages and connected its outlets."""

    name: str


@dataclass(frozen=True, slots=True)
class DatasetReady:
    """From a source that alone has the data: their description, a `DatasetInfo` as a dict."""

    name: str
    dataset: dict[str, object]


@dataclass(frozen=True, slots=True)
class Go:
    """To the source: every worker is ready, so training begins."""


@dataclass(frozen=True, slots=True)
class Report:
    """Statistics of a stage; counters are totals since the start.

    `busy` and `elapsed` are the seconds at work and since the first message, `training` the seconds
    from the first message to the newest training batch. `inputs` counts the real activations that
    fitted the input model, `dropped_inputs` those that came too late for it, and `unsent` the
    messages not sent because the receiver was a whole window behind. `rss_mb` and `peak_rss_mb` are
    MiB of resident memory. Staleness is the number of batches processed between a prediction and
    its true gradient. `synthetic_cosine` and `norm_ratio` compare the predictions with the true
    gradients that arrived since the last report; they are None if none arrived. `loss` is the mean
    over the last 100 steps, None except for the output layer. `window` is the largest window of the
    edges out of the stage. `links` has, for each neighbour on another host: the window, the
    smallest recent round-trip time in ms or None, and the MB sent. A report with `finished` is the
    last message of the stage.
    """

    name: str
    step: int = 0
    updates: int = 0
    activations: int = 0
    gradients: int = 0
    dropped_gradients: int = 0
    inputs: int = 0
    dropped_inputs: int = 0
    unsent: int = 0
    samples: int = 0
    queue: int = 0
    staleness_p50: int = 0
    staleness_max: int = 0
    synthetic_cosine: float | None = None
    norm_ratio: float | None = None
    loss: float | None = None
    busy: float = 0.0
    elapsed: float = 0.0
    training: float = 0.0
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0
    window: int = 0
    links: dict[str, object] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The result of one pass over the test set: summed loss, and wrong among `judged` outputs."""

    name: str
    step: int
    loss: float
    errors: int
    judged: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot continue.

    error: a defect, and `text` is its traceback. user: a mistake that the user can correct.
    nonfinite: a number left the range of its dtype.
    """

    name: str
    step: int
    cause: Cause
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The weights, the gradient model and the optimizer of a layer, as named arrays."""

    name: str
    step: int
    metadata: dict[str, object]
    names: tuple[str, ...]
    arrays: tuple[Array, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.arrays):
            raise ValueError(f"{len(self.names)} names for {len(self.arrays)} arrays")


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: finish the current batch, send State, then the last Report."""


@dataclass(frozen=True, slots=True)
class Leave:
    """To a worker or an agent: exit at once; the run is over."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A request for the coordinator's time; `sent_at` is the sender's monotonic clock in ns."""

    name: str
    sent_at: int


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to the Ping with the same `sent_at`; `time` is the coordinator's clock in ns."""

    sent_at: int
    time: int


@dataclass(frozen=True, slots=True)
class Enrol:
    """A request of an agent, which starts workers on its host, to take part in the run.

    `key` is its public key in hexadecimal, `address` the address at which its workers are reached.
    `slots` is the number of workers that it can start; with 0 it only asks whether the head would
    accept it. `cpus` is the number of processors for all of its workers together.
    """

    version: int
    software: str
    key: str
    host: str
    address: str
    slots: int
    cpus: int
    preferred_layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """To an agent: it takes part under this name. `clock` names the head's monotonic clock."""

    name: str
    clock: str


@dataclass(frozen=True, slots=True)
class Refused:
    """To an agent: it does not take part; `text` is the reason."""

    text: str


@dataclass(frozen=True, slots=True)
class Launch:
    """To an agent: start `workers`, which maps each name to its configuration.

    Each worker gets `threads` threads; 0 means that the agent divides its processors among them.
    """

    workers: dict[str, object]
    threads: int


@dataclass(frozen=True, slots=True)
class Died:
    """A worker of an agent ended by exit status or signal; `log_tail` is the end of its log."""

    name: str
    worker: str
    status: int
    signal: int
    log_tail: str


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A part of a file that an agent sends to the head; `last` ends the file."""

    name: str
    path: str
    offset: int
    last: bool
    data: Array = field(repr=False)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """An agent was interrupted and is about to leave; the head answers with Leave in its time."""

    name: str


DataMessage: TypeAlias = Activation | Gradient | Credit | Marker
ToCoordinator: TypeAlias = Hello | DatasetReady | Ready | Report | Evaluated | Failed | State | Ping
ToWorker: TypeAlias = Start | Go | Stop | Leave | Pong
FromAgent: TypeAlias = Enrol | Died | Upload | Ping | Goodbye
ToAgent: TypeAlias = Welcome | Refused | Launch | Leave | Pong
Message: TypeAlias = DataMessage | ToCoordinator | ToWorker | FromAgent | ToAgent
