"""The tables of a pipeline file: data, training, synthetic models, trace, layers.

Each dataclass is the schema of one table: its fields are the keys, its annotations the types. The
constructor validates the values and raises SpecError with the name of the key. Names of modules
and shapes are validated by `workers.nn`, where the modules are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from protocol.errors import SpecError
from protocol.validation import (
    is_path,
    require_at_least,
    require_fraction,
    require_one_of,
    require_positive,
)

LARGEST_WINDOW: Final = 4096
LARGEST_TRACE: Final = 1 << 20
"""Megabytes."""
HEAD: Final = "head"
"""The name of the host that coordinates a run: it holds the pipeline file and the run folder."""
OPTIMIZERS: Final = ("adam", "sgd")
SCHEDULES: Final = ("async", "lockstep")
LOSSES: Final = ("cross-entropy", "squared-error", "binary-cross-entropy")
ON_NONFINITE: Final = ("fail", "ignore")
TRACES: Final = ("ring", "full", "messages", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """The data set: `name` of a known one, or `path` of the user's own.

    `augment` lists random changes to training images, such as `("flip", "crop 4")`; their syntax is
    validated by `workers.data`. `host` is the host that has the data: its host name, or its name in
    the run, such as "host2". The source runs there, and `path` is a path on that host.
    """

    name: str | None = None
    path: str | None = None
    batch: int = 256
    augment: tuple[str, ...] = ()
    host: str = HEAD

    def __post_init__(self) -> None:
        if not self.host or not self.host.isprintable():
            raise SpecError(f"data.host: {self.host!r} cannot be the name of a host")
        if (self.name is None) == (self.path is None):
            raise SpecError("data: give either name or path")
        if self.path is not None and not is_path(self.path):
            raise SpecError(f"data.path: {self.path!r} cannot be a path")
        require_at_least("data.batch", self.batch, 1)
        if isinstance(cast(object, self.augment), str):
            raise SpecError(f"data.augment: a list is needed, not {self.augment!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train; docs/pipeline.md describes each key.

    A layer divides `lr` by 10 when its own step reaches one of `lr_drops`.
    """

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
        self._check_choices()
        self._check_rates()
        self._check_counts()

    def _check_choices(self) -> None:
        require_one_of("train.loss", self.loss, LOSSES)
        require_one_of("train.optimizer", self.optimizer, OPTIMIZERS)
        require_one_of("train.schedule", self.schedule, SCHEDULES)
        require_one_of("train.on_nonfinite", self.on_nonfinite, ON_NONFINITE)

    def _check_rates(self) -> None:
        require_positive("train.lr", self.lr)
        require_fraction("train.momentum", self.momentum)
        if not 0 < self.update_probability <= 1:
            raise SpecError(
                f"train.update_probability: {self.update_probability!r} is not in (0, 1]"
            )

    def _check_counts(self) -> None:
        for key in ("steps", "window", "max_window"):
            require_at_least(f"train.{key}", getattr(self, key), 1)
        for key in ("seed", "eval_every", "checkpoint_every", "threads"):
            require_at_least(f"train.{key}", getattr(self, key), 0)
        for key, window in (("window", self.window), ("max_window", self.max_window)):
            if window > LARGEST_WINDOW:
                raise SpecError(f"train.{key}: {window} is more than {LARGEST_WINDOW}")
        for drop in self.lr_drops:
            require_at_least("train.lr_drops", drop, 1)
        if self.gradient_queue is not None:
            require_at_least("train.gradient_queue", self.gradient_queue, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticConfig:
    """The models of synthetic gradients and, for unlocked rules, of synthetic inputs.

    `hidden` and `input_hidden` are the widths of their hidden layers. `kernel` is the side of the
    convolutions of gradient models whose activation is an image. `lr` defaults to `train.lr`.
    """

    hidden: tuple[int, ...] = ()
    input_hidden: tuple[int, ...] = (256,)
    kernel: int = 5
    lr: float | None = None

    def __post_init__(self) -> None:
        for key in ("hidden", "input_hidden"):
            for width in getattr(self, key):
                require_at_least(f"synthetic.{key}", width, 1)
        require_at_least("synthetic.kernel", self.kernel, 1)
        if self.kernel % 2 == 0:
            raise SpecError(f"synthetic.kernel: {self.kernel} is even; an odd number is needed")
        if self.lr is not None:
            require_positive("synthetic.lr", self.lr)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceConfig:
    """What is recorded of the messages.

    ring: the events of each message, in one file per stage of at most `megabytes`, which keeps the
    newest. full: the events of all messages. messages: as ring, and the messages that the layers in
    `layers` received (default: all layers), from the first to the last batch of `batches`
    (default: all batches). off: nothing.
    """

    mode: str = "ring"
    megabytes: int = 8
    layers: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_one_of("trace.mode", self.mode, TRACES)
        require_at_least("trace.megabytes", self.megabytes, 1)
        if self.megabytes > LARGEST_TRACE:
            raise SpecError(f"trace.megabytes: {self.megabytes} is more than {LARGEST_TRACE}")
        for index in self.layers:
            require_at_least("trace.layers", index, 0)
        if self.batches and (len(self.batches) != 2 or not 1 <= self.batches[0] <= self.batches[1]):
            raise SpecError(f"trace.batches: {list(self.batches)!r:.60} is not [first, last]")


@dataclass(frozen=True, slots=True)
class LayerConfig:
    """One layer: its modules in order, each a name and its arguments, such as "linear 128"."""

    modules: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(cast(object, self.modules), str):
            raise SpecError(f"layer.modules: a list is needed, not {self.modules!r}")
