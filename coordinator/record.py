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
import shutil
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

import tomli_w
from safetensors import safe_open
from safetensors.numpy import save

from coordinator.events import End
from coordinator.tally import Tally
from protocol import Array, Evaluated, Pipeline, Report, RunError, State, read_pipeline

PIPELINE: Final = "pipeline.toml"
METRICS: Final = "metrics.jsonl"
SUMMARY: Final = "summary.json"
WEIGHTS: Final = "weights"
LOGS: Final = "logs"
TRACE: Final = "trace"
STATUS: Final = "status.json"
REVOKED: Final = "revoked"


def open_folder(pipeline: Pipeline, folder: Path | None, force: bool) -> Path:
    """A fresh folder for a run. Raises RunError where it cannot be had.

    With `force` a folder that an earlier run left is emptied; no other one ever is, nor that of a
    run that is under way.
    """
    try:
        if folder is None:
            return _numbered(Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{pipeline.name}")
        if folder.exists():
            _clear(folder, force)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PIPELINE).touch(exist_ok=False)  # of two runs at once one gets it
        return folder
    except FileExistsError:
        raise RunError(f"{folder}: another run was quicker; choose another --run-dir") from None
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}; choose another --run-dir") from None


def _numbered(wish: Path) -> Path:
    """`wish` or, where another run was quicker, `wish-2` and so on."""
    wish.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = wish if number == 1 else wish.with_name(f"{wish.name}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def _clear(folder: Path, force: bool) -> None:
    if not folder.is_dir():
        raise RunError(f"{folder}: is not a folder; choose another --run-dir")
    if not any(folder.iterdir()):
        return
    if not (folder / PIPELINE).is_file():
        raise RunError(f"{folder}: holds something that is not a run; choose another --run-dir")
    if not force:
        raise RunError(f"{folder}: holds a run already; choose another --run-dir or give --force")
    if _under_way(folder):
        raise RunError(f"{folder}: a run is under way there; choose another --run-dir")
    for name in (PIPELINE, METRICS, SUMMARY, STATUS, REVOKED):
        (folder / name).unlink(missing_ok=True)
    for name in (WEIGHTS, LOGS, TRACE):
        shutil.rmtree(folder / name, ignore_errors=True)


def _under_way(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), (folder / METRICS).open("rb") as metrics:
        return not _locked(metrics)
    return False


def _locked(file: IO[Any]) -> bool:
    """Hold the lock of `file` while it is open; False where another does.

    Where the file system knows no locks nobody holds any.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


class Recorder:
    """Writes a run's folder. Every method raises OSError where the disk does not let it."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.folder = folder
        self.tally = Tally(pipeline)
        self.start_clock()
        (folder / LOGS).mkdir(exist_ok=True)
        (folder / WEIGHTS).mkdir(exist_ok=True)
        if pipeline.trace.mode != "off":
            (folder / TRACE).mkdir(exist_ok=True)
        text = tomli_w.dumps(pipeline.as_dict())
        whole(folder / PIPELINE, lambda path: path.write_text(text, "utf-8"))
        self._metrics = (folder / METRICS).open("w", encoding="utf-8")
        _locked(self._metrics)

    def start_clock(self) -> None:
        """The run begins now."""
        self._began = time.monotonic()

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
                self._metrics.write(json.dumps(line) + "\n")
                self._metrics.flush()

    def _weights(self, state: State) -> None:
        arrays = dict(zip(state.names, state.arrays, strict=True))
        facts = {key: str(value) for key, value in {"layer": state.name, **state.facts}.items()}
        path = self.folder / WEIGHTS / f"{state.name}.safetensors"
        data = save(arrays, facts)
        whole(path, lambda part: part.write_bytes(data))

    def finish(self, end: End, extra: dict[str, object]) -> dict[str, object]:
        """Write the summary, close, and return the summary."""
        with contextlib.suppress(OSError):  # on a full disk, of which `add` has told
            self._metrics.close()
        summary = self.tally.summary(end.outcome, self.seconds) | extra
        summary["failure"] = end.text or None
        text = json.dumps(summary, indent=2) + "\n"
        whole(self.folder / SUMMARY, lambda path: path.write_text(text, "utf-8"))
        logs = self.folder / LOGS
        for log in logs.iterdir():
            if log.stat().st_size == 0:
                log.unlink()
        if not any(logs.iterdir()):
            logs.rmdir()
        return summary


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


def pipeline_of(folder: Path, overrides: Iterable[str] = ()) -> Pipeline:
    """What was run in `folder`, but for the `overrides`. Raises RunError where nothing was."""
    if not (folder / PIPELINE).is_file():
        raise RunError(f"{folder}: holds no run; a run folder has a {PIPELINE}")
    return read_pipeline(folder / PIPELINE, overrides)


class LayerFile(NamedTuple):
    """The file of a layer's weights: its path, its arrays by name, and its metadata."""

    path: str
    arrays: dict[str, Array]
    metadata: dict[str, str]


def read_run(folder: Path, overrides: Iterable[str] = ()) -> tuple[Pipeline, list[LayerFile]]:
    """The pipeline that was run in `folder`, but for the `overrides`, and what it left of each
    layer.

    Raises RunError where the folder holds no run or not all of one.
    """
    pipeline = pipeline_of(folder, overrides)
    paths = (folder / WEIGHTS / f"{name}.safetensors" for name in pipeline.cores[1:])
    return pipeline, [_layer_file(path) for path in paths]


def _layer_file(path: Path) -> LayerFile:
    what = "it"
    try:
        with safe_open(path, "numpy") as file:
            arrays = {what: cast(Array, file.get_tensor(what)) for what in file.keys()}  # noqa: SIM118
            return LayerFile(str(path), arrays, dict(file.metadata() or {}))
    except FileNotFoundError:
        raise RunError(f"{path}: is not there; the run left no weights of this layer") from None
    # Every exception: safetensors does not document what it raises for broken files.
    except Exception as error:
        raise RunError(
            f"{path}: {what} cannot be read: {textwrap.shorten(str(error), 160)}; "
            "the file is truncated or damaged"
        ) from None
