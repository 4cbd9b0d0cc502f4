"""Messages per second through our encode, socket and decode, against raw pyzmq, in turn.

    python -m benchmarks.wire [--rounds 5] [--seconds 1.0] [--sizes BYTES ...] [--kinds KIND ...]

A sender process and this receiver, PUSH to PULL over ipc, with activations of 4 KiB, 256 KiB and
4 MiB. The raw peer sends the same bytes as one frame, once with pyzmq's copies and once without;
ours is compared with the faster of the two. All processes have the environment of a worker.

The kind 'shared memory' is how large arrays travel between workers of one host: a copy into a slot
of shared memory, which the receiver reads in place. As in a run, credits free the slots: the
receiver sends one per half window, and the sender has at most a window in flight.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import zmq

from benchmarks.record import ROOT, Figure, add_save_option, median, save
from benchmarks.table import show
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
PROGRAM: Final = (sys.executable, "-m", "benchmarks.wire")
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
        command = [*PROGRAM, "--send", kind, str(size), folder, str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as sender:
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
    add_save_option(parser)
    parser.add_argument("--send", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(size: int, kinds: Sequence[str], rounds: int, seconds: float) -> list[Figure]:
    """The rates of all kinds, measured in turn, and the ratios of ours to the fastest raw kind."""
    if size <= INLINE:  # so small an array is in the header, never in shared memory
        kinds = [kind for kind in kinds if kind != "shared memory"]
    turns = [{kind: rate(kind, size, seconds) for kind in kinds} for _ in range(rounds)]
    label = f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
    found = {kind: median(f"{label}: {kind}", [t[kind] for t in turns], "/s") for kind in kinds}
    figures = list(found.values())
    raw = [kind for kind in kinds if kind.startswith("raw")]
    if raw and "ours" in kinds:
        fastest = max(raw, key=lambda kind: found[kind].value)
        ratios = [turn["ours"] / turn[fastest] for turn in turns]
        figures.append(median(f"{label}: ours / best raw", ratios, target="≥ 0.8"))
    show(figures)
    return figures


def send_all(kind: str, size: int, folder: Path, count: int) -> None:
    """The sender's part: send `count` messages of this kind."""
    if kind == "shared memory":
        send_through_shared_memory(size, folder, count)
    else:
        send_messages(kind, size, folder, count)


def main() -> None:
    """Measure every size, and print the figures."""
    options = parsed()
    wanted = ALLOCATOR | environment(1)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [*PROGRAM, *sys.argv[1:]], wanted)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.send:
        kind, size, folder, count = options.send
        send_all(kind, int(size), Path(folder), int(count))
        return
    figures = []
    for size in options.sizes:
        figures += measure(size, options.kinds, options.rounds, options.seconds)
    note = f"PUSH to PULL over ipc, at most {WINDOW} messages in flight, relative to raw pyzmq."
    save(options.save, "Messages per second between two processes", figures, note)


if __name__ == "__main__":
    main()
