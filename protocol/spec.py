"""What a pipeline is: layers, rule, data, training; checked where it is made.

A `Pipeline` is an immutable value. Files, overrides and Python code all make the same one, so
what one of them can say the others can. Module names and shapes are checked by `workers.nn`,
which knows what modules there are.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Final, cast

from protocol.errors import SpecError, nearest

LARGEST_WINDOW: Final = 4096
RULES: Final = ("no-bprop", "backprop", "dni", "cdni")
OPTIMIZERS: Final = ("adam", "sgd")
SCHEDULES: Final = ("free", "lockstep")
LOSSES: Final = ("cross-entropy", "squared-error", "binary-cross-entropy")
NONFINITE: Final = ("fail", "ignore")


def _one_of(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SpecError(f"{key}: unknown value {value!r}{nearest(value, known)}")


def _at_least(key: str, value: float, least: float) -> None:
    if not value >= least:
        raise SpecError(f"{key}: {value!r} is less than {least}")


def _positive(key: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise SpecError(f"{key}: {value!r} is not a positive number")


def _fraction(key: str, value: float) -> None:
    if not 0 <= value < 1:
        raise SpecError(f"{key}: {value!r} is not in [0, 1)")


def _is_path(text: str) -> bool:
    return "\0" not in text and text == text.encode("utf-8", "replace").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where examples come from: a known data set by `name`, or the user's own at `path`.

    `augment` says how training pictures are varied, such as `("flip", "crop 4")`; `workers.data`
    knows the words.
    """

    name: str | None = None
    path: str | None = None
    batch: int = 256
    augment: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.name is None) == (self.path is None):
            raise SpecError("data: give either name or path")
        if self.path is not None and not _is_path(self.path):
            raise SpecError(f"data.path: {self.path!r} cannot be a path")
        _at_least("data.batch", self.batch, 1)
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
    gradient_queue: int | None = None
    schedule: str = "free"
    eval_every: int = 0
    threads: int = 0
    nonfinite: str = "fail"

    def __post_init__(self) -> None:
        _one_of("train.loss", self.loss, LOSSES)
        _one_of("train.optimizer", self.optimizer, OPTIMIZERS)
        _one_of("train.schedule", self.schedule, SCHEDULES)
        _one_of("train.nonfinite", self.nonfinite, NONFINITE)
        _positive("train.lr", self.lr)
        _fraction("train.momentum", self.momentum)
        for key, least in (("steps", 1), ("seed", 0), ("window", 1), ("eval_every", 0)):
            _at_least(f"train.{key}", getattr(self, key), least)
        _at_least("train.threads", self.threads, 0)
        if self.window > LARGEST_WINDOW:
            raise SpecError(f"train.window: {self.window} is more than {LARGEST_WINDOW}")
        for drop in self.lr_drops:
            _at_least("train.lr_drops", drop, 1)
        if self.gradient_queue is not None:
            _at_least("train.gradient_queue", self.gradient_queue, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """The models that guess gradients; `lr` is the layers' own unless given."""

    hidden: tuple[int, ...] = ()
    lr: float | None = None

    def __post_init__(self) -> None:
        for width in self.hidden:
            _at_least("synthetic.hidden", width, 1)
        if self.lr is not None:
            _positive("synthetic.lr", self.lr)


@dataclass(frozen=True, slots=True)
class Layer:
    """One worker's part of the network: modules in order, each a word and its numbers."""

    modules: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(cast(object, self.modules), str):
            raise SpecError(f"layer.modules: a list is needed, not {self.modules!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A network, the data and the way to train it. Raises SpecError where it cannot be."""

    name: str = "pipeline"
    rule: str = "cdni"
    data: Data
    train: Train = field(default_factory=Train)
    synthetic: Synthetic = field(default_factory=Synthetic)
    layer: tuple[Layer, ...]

    def __post_init__(self) -> None:
        _one_of("rule", self.rule, RULES)
        if not self.name.isprintable() or "/" in self.name or self.name[:1] in ("", "."):
            raise SpecError(f"name: {self.name!r} cannot be part of a folder's name")
        if not self.layer:
            raise SpecError("layer: a pipeline needs at least one layer")
        for index, layer in enumerate(self.layer):
            if not layer.modules:
                raise SpecError(f"layer[{index}].modules: empty")

    @property
    def lockstep(self) -> bool:
        """Whether one batch at a time goes through: by schedule, or because the rule is locked."""
        return self.train.schedule == "lockstep" or self.rule == "backprop"

    @property
    def window(self) -> int:
        """Batches in flight an edge."""
        return 1 if self.lockstep else self.train.window

    @property
    def workers(self) -> tuple[str, ...]:
        """The names of all workers, in the order in which batches pass them."""
        return ("source", *(f"layer{index}" for index in range(len(self.layer))))

    def as_dict(self) -> dict[str, object]:
        """Plain dicts, lists and scalars that `build` makes the same pipeline of."""
        return _plain(asdict(self))


def _plain(table: dict[str, object]) -> dict[str, object]:
    return {key: _value(value) for key, value in table.items() if value is not None}


def _value(value: object) -> object:
    if isinstance(value, dict):
        return _plain(value)
    if isinstance(value, tuple):
        return [_value(item) for item in value]
    return value
