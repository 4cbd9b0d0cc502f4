"""The cost of tracing, measured with tracing on and off in turn within one run.

    python -m benchmarks.switched [--runs 5] [--steps 12800] [--save]

The rates of whole runs differ by a tenth on a noisy host. Here tracing is switched on and off after
every 160 batches of one run, about a second, in all workers at once. Two blocks with tracing are
compared with the two blocks without it between them. The network is that of
examples/mnist-fcn4.toml on random pixels, with cdni. Prints the share of the rate that is left in
each run, and of all runs with its standard error.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from unittest.mock import patch

from benchmarks.completed import completed_run
from benchmarks.kernels import let_libraries_choose_kernels
from benchmarks.record import add_save_option, save
from benchmarks.switched_worker import BLOCK, on
from benchmarks.trace import pipeline, pixels
from benchmarks.turns import conclude
from coordinator.engines import processes

FEWEST = 12 * BLOCK
"""Steps: four blocks to warm up, and twice four to compare."""


def shares(folder: Path, data: Path, steps: int) -> list[float]:
    """The rate with tracing as a share of the rate without, for each four blocks of a run."""
    worker = ("-m", "benchmarks.switched_worker")
    with patch.object(processes, "WORKER", worker):
        done = completed_run(pipeline(data, steps, "ring"), folder)
    lines = (done.folder / "logs" / "layer3.log").read_text("utf-8").splitlines()
    blocks = (line.split()[1:] for line in lines if line.startswith("block "))
    taken = {int(block): int(nanoseconds) for block, nanoseconds in blocks}
    found = []
    for first in range(4, max(taken) - 2, 4):  # the first four warm up
        four = range(first, first + 4)
        with_it = sum(taken[i] for i in four if on(i))
        found.append(sum(taken[i] for i in four if not on(i)) / with_it)
    return found


def main() -> None:
    """Run several times, and print the share of the rate that is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12800)
    add_save_option(parser)
    options = parser.parse_args()
    if options.steps < FEWEST:
        parser.error(f"--steps must be {FEWEST} at least")
    let_libraries_choose_kernels()
    everything: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        data = pixels(Path(folder))
        for number in range(options.runs):
            found = shares(Path(folder) / str(number), data, options.steps)
            everything += found
            print(f"{len(found)} groups of four blocks: {statistics.mean(found):.4f}", flush=True)
    figures = conclude("on", "off", everything, target="≥ 0.98")
    save(options.save, "Cost of traces, switched on and off within a run", figures)


if __name__ == "__main__":
    main()
