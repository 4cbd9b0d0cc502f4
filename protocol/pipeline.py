"""A pipeline: the layers, the rule, the data and the training, validated in its constructor.

A `Pipeline` is an immutable value. Files, overrides and Python code make the same class, so each
of them can express everything.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

from protocol.builtin import builtin_value, to_builtin
from protocol.codec.quantization import EDGE_DTYPES, FLOAT32
from protocol.config import (
    HEAD,
    DataConfig,
    LayerConfig,
    SyntheticConfig,
    TraceConfig,
    TrainConfig,
)
from protocol.errors import SpecError
from protocol.validation import require_edge_values, require_one_of

RULES: Final = ("no-bprop", "backprop", "dni", "cdni", "unlocked-dni", "unlocked-cdni")
SOURCE: Final = "source"
"""The name of the stage that reads the data."""


class Edge(NamedTuple):
    """A directed connection between two stages, by their names. Its text is `sender>receiver`."""

    sender: str
    receiver: str

    def __str__(self) -> str:
        return f"{self.sender}>{self.receiver}"

    @classmethod
    def named(cls, name: str) -> Edge:
        """The edge whose text is `name`."""
        sender, _, receiver = name.partition(">")
        return cls(sender, receiver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A network, its data and its training. Raises SpecError for values that contradict."""

    name: str = "pipeline"
    rule: str = "cdni"
    data: DataConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    trace: TraceConfig = field(default_factory=TraceConfig)
    layer: tuple[LayerConfig, ...]
    placement: tuple[tuple[int, ...], ...] = ()
    edge_dtype: str = FLOAT32
    edge_dtypes: dict[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require_one_of("rule", self.rule, RULES)
        if not self.name.isprintable() or "/" in self.name or self.name[:1] in ("", "."):
            raise SpecError(f"name: {self.name!r} cannot be part of a folder's name")
        if not self.layer:
            raise SpecError("layer: a pipeline needs at least one layer")
        for index, layer in enumerate(self.layer):
            if not layer.modules:
                raise SpecError(f"layer[{index}].modules: empty")
        self._check_placement()
        require_one_of("edge_dtype", self.edge_dtype, EDGE_DTYPES)
        require_edge_values("edge_dtypes", self.edge_dtypes, map(str, self.edges), EDGE_DTYPES)
        if self.trace.layers and max(self.trace.layers) >= len(self.layer):
            raise SpecError(f"trace.layers: there is no layer {max(self.trace.layers)}")
        if self.unlocked and self.lockstep and self.train.update_probability < 1:
            raise SpecError(
                "train.update_probability: unlocked layers in lockstep wait for the gradient of "
                "every batch, so it must be 1; or set train.schedule to 'async'"
            )

    def _check_placement(self) -> None:
        for number, group in enumerate(self.placement):
            if not group:
                raise SpecError(f"placement[{number}]: empty")
        placed = sorted(index for group in self.placement for index in group)
        if self.placement and placed != list(range(len(self.layer))):
            raise SpecError(
                f"placement: {builtin_value(self.placement)!r:.60} does not hold each of the "
                f"layers 0 … {len(self.layer) - 1} once"
            )

    @property
    def remote_data(self) -> bool:
        """Whether another host than the head has the data."""
        return self.data.host != HEAD

    @property
    def unlocked(self) -> bool:
        """Whether layers predict their inputs too; the source then sends each batch to all."""
        return self.rule.startswith("unlocked-")

    @property
    def conditioned(self) -> bool:
        """Whether the gradient models take the labels as a further input."""
        return self.rule.endswith("cdni")

    @property
    def decoupled(self) -> bool:
        """Whether layers learn from synthetic gradients."""
        return self.rule.endswith("dni")

    @property
    def lockstep(self) -> bool:
        """Whether one batch at a time is in flight: by schedule, or because of backprop."""
        return self.train.schedule == "lockstep" or self.rule == "backprop"

    @property
    def window(self) -> int:
        """Batches that may be in flight on an edge at the start."""
        return 1 if self.lockstep else self.train.window

    @property
    def max_window(self) -> int:
        """The largest window of an edge between hosts."""
        return 1 if self.lockstep else max(self.train.window, self.train.max_window)

    def gradient_queue(self, window: int) -> float:
        """How many true gradients may wait in a layer whose edge up has the window `window`.

        The default is an eighth of the window and at least 1, since gradients from another host
        arrive in clusters. An unlocked layer keeps all of them, because a gradient waits there
        until the layer's own stream reaches its batch.
        """
        wanted = self.train.gradient_queue
        if wanted is None:
            wanted = 0 if self.unlocked else max(1, window // 8)
        return wanted or math.inf

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the source and of all layers, in the order in which batches pass them."""
        return (SOURCE, *(layer_name(index) for index in range(len(self.layer))))

    @property
    def workers(self) -> dict[str, tuple[str, ...]]:
        """The names of the workers, each with the names of its stages."""
        groups = self.placement or tuple((index,) for index in range(len(self.layer)))
        named = {_worker_name(group): tuple(map(layer_name, sorted(group))) for group in groups}
        return {SOURCE: (SOURCE,), **named}

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges: both directions between neighbours and, for unlocked rules, between the
        source and every layer."""
        stages = self.stages
        pairs = list(pairwise(stages))
        if self.unlocked:
            pairs += [(SOURCE, name) for name in stages[2:]]
        return tuple(edge for a, b in pairs for edge in (Edge(a, b), Edge(b, a)))

    def dtype_on(self, edge: Edge) -> str:
        """The number format of arrays on `edge`; within a worker they are not converted."""
        if any({*edge} <= {*stages} for stages in self.workers.values()):
            return FLOAT32
        return self.edge_dtypes.get(str(edge), self.edge_dtype)

    def as_dict(self) -> dict[str, object]:
        """Dicts, lists and scalars from which `from_dict` makes an equal pipeline."""
        return to_builtin(asdict(self))


def layer_name(index: int) -> str:
    """The name of the layer `index`, counted from 0 at the source."""
    return f"layer{index}"


def _worker_name(group: tuple[int, ...]) -> str:
    """The name of the worker of these layers: layer2, layer2-5, layer2,4."""
    first, last = min(group), max(group)
    if len(group) == 1:
        return layer_name(first)
    if last - first + 1 == len(group):
        return f"layer{first}-{last}"
    return f"layer{','.join(map(str, sorted(group)))}"
