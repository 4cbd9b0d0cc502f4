"""Every word that parts of a pipeline say to each other, as immutable records.

Data messages pass along edges (`Pipeline.edges`), control messages between a worker and the
coordinator. The unions at the end let `match` and mypy prove that each reader handles each word.
Arrays in a message are never written again after it is made: the sender keeps using its own
reference, the wire sends it without a copy, and a receiver gets a read-only view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.generic]
MarkName: TypeAlias = Literal["evaluated", "drain", "drained", "end"]
Cause: TypeAlias = Literal["error", "user", "nonfinite"]


class Activation(NamedTuple):
    """One batch on its way up.

    `batch` counts all batches that the source sent, from 1; `step` the training batches among
    them. `x` is (n, *features); `labels` is (n,) class numbers or (n, k) target values.
    """

    batch: int
    step: int
    train: bool
    x: Array
    labels: Array


class Gradient(NamedTuple):
    """The gradient of the summed loss with respect to the activation of `batch`, same shape.

    `credit` is that of `Credit`; riding here it spares a message.
    """

    batch: int
    credit: int
    gradient: Array


class Credit(NamedTuple):
    """Batch `credit`, and all sent before it, have left this edge: the window moves."""

    credit: int


class Mark(NamedTuple):
    """A word that flows with the batches, behind everything sent before it.

    evaluated: the test batches of this evaluation all came before; the top layer reports.
    drain: no training batch follows. The top layer turns it into drained.
    drained: on its way down, behind the last gradient, so that nothing learnt is lost.
    end: nothing at all follows.
    """

    mark: MarkName
    step: int


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first word: who it is, and the address of its inbox for each edge that it ends."""

    name: str
    pid: int
    version: int
    doors: dict[str, object]


@dataclass(frozen=True, slots=True)
class Start:
    """All that a worker needs to begin: the pipeline, the data's facts, its receivers' doors.

    Without facts the source is to say what they are.
    """

    pipeline: dict[str, object]
    facts: dict[str, object]
    doors: dict[str, object]


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is built and wired."""

    name: str


@dataclass(frozen=True, slots=True)
class Described:
    """What the layers need to know of the data, from a source that alone has them."""

    name: str
    facts: dict[str, object]


@dataclass(frozen=True, slots=True)
class Go:
    """To the source: every worker is ready, send."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has done so far; counters are totals since the start.

    `busy` and `elapsed` are seconds at work and since the first message, `training` the seconds
    from there to the newest training batch; `inputs` counts the real activations that taught what
    guesses them, `dropped_inputs` those that came too late for it, and `unsent` what was not sent
    because its receiver was behind by a whole window; `rss_mb` and `peak_rss_mb` are MiB of
    resident memory, staleness is counted in batches taken up between a guess and the arrival of
    its true gradient, `synthetic_cosine` and `norm_ratio` compare the guesses with the true
    gradients that arrived since the last report, None where none did; `loss` is the mean over the
    last 100 steps, None but for the top layer; `window` is how many batches may be in flight on an
    edge out of the core, the widest of them; `ways` has, by neighbour and where the way there is
    long, the window, the quickest round trip of late in ms or None, and the MB that were sent.
    After a report that says `finished` nothing more comes from the core.
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
    ways: dict[str, object] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The outcome of one pass over the test set: summed loss, errors, and how many were judged."""

    name: str
    step: int
    loss: float
    errors: int
    judged: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A worker cannot go on.

    error: a defect, `text` is its traceback. user: something the user can mend. nonfinite: a
    number left the range of float32.
    """

    name: str
    step: int
    cause: Cause
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A layer's weights, gradient model and optimiser, as named arrays."""

    name: str
    step: int
    facts: dict[str, object]
    names: tuple[str, ...]
    arrays: tuple[Array, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.arrays):
            raise ValueError(f"{len(self.names)} names for {len(self.arrays)} arrays")


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: finish the batch in hand, send your state, and leave."""


@dataclass(frozen=True, slots=True)
class Leave:
    """To a worker: all is done or lost; leave at once."""


@dataclass(frozen=True, slots=True)
class Ping:
    """What time is it at the coordinator? It was `asked` on the clock of who asks, in ns."""

    name: str
    asked: int


@dataclass(frozen=True, slots=True)
class Pong:
    """To who asked at `asked`: it is `time` on the coordinator's monotonic clock, in ns."""

    asked: int
    time: int


@dataclass(frozen=True, slots=True)
class Enrol:
    """An agent, which starts workers on its machine, asks to be one of this run.

    `key` is its public key in hex, `address` the one at which its workers can be reached, `layers`
    the names of those that it wishes for, `cores` how many processor cores it gives to all of its
    workers together. With no `slots` it only asks whether it would be.
    """

    version: int
    software: str
    key: str
    host: str
    address: str
    slots: int
    cores: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """To an agent: under this name it belongs to the run. `clock` is the head's, by name."""

    name: str
    clock: str


@dataclass(frozen=True, slots=True)
class Refused:
    """To an agent: it does not."""

    text: str


@dataclass(frozen=True, slots=True)
class Launch:
    """To an agent: start these workers, each with its configuration and so many threads (0: as
    many as it has cores for them).
    """

    workers: dict[str, object]
    threads: int


@dataclass(frozen=True, slots=True)
class Died:
    """An agent's worker ended: with an exit status, or by a signal. `words` are its last."""

    name: str
    worker: str
    status: int
    signal: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """A part of a file that an agent brings home; `last` ends the file."""

    name: str
    path: str
    offset: int
    last: bool
    data: Array = field(repr=False)


@dataclass(frozen=True, slots=True)
class Goodbye:
    """An agent is interrupted and wants to leave; the head answers Leave when it may."""

    name: str


DataMessage: TypeAlias = Activation | Gradient | Credit | Mark
ToCoordinator: TypeAlias = Hello | Described | Ready | Report | Evaluated | Failed | State | Ping
ToWorker: TypeAlias = Start | Go | Stop | Leave | Pong
FromAgent: TypeAlias = Enrol | Died | Upload | Ping | Goodbye
ToAgent: TypeAlias = Welcome | Refused | Launch | Leave | Pong
Message: TypeAlias = DataMessage | ToCoordinator | ToWorker | FromAgent | ToAgent
