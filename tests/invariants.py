"""What holds for a layer at every moment: its queues and its memory are bounded by windows."""

from __future__ import annotations

from collections.abc import Callable

from protocol import Activation, Edge, Stage
from protocol.pipeline import SOURCE
from workers.rules.unlocked_dni import WINDOWS_REMEMBERED, UnlockedLayer
from workers.stages.layer import LayerStage
from workers.stages.source import Source

Window = Callable[[Edge], int]


def window_of(stage: Stage, receiver: str, fixed: int) -> int:
    """The window of `stage` to `receiver`; `fixed` where the stage has none of its own."""
    if isinstance(stage, Source):
        return stage.windows[receiver].window
    assert isinstance(stage, LayerStage)
    if receiver == stage.above:
        return stage.window.window
    return stage.gradient_window.window if isinstance(stage, UnlockedLayer) else fixed


def check_layer(layer: LayerStage, window: Window, reordered: bool) -> None:
    """A layer keeps no more than it may; `window` gives that of an edge."""
    limit = layer.window.window
    if isinstance(layer, UnlockedLayer):
        check_unlocked(layer, window, reordered)
        limit = layer.memory_limit
    assert len(layer.unanswered) <= limit
    waiting = sum(isinstance(m, Activation) for m in layer.inbox.from_below)
    assert waiting <= window(Edge(layer.below, layer.name))


def check_unlocked(layer: UnlockedLayer, window: Window, reordered: bool) -> None:
    """An unlocked layer keeps a bounded number of own batches; it has a queue more."""
    own = max(layer.window.window, layer.gradient_window.window)
    assert layer.memory_limit == WINDOWS_REMEMBERED * own
    assert len(layer.predicted) <= layer.memory_limit
    waiting = sum(isinstance(m, Activation) for m in layer.from_source)
    assert waiting <= window(Edge(SOURCE, layer.name))
    if layer.above:
        assert layer.inbox.gradients <= window(Edge(layer.above, layer.name)) or reordered
