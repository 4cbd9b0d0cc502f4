"""Runs one layer again on its recorded messages; the weights must be the same, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from protocol import (
    Array,
    DataMessage,
    Edge,
    Evaluated,
    Pipeline,
    RunError,
    State,
    UserError,
    from_dict,
)
from protocol.dataset_info import DatasetInfo
from protocol.recording_format import (
    SUFFIX,
    Operation,
    ReceivedMessage,
    RecordingMetadata,
    WindowChange,
    read_entries,
    read_metadata,
)
from workers.assembly.build import build_layer
from workers.recording.instrument import InstrumentedStage
from workers.recording.recorder import matrix_library
from workers.stages.driver import StageGroup
from workers.stages.layer import LayerStage


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The outcome of a replay of `layer`.

    `messages` counts the messages, `units` the units of work. `differing` names the arrays that
    differ in any bit, each with the largest difference of two numbers; infinity if a number is NaN
    or the shapes differ. `note` is a line about anything else that differs, or "". `threads` is the
    number of threads that the matrix products had.
    """

    layer: str
    messages: int
    units: int
    equal: bool
    differing: tuple[tuple[str, float], ...]
    note: str
    threads: int


def replay_layer(pipeline: Pipeline, folder: Path, layer: int) -> ReplayResult:
    """Replay layer number `layer` from its recording in `folder`, the trace folder of a run.

    Raises RunError if the recording is missing, damaged, incomplete or of another pipeline.
    """
    path = _recording(pipeline, folder, layer)
    metadata = _checked_metadata(path, layer)
    with threadpool_limits(metadata.threads), np.errstate(all="ignore"):
        try:
            stage = build_layer(pipeline, from_dict(DatasetInfo, metadata.dataset), layer)
        except UserError as error:
            raise RunError(f"{path}: is not of this pipeline: {error}") from None
        rerun = _Rerun(path, stage)
        recorded = rerun.run()
        return _compared(metadata, rerun, recorded, stage.state())


def _recording(pipeline: Pipeline, folder: Path, layer: int) -> Path:
    """The path of the layer's recording. Raises RunError if there is none."""
    if not 0 <= layer < len(pipeline.layer):
        last = len(pipeline.layer) - 1
        raise RunError(f"there is no layer {layer}; the run's layers are 0 … {last}")
    path = folder / f"{pipeline.stages[layer + 1]}{SUFFIX}"
    if not path.is_file():
        raise RunError(
            f"{path}: no such file; trace.mode = 'messages' records the messages of the layers in "
            "trace.layers (default: all layers)"
        )
    return path


def _checked_metadata(path: Path, layer: int) -> RecordingMetadata:
    metadata = read_metadata(path)
    if metadata.layer != layer:
        raise RunError(f"{path}: holds the messages of {metadata.stage}")
    if metadata.first != 1:
        raise RunError(
            f"{path}: begins with batch {metadata.first}, but a replay needs all batches from the "
            "first; let trace.batches begin at 1"
        )
    return metadata


class _Rerun:
    """Feeds a recording to a new stage, and counts its messages and units of work.

    What the stage sends is discarded.
    """

    def __init__(self, path: Path, stage: LayerStage) -> None:
        self.messages = self.units = 0
        self._path = path
        self._stage = stage
        self._member = InstrumentedStage(stage)
        self._group = StageGroup([self._member], self)

    def send(self, edge: Edge, message: DataMessage, edge_dtype: str) -> None:
        """Discard `message`."""

    def report(self, message: Evaluated | State, copy: bool = False) -> None:
        """Discard `message`."""

    def run(self) -> State:
        """The state at the end of the recording. Raises RunError if there is none."""
        reason = f"{self._path}: the run did not end in order, or is still running"
        try:
            for entry in read_entries(self._path):
                if isinstance(entry, State):
                    return entry
                self._apply(entry)
        except RunError as error:
            reason = str(error)
        raise RunError(
            f"{reason}; {self.messages} messages and {self.units} units of work were replayed, "
            "and there are no weights to compare with"
        )

    def _apply(self, entry: ReceivedMessage | Operation | WindowChange) -> None:
        """Raises RunError if the layer fails, as it may have failed in the run."""
        try:
            self._run_entry(entry)
        except Exception as error:
            raise RunError(
                f"{self._path}: {self._stage.name} fails at step {self._stage.step}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _run_entry(self, entry: ReceivedMessage | Operation | WindowChange) -> None:
        match entry:
            case ReceivedMessage():
                self._group.deliver(Edge(entry.sender, self._stage.name), entry.message)
                self.messages += 1
            case WindowChange():
                self._stage.set_window(entry.neighbour, entry.window)
            case Operation.WORK:
                self._group.run(self._member)
                self.units += 1
            case Operation.RESEND_CREDITS:
                self._group.resend_credits(self._member)


def _compared(
    metadata: RecordingMetadata, rerun: _Rerun, recorded: State, replayed: State
) -> ReplayResult:
    differing = _differing(_arrays(recorded), _arrays(replayed))
    counted = recorded.step == replayed.step and recorded.metadata == replayed.metadata
    equal = counted and not differing
    notes = []
    if not counted:
        notes.append(
            f"recorded at step {recorded.step} with {recorded.metadata}, "
            f"replayed to step {replayed.step} with {replayed.metadata}"
        )
    threads, library = matrix_library()
    if not equal and library != metadata.library:
        notes.append(f"recorded with {metadata.library}, replayed with {library}")
    note = "; ".join(notes)
    return ReplayResult(
        metadata.stage, rerun.messages, rerun.units, equal, differing, note, threads
    )


def _arrays(state: State) -> dict[str, Array]:
    return dict(zip(state.names, state.arrays, strict=True))


def _differing(
    recorded: dict[str, Array], replayed: dict[str, Array]
) -> tuple[tuple[str, float], ...]:
    """The names of the arrays that differ, with their largest difference."""
    found = []
    for name in {**recorded, **replayed}:
        a, b = recorded.get(name), replayed.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            found.append((name, float("inf")))
        elif a.tobytes() != b.tobytes():
            found.append((name, _largest_difference(a, b)))
    return tuple(found)


def _largest_difference(a: Array, b: Array) -> float:
    """The largest difference of two numbers at the same place; infinity if one is not finite."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    apart = np.where(same, 0.0, np.abs(x - y))
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max())
