"""Messages a second through our encode, socket and decode against raw pyzmq, in turn.

    python benchmarks/wire.py [--rounds 5] [--seconds 1.0]

A sender process and this receiver, PUSH to PULL over ipc, activations of 4 KiB, 256 KiB and
4 MiB. The raw peer sends the same bytes as one frame, once with pyzmq's copies and once without;
ours is compared with the quicker of the two. All processes have the environment of a worker.

Beside it stands the way that large arrays take between workers of one machine: a copy into a slot
of shared memory, which the receiver reads in place. As in a run a credit frees the slots: the
receiver gives one for every half window, and the sender has at most a window in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
import zmq

from coordinator.engines.processes import ALLOCATOR
from coordinator.resources.blas import environment
from protocol import Activation, Credit
from protocol.codec.layouts import INLINE
from protocol.transport.sockets import receive as take
from protocol.transport.sockets import send as put
from workers.transport.shared_memory import Incoming, Outgoing

SIZES: Final = (4 << 10, 256 << 10, 4 << 20)
WINDOW: Final = 8
KINDS: Final = ("raw copying", "raw zero-copy", "ours", "shelf")
MEMORY: Final = Path("/dev/shm")
"""Where runs have their folders too, if it is there."""


def batch(size: int) -> Activation:
    """An activation whose array has `size` bytes, 64 examples."""
    x = np.zeros((64, size // 64 // 4), np.float32)
    return Activation(1, 1, True, x, np.zeros(64, np.int64))


def send(kind: str, size: int, folder: Path, count: int) -> None:
    """The sender: as many messages in flight as a full high-water mark lets."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = WINDOW
        socket.connect(f"ipc://{folder}/wire")
        message, raw = batch(size), bytes(size)
        for _ in range(count):
            if kind == "ours":
                put(socket, message)
            elif kind == "raw copying":
                socket.send(raw)
            else:
                socket.send(raw, copy=False)
        sys.stdin.read()  # stay until all has been received


def send_by_shelf(size: int, folder: Path, count: int) -> None:
    """The sender by way of shared memory: with a window of credit instead of a high-water mark."""
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as socket,
        context.socket(zmq.PULL) as back,
    ):
        socket.connect(f"ipc://{folder}/wire")
        back.connect(f"ipc://{folder}/credits")
        shelf, message, credit = Outgoing(folder / "shelf", WINDOW), batch(size), 0
        for number in range(1, count + 1):
            while number - credit > WINDOW:
                given = take(back)
                assert isinstance(given, Credit)
                credit = given.credit
            put(socket, message._replace(batch=number), ring=shelf)
        sys.stdin.read()


def rate(kind: str, size: int, seconds: float) -> float:
    """Messages a second received and, where they are ours, decoded."""
    count = max(50, int(seconds * min(200_000, 4e9 / size)))
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        zmq.Context() as context,
        context.socket(zmq.PULL) as socket,
        context.socket(zmq.PUSH) as back,
    ):
        socket.linger = back.linger = 0  # who is ended on the way waits for nobody
        socket.rcvhwm = WINDOW
        socket.rcvtimeo = 10_000
        socket.bind(f"ipc://{folder}/wire")
        back.bind(f"ipc://{folder}/credits")
        command = [sys.executable, __file__, "--send", kind, str(size), folder, str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as sender:
            try:
                elapsed = receive(kind, socket, back, Incoming(Path(folder, "shelf")), count)
            finally:
                sender.kill()
    return (count - count // 10) / elapsed


def receive(
    kind: str,
    socket: zmq.Socket[bytes],
    back: zmq.Socket[bytes],
    shelf: Incoming,
    count: int,
) -> float:
    """Receive `count` messages; seconds from the tenth part on."""
    began = 0.0
    for number in range(count):
        if number == count // 10:
            began = time.perf_counter()
        if kind == "ours":
            take(socket)
        elif kind == "shelf":
            take(socket, ring=shelf)
            if (number + 1) % (WINDOW // 2) == 0:
                put(back, Credit(number + 1))
        elif kind == "raw copying":
            socket.recv()
        else:
            socket.recv(copy=False)
    return time.perf_counter() - began


def main() -> None:
    """Measure all in turn, several times, and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--send", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    wanted = ALLOCATOR | environment(1)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.send:
        kind, size, folder, count = options.send
        if kind == "shelf":
            send_by_shelf(int(size), Path(folder), int(count))
        else:
            send(kind, int(size), Path(folder), int(count))
        return
    found = {}
    for size in SIZES:
        kinds = KINDS if size > INLINE else KINDS[:-1]  # the smallest array goes into the header
        rates: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind in kinds:
                rates[kind].append(rate(kind, size, options.seconds))
        middle = {kind: statistics.median(values) for kind, values in rates.items()}
        best = max(middle["raw copying"], middle["raw zero-copy"])
        ratio = middle["ours"] / best
        found[size] = {**middle, "ratio": ratio}
        figures = ", ".join(f"{kind} {value:,.0f}/s" for kind, value in middle.items())
        print(f"{size >> 10:5d} KiB: {figures}; ours / best raw = {ratio:.2f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
