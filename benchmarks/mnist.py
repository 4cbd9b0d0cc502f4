"""Test error on MNIST over several seeds, async, one process per layer.

DNI_DATA=… python -m benchmarks.mnist [--rules cdni backprop] [--steps 3000] [--seeds 3] [--save]
"""

from __future__ import annotations

import argparse
import tempfile

from benchmarks.completed import MNIST, completed_run, figure, lr_drops
from benchmarks.record import Figure, add_save_option, mean, median, save
from benchmarks.table import show
from protocol import read_pipeline


def measure(rule: str, steps: int, seeds: int, folder: str) -> list[Figure]:
    """Train with each seed; return the mean test error and the median rate."""
    results = []
    for seed in range(seeds):
        settings = [f"rule={rule}", f"train.seed={seed}", f"train.steps={steps}"]
        settings += [lr_drops(steps), "train.eval_every=0"]
        pipeline = read_pipeline(MNIST, settings)
        results.append(completed_run(pipeline, f"{folder}/{rule}{seed}"))
    errors = [figure(result, "test_error") for result in results]
    rates = [figure(result, "samples_per_second") for result in results]
    return [
        mean(f"{rule}: test error", errors, "%"),
        median(f"{rule}: rate", rates, "samples/s"),
    ]


def main() -> None:
    """Train with every rule and every seed; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", nargs="+", default=["cdni", "backprop"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    add_save_option(parser)
    options = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for rule in options.rules:
            found = measure(rule, options.steps, options.seeds, folder)
            show(found)
            figures += found
    title = f"MNIST, 4 layers, {options.steps:,} steps of 256"
    note = f"Mean and median of {options.seeds} seeds; async, one process per layer."
    save(options.save, title, figures, note)


if __name__ == "__main__":
    main()
