"""The folder that a run leaves: what was run, how it went, and the weights.

    pipeline.toml            the pipeline, all keys resolved
    metrics.jsonl            a line a report or evaluation, flushed as it comes
    summary.json             the outcome
    weights/<layer>.safetensors
    logs/<worker>.log        what a worker printed, where it printed anything
    trace/<core>.trace       what became of each message; docs/traces.md
    trace/<layer>.messages   what a layer was told, where trace.mode is payloads
    status.json, revoked     of a run on several machines: who is there, and who is no more to be

Whole files are written beside their place and renamed, so a reader never sees half of one. While a
run goes on it holds the lock of its metrics.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import textwrap
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import tomli_w
from safetensors import safe_open
from safetensors.numpy import save

from coordinator.lifecycle.events import RunEnd
from coordinator.observers.run_stats import Tally
from protocol import Array, Evaluated, Pipeline, Report, RunError, State, read_pipeline
from protocol.builtin import json_text
from protocol.saved import Saved

PIPELINE: Final = "pipeline.toml"
METRICS: Final = "metrics.jsonl"
SUMMARY: Final = "summary.json"
WEIGHTS: Final = "weights"
LOGS: Final = "logs"
TRACE: Final = "trace"
STATUS: Final = "status.json"
REVOKED: Final = "revoked"
LOCK_TRIES: Final = 100
LOCK_SECONDS: Final = 0.005
NUMPY: Final = re.compile("BOOL|[UI](8|16|32|64)|F(16|32|64)|C64")
"""The types of arrays in a safetensors file that numpy has too."""


def file_name(text: str) -> str:
    """`text` as the name of a file: in UTF-8 on the disk, whatever the locale is."""
    return os.fsdecode(text.encode("utf-8"))


def lock(descriptor: int) -> bool:
    """Hold the lock of a file or folder while it is open; False where another process does.

    Where the file system knows no locks nobody holds any.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def under_way(folder: Path, unknown: bool = False) -> bool:
    """Whether a process records a run in `folder`, by the lock of its metrics.

    `unknown` where there are no metrics, or the file system has no locks.
    """
    with contextlib.suppress(OSError), (folder / METRICS).open("rb") as metrics:
        try:
            fcntl.flock(metrics, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
    return unknown


class Recorder:
    """Writes a run's folder. Every method raises OSError where the disk does not let it."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.folder = folder
        self.tally = Tally(pipeline)
        (folder / LOGS).mkdir(exist_ok=True)
        (folder / WEIGHTS).mkdir(exist_ok=True)
        if pipeline.trace.mode != "off":
            (folder / TRACE).mkdir(exist_ok=True)
        self.start(pipeline)
        self._metrics = (folder / METRICS).open("w", encoding="utf-8")
        for _ in range(LOCK_TRIES):
            if lock(self._metrics.fileno()):
                break
            time.sleep(LOCK_SECONDS)  # `under_way` holds it for a moment

    def start(self, pipeline: Pipeline) -> None:
        """Training begins now, with the layers divided among workers as in `pipeline`."""
        self._began = time.monotonic()
        self.tally.pipeline = pipeline
        text = tomli_w.dumps(pipeline.as_dict())
        whole(self.folder / PIPELINE, lambda path: path.write_text(text, "utf-8"))

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began

    def add(self, message: Report | Evaluated | State) -> None:
        """Keep what a worker said."""
        if isinstance(message, State):
            self._weights(message)
        else:
            line = {"seconds": self.seconds, **self.tally.add(message)}
            with _naming(self.folder / METRICS):
                self._metrics.write(json_text(line) + "\n")
                self._metrics.flush()

    def _weights(self, state: State) -> None:
        arrays = dict(zip(state.names, state.arrays, strict=True))
        facts = {key: str(value) for key, value in {"layer": state.name, **state.facts}.items()}
        path = self.folder / WEIGHTS / f"{state.name}.safetensors"
        data = memoryview(save(arrays, facts))
        header = _ordered(data)

        def write(part: Path) -> None:
            with part.open("wb") as file:
                file.write(header)
                file.write(data[len(header) :])

        whole(path, write)

    def close(self) -> None:
        """Write nothing more."""
        with contextlib.suppress(OSError):  # on a full disk, of which `add` has told
            self._metrics.close()

    def finish(self, end: RunEnd, extra: dict[str, object]) -> dict[str, object]:
        """Write the summary, close, and return the summary."""
        self.close()
        summary = self.tally.summary(end.outcome, self.seconds) | extra
        summary["failure"] = end.text or None
        text = json_text(summary, indent=2) + "\n"
        whole(self.folder / SUMMARY, lambda path: path.write_text(text, "utf-8"))
        logs = self.folder / LOGS
        for log in logs.iterdir():
            if log.stat().st_size == 0:
                log.unlink()
        if not any(logs.iterdir()):
            logs.rmdir()
        return summary


def _ordered(data: memoryview) -> bytes:
    """The header of the safetensors `data` with its metadata in order.

    The library writes them in any order; so equal weights are equal files.
    """
    size = int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8 : 8 + size]))
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    return bytes(data[:8]) + text if len(text) == size else bytes(data[: 8 + size])


def part_of(path: Path) -> Path:
    """What becomes `path` when it is complete."""
    return path.with_name(f".{path.name}.part")


def whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a file beside `path`, and put it there when it is complete."""
    part = part_of(path)
    try:
        with _naming(path):
            write(part)
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Lets an OSError name `path`: a failed write does not know what it writes to."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def pipeline_of(folder: Path, overrides: Collection[str] = ()) -> Pipeline:
    """What was run in `folder`, but for the `overrides`. Raises RunError where nothing was."""
    if not (folder / PIPELINE).is_file():
        raise RunError(f"{folder}: holds no run; a run folder has a {PIPELINE}")
    return read_pipeline(folder / PIPELINE, overrides)


def read_run(folder: Path, overrides: Collection[str] = ()) -> tuple[Pipeline, list[Saved]]:
    """The pipeline that was run in `folder`, but for the `overrides`, and what it left of each
    layer.

    Raises RunError where the folder holds no run or not all of one.
    """
    pipeline = pipeline_of(folder, overrides)
    paths = (folder / WEIGHTS / f"{name}.safetensors" for name in pipeline.cores[1:])
    return pipeline, [_layer_file(path) for path in paths]


def _layer_file(path: Path) -> Saved:
    arrays: dict[str, Array] = {}
    key = ""
    try:
        with path.open("rb"):
            pass  # the library does not say why it cannot open a file
        with safe_open(path, "numpy") as file:
            for key in file.keys():  # noqa: SIM118
                _refuse_unknown(path, key, file.get_slice(key))
                arrays[key] = cast(Array, file.get_tensor(key))
            return Saved(str(path), arrays, dict(file.metadata() or {}))
    except FileNotFoundError:
        raise RunError(f"{path}: is not there; the run left no weights of this layer") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RunError:
        raise
    # Every exception: safetensors does not document what it raises for broken files.
    except Exception as error:
        raise RunError(
            f"{path}: {key or 'its header'} cannot be read: {textwrap.shorten(str(error), 160)}; "
            "the file is truncated or damaged"
        ) from None


def _refuse_unknown(path: Path, name: str, array: Any) -> None:
    """Refuse an array of a type that numpy has not, such as bfloat16."""
    dtype = array.get_dtype()
    if not NUMPY.fullmatch(dtype):
        called = dtype.replace("BF", "bfloat").replace("F8", "float8").lower()
        raise RunError(
            f"{path}: {name} is {called} {tuple(array.get_shape())}; the pipeline needs float32: "
            "convert it, or train again"
        )
