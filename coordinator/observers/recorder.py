"""Record a run in its folder: the pipeline, the metrics, the weights and the summary."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tomli_w
from safetensors.numpy import save

from coordinator.observers.observer import Observer
from coordinator.observers.run_stats import RunStats
from coordinator.run_folder.layout import (
    LOGS,
    METRICS,
    PIPELINE,
    SUMMARY,
    TRACE,
    WEIGHTS,
    error_names,
    try_lock,
    write_atomically,
)
from protocol import Pipeline, State
from protocol.builtin import to_json

_LOCK_TRIES: Final = 100
_LOCK_SECONDS: Final = 0.005


class RunRecorder(Observer):
    """Writes the files of a run. Every method raises OSError if the disk refuses a write."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.folder = folder
        (folder / LOGS).mkdir(exist_ok=True)
        (folder / WEIGHTS).mkdir(exist_ok=True)
        if pipeline.trace.mode != "off":
            (folder / TRACE).mkdir(exist_ok=True)
        self._write_pipeline(pipeline)
        self._metrics = (folder / METRICS).open("w", encoding="utf-8")
        for _ in range(_LOCK_TRIES):
            if try_lock(self._metrics.fileno()):
                break
            time.sleep(_LOCK_SECONDS)  # `is_recording` holds the lock for a moment

    def on_placement(self, stats: RunStats) -> None:
        """Write the pipeline with the placement, and restart the clock."""
        self._write_pipeline(stats.pipeline)

    def _write_pipeline(self, pipeline: Pipeline) -> None:
        self._began = time.monotonic()
        text = tomli_w.dumps(pipeline.as_dict())
        write_atomically(self.folder / PIPELINE, lambda path: path.write_text(text, "utf-8"))

    @property
    def seconds(self) -> float:
        """The seconds since the run began."""
        return time.monotonic() - self._began

    def on_metrics(self, stats: RunStats, row: Mapping[str, object]) -> None:  # noqa: ARG002
        """Write `row` with the time."""
        with error_names(self.folder / METRICS):
            self._metrics.write(to_json({"seconds": self.seconds, **row}) + "\n")
            self._metrics.flush()

    def on_weights(self, state: State) -> None:
        """Write the weights of a layer."""
        arrays = dict(zip(state.names, state.arrays, strict=True))
        info = {key: str(value) for key, value in {"layer": state.name, **state.metadata}.items()}
        path = self.folder / WEIGHTS / f"{state.name}.safetensors"
        data = memoryview(save(arrays, info))
        header = _sorted_header(data)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                file.write(header)
                file.write(data[len(header) :])

        write_atomically(path, write)

    def close(self) -> None:
        """Close the metrics, which also unlocks them."""
        with contextlib.suppress(OSError):  # the disk is full, as `on_metrics` has reported
            self._metrics.close()

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write the summary, and remove empty logs."""
        self.close()
        text = to_json(summary, indent=2) + "\n"
        write_atomically(self.folder / SUMMARY, lambda path: path.write_text(text, "utf-8"))
        logs = self.folder / LOGS
        for log in logs.iterdir():
            if log.stat().st_size == 0:
                log.unlink()
        if not any(logs.iterdir()):
            logs.rmdir()


def _sorted_header(data: memoryview) -> bytes:
    """The header of the safetensors `data` with its metadata sorted.

    safetensors writes metadata in any order; sorted, equal weights make equal files.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    return bytes(data[:8]) + text if len(text) == size else bytes(data[: 8 + size])
