"""Samples per second of dni with processes and of PyTorch in one process, in turn in one run.

    python -m benchmarks.throughput [--rounds 5] [--steps 800] [--json FILE]

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
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.completed import completed_run, figure
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig

HERE = Path(__file__).parent
HIDDEN = LayerConfig(("linear 256", "batchnorm", "relu"))
BATCH, PIXELS, WIDTH, CLASSES = 256, 784, 256, 10
CONDITIONED = WIDTH + CLASSES
OURS = {
    "our backprop": ("backprop", TrainConfig()),
    "our backprop, 1 thread": ("backprop", TrainConfig(threads=1)),
    "our dni": ("dni", TrainConfig()),
    "our cdni": ("cdni", TrainConfig()),
    "our cdni, every gradient": ("cdni", TrainConfig(gradient_queue=0)),
}


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


def main() -> None:
    """Measure all in turn, several times, and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--keep-kernels", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.keep_kernels:
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            if os.environ.pop(name, None):
                print(f"without {name}, which the environment sets")
    rates: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        data = scratch / "pixels.npz"
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (20000, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, 20000)
        np.savez(data, x_train=pixels, y_train=labels, x_test=pixels[:256], y_test=labels[:256])
        for number in range(options.rounds):
            for rule in ("backprop", "cdni"):
                rates.setdefault(f"torch {rule}", []).append(torch_rate(rule, options.steps))
            for name, (rule, train) in OURS.items():
                settings = replace(train, steps=options.steps)
                rate = our_rate(rule, settings, data, scratch)
                rates.setdefault(name, []).append(rate)
            print(f"round {number + 1}:", {k: round(v[-1]) for k, v in rates.items()}, flush=True)
    report(rates, matrix_limit("cdni"), options.json)


def report(rates: dict[str, list[float]], limit: float, path: Path | None) -> None:
    """Print the table; the ratios are medians of the ratios within a round."""
    for name, values in rates.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:24s} {middle:9,.0f} samples/s ({low:,.0f} … {high:,.0f})")

    def ratio(a: str, b: str) -> float:
        return statistics.median(x / y for x, y in zip(rates[a], rates[b], strict=True))

    fastest = max(
        ("our backprop", "our backprop, 1 thread"), key=lambda n: statistics.median(rates[n])
    )
    found = {
        "our cdni / torch cdni": ratio("our cdni", "torch cdni"),
        f"our cdni / {fastest}": ratio("our cdni", fastest),
        f"our cdni, every gradient / {fastest}": ratio("our cdni, every gradient", fastest),
        f"{fastest} / torch backprop": ratio(fastest, "torch backprop"),
        "our cdni / matrix limit": statistics.median(rates["our cdni"]) / limit,
    }
    print(f"matrix-multiplication limit of cdni: {limit:,.0f} samples/s")
    for name, value in found.items():
        print(f"{name:48s} {value:.2f}")
    if path is not None:
        path.write_text(json.dumps({"rates": rates, "limit": limit, "ratios": found}, indent=2))


if __name__ == "__main__":
    main()
