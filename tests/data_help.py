"""Small arrays and their files, and a local mirror, for tests of data sets."""

from __future__ import annotations

import gzip
import http.server
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data import idx, paths

Array = NDArray[np.generic]

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def packed(array: Array) -> bytes:
    """The IDX file of `array`."""
    kind = array.dtype.str[1:]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[kind], array.ndim, *array.shape)
    return head + array.astype(f">{kind}").tobytes()


def arrays(**changed: Array) -> dict[str, Array]:
    """A small valid data set, in which some arrays are `changed`."""
    good: dict[str, Array] = {
        "x_train": np.arange(24, dtype=np.uint8).reshape(6, 2, 2),
        "y_train": np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8),
        "x_test": np.arange(8, dtype=np.uint8).reshape(2, 2, 2),
        "y_test": np.array([3, 0], dtype=np.uint8),
    }
    return good | changed


def saved(folder: Path, content: dict[str, Array]) -> Path:
    path = folder / "own.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for key, array in content.items():
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, np.asanyarray(array))
    return path


def refusal(call: Callable[[], object]) -> str:
    """The text of the DataError that `call` raises; it must be one line."""
    with pytest.raises(DataError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def idx_folder(folder: Path, content: dict[str, Array], spelling: Callable[[str], str]) -> Path:
    folder.mkdir(exist_ok=True)
    for key, array in content.items():
        raw = packed(array)
        name = spelling(idx.NAMES[key])
        (folder / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


Answers = dict[str, bytes]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        answer = self.server.answers.get(self.path.lstrip("/"))
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Length", str(len(answer or b"")))
        self.end_headers()
        sent = self.server.sent or len(answer or b"")
        self.wfile.write((answer or b"")[:sent])
        self.server.half.set()
        if self.server.sent:
            self.server.go_on.wait(20)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answers: Answers, sent: int | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.sent = answers, sent
        self.requests: list[str] = []
        self.half, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


@contextmanager
def mirror(answers: Answers, sent: int | None = None, stall: bool = False) -> Iterator[_Server]:
    """A server of `answers`. It sends the first `sent` bytes of each, then stalls or closes."""
    with _Server(answers, sent) as server:
        if not stall:
            server.go_on.set()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


def write_files(folder: Path, answers: Answers) -> Path:
    folder.mkdir(parents=True)
    for name, content in answers.items():
        (folder / name).write_bytes(content)
    return folder


class Bar:
    """A progress bar that records its calls."""

    def __init__(self) -> None:
        self.total = 0
        self.calls: list[str | int] = []

    def update(self, n: int, /) -> None:
        self.calls.append(n)

    def reset(self) -> None:
        self.calls.append("reset")

    def close(self) -> None:
        self.calls.append("close")


def cached() -> list[str]:
    """The names of the cached files of MNIST."""
    return sorted(path.name for path in paths.cache_folder("mnist").glob("**/*"))
