"""Messages per second through our encode, socket and decode, against raw pyzmq, in turn.

    python benchmarks/wire.py [--rounds 5] [--seconds 1.0] [--sizes BYTES ...] [--kinds KIND ...]

A sender process and this receiver, PUSH to PULL over ipc, with activations of 4 KiB, 256 KiB and
4 MiB. The raw peer sends the same bytes as one frame, once with pyzmq's copies and once without;
ours is compared with the faster of the two. All processes have the environment of a worker.

The kind 'shared memory' is how large arrays travel between workers of one host: a copy into a slot
of shared memory, which the receiver reads in place. As in a run, credits free the slots: the
receiver sends one per half window, and the sender has at most a window in flight.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import zmq

from coordinator.engines.processes import ALLOCATOR
from coordinator.resources.blas import environment
from protocol import Activation, Credit
from protocol.codec.arrays import View
from protocol.codec.limits import INLINE
from protocol.transport.sockets import receive, send
from workers.transport.shared_memory import RingReader, RingWriter

SIZES: Final = (4 << 10, 256 << 10, 4 << 20)
WINDOW: Final = 8
KINDS: Final = ("raw copying", "raw zero-copy", "ours", "shared memory")
MEMORY: Final = Path("/dev/shm")
"""Where runs have their folders too, if it is there."""


def batch(size: int) -> Activation:
    """An activation whose array has `size` bytes, 64 examples."""
    x = np.zeros((64, size // 64 // 4), np.float32)
    return Activation(1, 1, True, x, np.zeros(64, np.int64))


def send_messages(kind: str, size: int, folder: Path, count: int) -> None:
    """The sender: as many messages in flight as the high-water mark allows."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.sndhwm = WINDOW
        socket.connect(f"ipc://{folder}/wire")
        message, raw = batch(size), bytes(size)
        for _ in range(count):
            if kind == "ours":
                send(socket, message)
            else:
                socket.send(raw, 0, kind == "raw copying")
        sys.stdin.read()  # stay until everything has been received


def send_through_shared_memory(size: int, folder: Path, count: int) -> None:
    """The sender through shared memory: a window of credit bounds the messages in flight."""
    with (
        zmq.Context() as context,
        context.socket(zmq.PUSH) as socket,
        context.socket(zmq.PULL) as back,
    ):
        socket.connect(f"ipc://{folder}/wire")
        back.connect(f"ipc://{folder}/credits")
        ring, message, credit = RingWriter(folder / "ring", WINDOW), batch(size), 0
        for number in range(1, count + 1):
            while number - credit > WINDOW:
                given = receive(back)
                assert isinstance(given, Credit)
                credit = given.credit
            send(socket, message._replace(batch=number), place=ring.write)
        sys.stdin.read()


def rate(kind: str, size: int, seconds: float) -> float:
    """Messages received per second, decoded if they are ours."""
    count = max(50, int(seconds * min(200_000, 4e9 / size)))
    with (
        tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder,
        zmq.Context() as context,
        context.socket(zmq.PULL) as socket,
        context.socket(zmq.PUSH) as back,
    ):
        socket.linger = back.linger = 0  # an interrupted receiver does not wait for the sender
        socket.rcvhwm = WINDOW
        socket.rcvtimeo = 10_000
        socket.bind(f"ipc://{folder}/wire")
        back.bind(f"ipc://{folder}/credits")
        command = [sys.executable, __file__, "--send", kind, str(size), folder, str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as sender:
            try:
                view = RingReader(Path(folder, "ring")).view
                elapsed = receive_messages(kind, socket, back, view, count)
            finally:
                sender.kill()
    return (count - count // 10) / elapsed


def receive_messages(
    kind: str, socket: zmq.Socket[bytes], back: zmq.Socket[bytes], view: View, count: int
) -> float:
    """Receive `count` messages; returns the seconds that the last nine tenths of them took."""
    began = 0.0
    for number in range(count):
        if number == count // 10:
            began = time.perf_counter()
        if kind == "ours":
            receive(socket)
        elif kind == "shared memory":
            receive(socket, view)
            if (number + 1) % (WINDOW // 2) == 0:
                send(back, Credit(number + 1))
        else:
            socket.recv(copy=kind == "raw copying")
    return time.perf_counter() - began


def parsed() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of an array")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--send", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(size: int, kinds: Sequence[str], rounds: int, seconds: float) -> dict[str, float]:
    """The median rate of each kind, measured in turn; the fastest raw kind is the peer."""
    if size <= INLINE:  # so small an array lies in the header, never in shared memory
        kinds = [kind for kind in kinds if kind != "shared memory"]
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            rates[kind].append(rate(kind, size, seconds))
    found = {kind: statistics.median(values) for kind, values in rates.items()}
    text = ", ".join(f"{kind} {value:,.0f}/s" for kind, value in found.items())
    raw = [value for kind, value in found.items() if kind.startswith("raw")]
    if raw and "ours" in found:
        found["ratio"] = found["ours"] / max(raw)
        text += f"; ours / best raw = {found['ratio']:.2f}"
    print(f"{size >> 10:5d} KiB: {text}", flush=True)
    return found


def main() -> None:
    """Measure every size, and print medians and ratios."""
    options = parsed()
    wanted = ALLOCATOR | environment(1)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.send:
        kind, size, folder, count = options.send
        if kind == "shared memory":
            send_through_shared_memory(int(size), Path(folder), int(count))
        else:
            send_messages(kind, int(size), Path(folder), int(count))
        return
    found = {
        size: measure(size, options.kinds, options.rounds, options.seconds)
        for size in options.sizes
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
