"""The cost of traces: training with and without them, and reading ten million events.

    python -m benchmarks.trace cost [--rounds 10] [--steps 3000] [--save trace-cost]
    python -m benchmarks.trace read [--events 10000000] [--save trace-read]

`cost` trains the network of examples/mnist-fcn4.toml on random pixels, with cdni, with tracing on
and off in turn, and prints the ratio of each pair. `read` repeats a real trace of 2,000 steps, with
later times and higher batches, until it has the wanted number of events. It runs commands on that
trace and prints the seconds until their first output, and their peak resident memory.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.completed import completed_run, figure
from benchmarks.kernels import let_libraries_choose_kernels
from benchmarks.record import Figure, add_save_option, save
from benchmarks.table import show
from benchmarks.turns import measure_in_turn
from protocol import DataConfig, LayerConfig, Pipeline, TraceConfig, TrainConfig
from protocol import trace_format as form
from protocol.trace_format import TraceHeader

HIDDEN = LayerConfig(("linear 256", "batchnorm", "relu"))
READ_STEPS = 2000


def pipeline(data: Path, steps: int, mode: str) -> Pipeline:
    """The pipeline, with the trace `mode`."""
    return Pipeline(
        name="trace",
        data=DataConfig(path=str(data), batch=256),
        train=TrainConfig(steps=steps),
        trace=TraceConfig(mode=mode),
        layer=(HIDDEN, HIDDEN, HIDDEN, LayerConfig(("linear 10",))),
    )


def pixels(folder: Path) -> Path:
    """A data file of random images."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (10_000, 784), np.uint8)
    y = rng.integers(0, 10, 10_000)
    path = folder / "pixels.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x[:512], y_test=y[:512])
    return path


def cost(folder: Path, rounds: int, steps: int) -> list[Figure]:
    """Train with and without tracing in turn; return the ratios."""
    data, numbers = pixels(folder), itertools.count()

    def rate(mode: str) -> float:
        done = completed_run(pipeline(data, steps, mode), folder / f"{next(numbers)}-{mode}")
        return figure(done, "samples_per_second")

    return measure_in_turn("ring", "off", rounds, rate)


def repeat(path: Path, times: int) -> int:
    """Repeat the complete trace at `path` `times` times; return its number of records."""
    data = bytearray(path.read_bytes())
    header = TraceHeader.unpack(bytes(data[: form.METADATA_AT]))
    records = np.frombuffer(data, form.RECORD, header.records, header.start).copy()
    length = int(records["time"].max() - records["time"].min()) + 1_000_000
    batches = int(records["batch"].max()) + 1
    begin = header._replace(records=header.records * times).pack() + data[form.METADATA_AT :]
    with path.open("wb") as file:
        file.write(begin[: header.start])
        for _ in range(times):
            file.write(records.tobytes())
            records["time"] += length
            records["end"][records["end"] > 0] += length
            records["batch"] += batches
    return header.records * times


def measured(name: str, *arguments: str) -> list[Figure]:
    """The seconds to the first line of output of `dni trace`, and its peak memory.

    The system reports at least the memory of this process, which starts the command.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "cli", "trace", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - began
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"dni trace {' '.join(arguments)}: exit status {process.returncode}")
    return [
        Figure(f"{name}: first output", first, "s"),
        Figure(f"{name}: memory", usage.ru_maxrss / 1024, "MiB"),
    ]


def read(folder: Path, events: int) -> list[Figure]:
    """Make the large trace and measure the commands on it."""
    done = completed_run(pipeline(pixels(folder), READ_STEPS, "full"), folder / "run")
    files = sorted((done.folder / "trace").glob(f"*{form.SUFFIX}"))
    once = sum(TraceHeader.unpack(f.read_bytes()[: form.METADATA_AT]).records for f in files)
    times = -(-events // once)
    count = sum(repeat(path, times) for path in files)
    size = sum(path.stat().st_size for path in files)
    print(f"{count:,} events, {size / 1e6:,.0f} MB")
    run, middle = str(done.folder), READ_STEPS * times // 2
    chosen = ("--kind", "gradient", "--batch", f"{middle}-{middle + 100}")
    return [
        Figure("events", count),
        *measured("stats", "stats", run),
        *measured("batch", "batch", run, str(middle)),
        *measured("messages", "messages", run),
        *measured("gradients of 101 batches", "messages", run, "--layer", "2", *chosen),
        *measured("lost", "lost", run),
    ]


def main() -> None:
    """Measure the cost or the reading."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("cost", "read"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--events", type=int, default=10_000_000)
    add_save_option(parser)
    options = parser.parse_args()
    let_libraries_choose_kernels()
    with tempfile.TemporaryDirectory() as folder:
        if options.what == "cost":
            figures = cost(Path(folder), options.rounds, options.steps)
            title = "Cost of traces, whole runs in turn"
        else:
            figures = read(Path(folder), options.events)
            title = "Reading a large trace"
            show(figures)
    save(options.save, title, figures)


if __name__ == "__main__":
    main()
