"""A layer told again what it was told in a run: it must come to the same weights, bit for bit."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from protocol import Array, Pipeline, RunError, State, UserError, build
from protocol.dataset_info import DatasetInfo
from protocol.recording_format import (
    SUFFIX,
    Call,
    Origin,
    Received,
    Stretched,
    entries,
    read_origin,
)
from workers.assembly.build import build_layer
from workers.recording.recorder import matrix_library
from workers.stages.layer import Layer


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay.

    `messages` were received and `units` of work done, beats not counted. `differing` are the arrays
    that are not the same, bit for bit, with the largest difference of a number in them; infinity
    where that is no number. `note` says what else there is to say, in one line; "" for nothing.
    """

    core: str
    messages: int
    units: int
    equal: bool
    differing: tuple[tuple[str, float], ...]
    note: str


def replay(pipeline: Pipeline, folder: Path, layer: int) -> Replayed:
    """Tell the layer with the number `layer` what `folder` holds of what it was told in a run.

    `folder` is where the run of `pipeline` left its traces. Raises RunError where it does not hold
    all that the replay needs.
    """
    path = _recording(pipeline, folder, layer)
    origin = _checked(path, layer)
    with threadpool_limits(origin.threads), np.errstate(all="ignore"):
        try:
            core = build_layer(pipeline, build(DatasetInfo, origin.facts), layer)
        except UserError as error:
            raise RunError(f"{path}: is not of this pipeline: {error}") from None
        again = _Again(path, core)
        recorded = again.run()
        return _compared(origin, again, recorded, core.state())


def _recording(pipeline: Pipeline, folder: Path, layer: int) -> Path:
    """Where the messages of the layer are. Raises RunError where they were not recorded."""
    if not 0 <= layer < len(pipeline.layer):
        last = len(pipeline.layer) - 1
        raise RunError(f"there is no layer {layer}; the run's layers are 0 … {last}")
    path = folder / f"{pipeline.stages[layer + 1]}{SUFFIX}"
    if not path.is_file():
        raise RunError(
            f"{path}: is not there; messages are recorded with trace.mode = 'messages', of the "
            "layers in trace.layers or, where that is not given, of all"
        )
    return path


def _checked(path: Path, layer: int) -> Origin:
    origin = read_origin(path)
    if origin.layer != layer:
        raise RunError(f"{path}: holds the messages of {origin.core}")
    if origin.first != 1:
        raise RunError(
            f"{path}: begins with batch {origin.first}, and a layer's weights follow from all that "
            f"it was told; for a replay let trace.batches begin at 1"
        )
    return origin


class _Again:
    """A fresh core on its way through a recording."""

    def __init__(self, path: Path, core: Layer) -> None:
        self.messages = self.units = 0
        self._path = path
        self._core = core

    def run(self) -> State:
        """The state that the recording ends with. Raises RunError where it does not."""
        why = f"{self._path}: the run did not come to an orderly end, or is still going on"
        try:
            for entry in entries(self._path):
                if isinstance(entry, State):
                    return entry
                self._tell(entry)
        except RunError as error:
            why = str(error)
        raise RunError(
            f"{why}; {self.messages} messages and {self.units} units of work could be replayed, "
            "and there are no weights to compare with"
        )

    def _tell(self, entry: Received | Call | Stretched) -> None:
        """Raises RunError where the layer fails of it, as it may well have done in the run."""
        try:
            self._follow(entry)
        except Exception as error:
            raise RunError(
                f"{self._path}: {self._core.name} fails at step {self._core.step}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _follow(self, entry: Received | Call | Stretched) -> None:
        match entry:
            case Received():
                self._core.receive(entry.sender, entry.message)
                self.messages += 1
            case Stretched():
                self._core.set_window(entry.neighbour, entry.window)
            case Call.WORK:
                deque(self._core.work(), maxlen=0)
                self.units += 1
            case Call.BEAT:
                deque(self._core.resend_credits(), maxlen=0)


def _compared(origin: Origin, again: _Again, recorded: State, state: State) -> Replayed:
    differing = _differing(_arrays(recorded), _arrays(state))
    counted = recorded.step == state.step and recorded.facts == state.facts
    equal = counted and not differing
    notes = []
    if not counted:
        notes.append(
            f"recorded at step {recorded.step} with {recorded.facts}, "
            f"replayed to step {state.step} with {state.facts}"
        )
    here = matrix_library()[1]
    if not equal and here != origin.library:
        notes.append(f"recorded with {origin.library}, replayed with {here}")
    note = "; ".join(notes)
    return Replayed(origin.core, again.messages, again.units, equal, differing, note)


def _arrays(state: State) -> dict[str, Array]:
    return dict(zip(state.names, state.arrays, strict=True))


def _differing(
    recorded: dict[str, Array], replayed: dict[str, Array]
) -> tuple[tuple[str, float], ...]:
    """The names of the arrays that are not the same, with their largest difference."""
    found = []
    for name in {**recorded, **replayed}:
        a, b = recorded.get(name), replayed.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            found.append((name, float("inf")))
        elif a.tobytes() != b.tobytes():
            found.append((name, _distance(a, b)))
    return tuple(found)


def _distance(a: Array, b: Array) -> float:
    """The largest difference of two numbers in the same place; infinity where it is no number."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    apart = np.where(same, 0.0, np.abs(x - y))
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())
