"""What a pipeline is: layers, rule, data, training; checked where it is made.

A `Pipeline` is an immutable value. Files, overrides and Python code all make the same one, so
what one of them can say the others can. Module names and shapes are checked by `workers.nn`,
which knows what modules there are.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple, cast

from protocol.builtin import plain, plain_value
from protocol.codec.quantization import FULL, WIRES
from protocol.errors import SpecError
from protocol.validation import at_least, each_of, fraction, is_path, one_of, positive

LARGEST_WINDOW: Final = 4096
LARGEST_TRACE: Final = 1 << 20
RULES: Final = ("no-bprop", "backprop", "dni", "cdni", "unlocked-dni", "unlocked-cdni")
SOURCE: Final = "source"
HEAD: Final = "head"
"""The machine at which a run on several begins and is recorded."""
OPTIMIZERS: Final = ("adam", "sgd")
SCHEDULES: Final = ("async", "lockstep")
LOSSES: Final = ("cross-entropy", "squared-error", "binary-cross-entropy")
ON_NONFINITE: Final = ("fail", "ignore")
TRACES: Final = ("ring", "full", "messages", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where examples come from: a known data set by `name`, or the user's own at `path`.

    `augment` says how training pictures are varied, such as `("flip", "crop 4")`; `workers.data`
    knows the words. `host` names the machine that has the data, by its host name or as it is called
    in the run, such as "host2"; the source lives there, and `path` is a path there.
    """

    name: str | None = None
    path: str | None = None
    batch: int = 256
    augment: tuple[str, ...] = ()
    host: str = HEAD

    def __post_init__(self) -> None:
        if not self.host or not self.host.isprintable():
            raise SpecError(f"data.host: {self.host!r} cannot be the name of a machine")
        if (self.name is None) == (self.path is None):
            raise SpecError("data: give either name or path")
        if self.path is not None and not is_path(self.path):
            raise SpecError(f"data.path: {self.path!r} cannot be a path")
        at_least("data.batch", self.batch, 1)
        if isinstance(cast(object, self.augment), str):
            raise SpecError(f"data.augment: a list is needed, not {self.augment!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """How to train. `lr` is divided by 10 when a layer reaches each step of `lr_drops`."""

    steps: int = 1000
    loss: str = "cross-entropy"
    optimizer: str = "adam"
    lr: float = 1e-3
    lr_drops: tuple[int, ...] = ()
    momentum: float = 0.9
    seed: int = 0
    window: int = 4
    max_window: int = 64
    gradient_queue: int | None = None
    schedule: str = "async"
    eval_every: int = 0
    checkpoint_every: int = 0
    threads: int = 0
    on_nonfinite: str = "fail"
    update_probability: float = 1.0

    def __post_init__(self) -> None:
        one_of("train.loss", self.loss, LOSSES)
        one_of("train.optimizer", self.optimizer, OPTIMIZERS)
        one_of("train.schedule", self.schedule, SCHEDULES)
        one_of("train.on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        positive("train.lr", self.lr)
        fraction("train.momentum", self.momentum)
        if not 0 < self.update_probability <= 1:
            raise SpecError(f"train.update_probability: {self.update_probability!r} not in (0, 1]")
        for key in ("steps", "window", "max_window"):
            at_least(f"train.{key}", getattr(self, key), 1)
        for key in ("seed", "eval_every", "checkpoint_every", "threads"):
            at_least(f"train.{key}", getattr(self, key), 0)
        for key, window in (("window", self.window), ("max_window", self.max_window)):
            if window > LARGEST_WINDOW:
                raise SpecError(f"train.{key}: {window} is more than {LARGEST_WINDOW}")
        for drop in self.lr_drops:
            at_least("train.lr_drops", drop, 1)
        if self.gradient_queue is not None:
            at_least("train.gradient_queue", self.gradient_queue, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """The models that guess gradients, and inputs where those are unlocked too.

    `hidden` and `input_hidden` are the widths of their hidden layers, `kernel` the side of the
    convolutions of those that guess gradients of pictures; `lr` is the layers' own unless given.
    """

    hidden: tuple[int, ...] = ()
    input_hidden: tuple[int, ...] = (256,)
    kernel: int = 5
    lr: float | None = None

    def __post_init__(self) -> None:
        for key in ("hidden", "input_hidden"):
            for width in getattr(self, key):
                at_least(f"synthetic.{key}", width, 1)
        at_least("synthetic.kernel", self.kernel, 1)
        if self.kernel % 2 == 0:
            raise SpecError(f"synthetic.kernel: {self.kernel} is even; an odd number is needed")
        if self.lr is not None:
            positive("synthetic.lr", self.lr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What is recorded of the messages.

    ring: what became of each, in a file a core of at most `megabytes`, which keeps the newest.
    full: all of it. messages: as ring, and the messages themselves as `layers` received them (all
    where none is named), those of the batches from the first to the second of `batches`.
    """

    mode: str = "ring"
    megabytes: int = 8
    layers: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        one_of("trace.mode", self.mode, TRACES)
        at_least("trace.megabytes", self.megabytes, 1)
        if self.megabytes > LARGEST_TRACE:
            raise SpecError(f"trace.megabytes: {self.megabytes} is more than {LARGEST_TRACE}")
        for index in self.layers:
            at_least("trace.layers", index, 0)
        if self.batches and (len(self.batches) != 2 or not 1 <= self.batches[0] <= self.batches[1]):
            raise SpecError(f"trace.batches: {list(self.batches)!r:.60} is not [first, last]")


@dataclass(frozen=True, slots=True)
class Layer:
    """One worker's part of the network: modules in order, each a word and its numbers."""

    modules: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(cast(object, self.modules), str):
            raise SpecError(f"layer.modules: a list is needed, not {self.modules!r}")


class Edge(NamedTuple):
    """A way for messages between two cores, by their names."""

    sender: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.sender}>{self.receiver}"

    @classmethod
    def named(cls, name: str) -> Edge:
        """The edge that `str` gives this name."""
        sender, _, receiver = name.partition(">")
        return cls(sender, receiver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A network, the data and the way to train it. Raises SpecError where it cannot be."""

    name: str = "pipeline"
    rule: str = "cdni"
    data: Data
    train: Train = field(default_factory=Train)
    synthetic: Synthetic = field(default_factory=Synthetic)
    trace: Trace = field(default_factory=Trace)
    layer: tuple[Layer, ...]
    placement: tuple[tuple[int, ...], ...] = ()
    edge_dtype: str = FULL
    edge_dtypes: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        one_of("rule", self.rule, RULES)
        if not self.name.isprintable() or "/" in self.name or self.name[:1] in ("", "."):
            raise SpecError(f"name: {self.name!r} cannot be part of a folder's name")
        if not self.layer:
            raise SpecError("layer: a pipeline needs at least one layer")
        for index, layer in enumerate(self.layer):
            if not layer.modules:
                raise SpecError(f"layer[{index}].modules: empty")
        for number, group in enumerate(self.placement):
            if not group:
                raise SpecError(f"placement[{number}]: empty")
        held = sorted(index for group in self.placement for index in group)
        if self.placement and held != list(range(len(self.layer))):
            raise SpecError(
                f"placement: {plain_value(self.placement)!r:.60} does not hold each of the layers "
                f"0 … {len(self.layer) - 1} once"
            )
        one_of("edge_dtype", self.edge_dtype, WIRES)
        each_of("edge_dtypes", self.edge_dtypes, map(str, self.edges), WIRES)
        if self.trace.layers and max(self.trace.layers) >= len(self.layer):
            raise SpecError(f"trace.layers: there is no layer {max(self.trace.layers)}")
        if self.unlocked and self.lockstep and self.train.update_probability < 1:
            raise SpecError(
                "train.update_probability: less than 1 cannot be with unlocked layers in lockstep, "
                "which wait for the gradient of every batch; leave train.schedule at 'async'"
            )

    @property
    def data_away(self) -> bool:
        """Whether the data are on another machine than the head."""
        return self.data.host != HEAD

    @property
    def unlocked(self) -> bool:
        """Whether layers guess their inputs too, and are fed by the source directly."""
        return self.rule.startswith("unlocked-")

    @property
    def conditioned(self) -> bool:
        """Whether the gradient models see the labels."""
        return self.rule.endswith("cdni")

    @property
    def decoupled(self) -> bool:
        """Whether layers learn from guesses."""
        return self.rule.endswith("dni")

    @property
    def lockstep(self) -> bool:
        """Whether one batch at a time goes through: by schedule, or because the rule is locked."""
        return self.train.schedule == "lockstep" or self.rule == "backprop"

    @property
    def window(self) -> int:
        """Batches in flight an edge."""
        return 1 if self.lockstep else self.train.window

    def gradient_queue(self, window: int) -> float:
        """True gradients that may wait for a layer above which `window` batches may be in flight.

        An eighth of them, unless said otherwise: from far off they come in clusters. An unlocked
        layer keeps all, as they wait for its own stream to bring their batches.
        """
        wanted = self.train.gradient_queue
        if wanted is None:
            wanted = 0 if self.unlocked else max(1, window // 8)
        return wanted or math.inf

    @property
    def max_window(self) -> int:
        """To how many the window may grow on the way to another machine."""
        return 1 if self.lockstep else max(self.train.window, self.train.max_window)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of all layers, in the order in which batches pass them."""
        return (SOURCE, *(layer_name(index) for index in range(len(self.layer))))

    @property
    def workers(self) -> dict[str, tuple[str, ...]]:
        """The names of the workers, and of the cores that live in each."""
        groups = self.placement or tuple((index,) for index in range(len(self.layer)))
        named = {_range(group): tuple(map(layer_name, sorted(group))) for group in groups}
        return {SOURCE: (SOURCE,), **named}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Who speaks to whom: neighbours both ways and, where unlocked, the source with all."""
        cores = self.stages
        pairs = list(pairwise(cores))
        if self.unlocked:
            pairs += [(SOURCE, name) for name in cores[2:]]
        return tuple(edge for a, b in pairs for edge in (Edge(a, b), Edge(b, a)))

    def dtype_on(self, edge: Edge) -> str:
        """How wide numbers travel along `edge`; within a worker they do not."""
        if any({*edge} <= {*cores} for cores in self.workers.values()):
            return FULL
        return self.edge_dtypes.get(str(edge), self.edge_dtype)

    def as_dict(self) -> dict[str, object]:
        """Plain dicts, lists and scalars that `build` makes the same pipeline of."""
        return plain(asdict(self))


def layer_name(index: int) -> str:
    """What the layer with this number, counted from 0 at the bottom, is called."""
    return f"layer{index}"


def _range(group: tuple[int, ...]) -> str:
    """The name of a worker that holds these layers: layer2, layer2-5, layer2,4."""
    first, last = min(group), max(group)
    if len(group) == 1:
        return layer_name(first)
    if last - first + 1 == len(group):
        return f"layer{first}-{last}"
    return f"layer{','.join(map(str, sorted(group)))}"
