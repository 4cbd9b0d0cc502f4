"""Samples per second of dni with processes and of PyTorch in one process, in turn in one run.

    python -m benchmarks.throughput [--rounds 5] [--steps 800] [--save]

The network is that of examples/mnist-fcn4.toml, batch 256, on all cores, with random pixels, on
which the speed does not depend. Backprop is measured with all cores and with one core in a step,
and cdni is compared with the faster of the two. cdni is also measured with `train.gradient_queue =
0`, where every true gradient trains the gradient model, not only the newest of those that wait.
Each matrix library chooses its kernels for this processor by itself: OPENBLAS_CORETYPE and
OPENBLAS_L2_SIZE are removed from the environment, unless --keep-kernels is given. Needs the extra
[torch].
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.completed import completed_run, figure
from benchmarks.kernels import let_libraries_choose_kernels
from benchmarks.record import Figure, add_save_option, median, save
from benchmarks.table import show
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig

HERE = Path(__file__).parent
HIDDEN = LayerConfig(("linear 256", "batchnorm", "relu"))
BATCH, PIXELS, WIDTH, CLASSES = 256, 784, 256, 10
CONDITIONED = WIDTH + CLASSES
OURS = {
    "dni: backprop": ("backprop", TrainConfig()),
    "dni: backprop, 1 thread": ("backprop", TrainConfig(threads=1)),
    "dni: dni": ("dni", TrainConfig()),
    "dni: cdni": ("cdni", TrainConfig()),
    "dni: cdni, every gradient": ("cdni", TrainConfig(gradient_queue=0)),
}
BACKPROP = ("dni: backprop", "dni: backprop, 1 thread")
NOTE = (
    "The network of examples/mnist-fcn4.toml on random pixels, batch 256. PyTorch has one process "
    "and as many threads as processor cores, dni one process per stage. Medians of the rounds."
)


def torch_rate(rule: str, steps: int) -> float:
    """Samples/s of PyTorch, measured in a process of its own."""
    command = [sys.executable, str(HERE / "torch_peer.py"), rule, "--steps", str(steps)]
    command += ["--threads", str(os.cpu_count())]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(printed)["samples_per_second"])


def our_rate(rule: str, train: TrainConfig, data: Path, scratch: Path) -> float:
    """Samples/s of dni, with one process for the source and one for every layer."""
    pipeline = Pipeline(
        name="throughput",
        rule=rule,
        data=DataConfig(path=str(data), batch=BATCH),
        train=train,
        layer=(HIDDEN, HIDDEN, HIDDEN, LayerConfig((f"linear {CLASSES}",))),
    )
    return figure(
        completed_run(pipeline, scratch / f"{rule}-{time.time_ns()}"), "samples_per_second"
    )


def multiplications(rule: str) -> list[tuple[int, int, int]]:
    """Shapes (n, k, m) of the matrix products of one batch of `rule`."""
    made = [(BATCH, PIXELS, WIDTH)] * 2
    made += [(BATCH, WIDTH, WIDTH)] * 6
    made += [(BATCH, WIDTH, CLASSES)] * 3
    if rule == "cdni":
        made += [(BATCH, CONDITIONED, WIDTH)] * 6
    return made


def matrix_limit(rule: str) -> float:
    """Samples/s if all cores computed only the matrix products, each with one thread."""
    code = (
        "import sys, json, time, numpy as np\n"
        "total = 0.0\n"
        "for n, k, m in json.loads(sys.argv[1]):\n"
        "    a, b = np.ones((n, k), np.float32), np.ones((k, m), np.float32)\n"
        "    times = []\n"
        "    for _ in range(60):\n"
        "        t = time.perf_counter(); a @ b; times.append(time.perf_counter() - t)\n"
        "    total += sorted(times)[30]\n"
        "print(total)\n"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, json.dumps(multiplications(rule))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return (os.cpu_count() or 1) * BATCH / float(printed.stdout)


def random_pixels(path: Path) -> Path:
    """A data file of random images."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20000, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, 20000)
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels[:256], y_test=labels[:256])
    return path


def measure_once(steps: int, data: Path, scratch: Path) -> dict[str, float]:
    """Samples/s of every candidate, one after the other."""
    found = {f"PyTorch: {rule}": torch_rate(rule, steps) for rule in ("backprop", "cdni")}
    for name, (rule, train) in OURS.items():
        found[name] = our_rate(rule, replace(train, steps=steps), data, scratch)
    return found


def figures(rounds: Sequence[dict[str, float]], limit: float) -> list[Figure]:
    """The rates, and ratios of rates within a round."""
    rates = {name: [each[name] for each in rounds] for name in rounds[0]}
    found = [median(name, values, "samples/s") for name, values in rates.items()]

    def ratio(label: str, a: str, b: str, target: str = "") -> Figure:
        values = [x / y for x, y in zip(rates[a], rates[b], strict=True)]
        return median(label, values, target=target)

    fastest = max(BACKPROP, key=lambda name: statistics.median(rates[name]))
    of_limit = [rate / limit for rate in rates["dni: cdni"]]
    return [
        *found,
        Figure("matrix products of cdni alone", limit, "samples/s"),
        ratio("dni: cdni / PyTorch: cdni", "dni: cdni", "PyTorch: cdni", "≥ 1.2"),
        ratio("dni: cdni / faster backprop of dni", "dni: cdni", fastest, "≥ 1.5"),
        ratio("faster backprop of dni / PyTorch: backprop", fastest, "PyTorch: backprop"),
        median("dni: cdni / matrix products alone", of_limit),
    ]


def main() -> None:
    """Measure all in turn, several times, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--keep-kernels", action="store_true")
    add_save_option(parser)
    options = parser.parse_args()
    if not options.keep_kernels:
        let_libraries_choose_kernels()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        data = random_pixels(Path(folder) / "pixels.npz")
        for number in range(options.rounds):
            rounds.append(measure_once(options.steps, data, Path(folder)))
            text = ", ".join(f"{name} {rate:,.0f}" for name, rate in rounds[-1].items())
            print(f"round {number + 1}: {text}", flush=True)
    found = figures(rounds, matrix_limit("cdni"))
    show(found)
    save(options.save, "Throughput", found, NOTE)


if __name__ == "__main__":
    main()
