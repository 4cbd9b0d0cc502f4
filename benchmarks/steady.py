"""Resident memory over a long run, and the coordinator's share of the processor time.

DNI_DATA=… python -m benchmarks.steady [--steps 20000] [--save]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence

from benchmarks.completed import MNIST, completed_run, figure
from benchmarks.record import Figure, add_save_option, save
from benchmarks.table import show
from coordinator.lifecycle.train import Result
from protocol import read_pipeline


def memory_figures(lines: Sequence[str], steps: int) -> Iterator[Figure]:
    """The memory of each worker after a tenth of the steps and at the end, from the metrics."""
    memory: dict[str, dict[int, float]] = defaultdict(dict)
    for line in map(json.loads, lines):
        if "layer" in line:
            memory[line["layer"]][line["step"]] = line["rss_mb"]
    for name, by_step in memory.items():
        early = min(step for step in by_step if step >= steps // 10)
        for step in (early, max(by_step)):
            yield Figure(f"{name}: at step {step:,}", by_step[step], "MiB")


def coordinator_figures(result: Result) -> Iterator[Figure]:
    """The processor time of the coordinator, and its share of that of all processes."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = figure(result, "coordinator_cpu_seconds")
    share = own / (own + workers.ru_utime + workers.ru_stime)
    yield Figure("coordinator: processor time", own, "s")
    yield Figure("coordinator: share of all processor time", 100 * share, "%")


def main() -> None:
    """Train once and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    add_save_option(parser)
    options = parser.parse_args()
    settings = [f"train.steps={options.steps}", "train.lr_drops=[]", "train.eval_every=0"]
    with tempfile.TemporaryDirectory() as folder:
        result = completed_run(read_pipeline(MNIST, settings), f"{folder}/run")
        lines = (result.folder / "metrics.jsonl").read_text("utf-8").splitlines()
    figures = [*memory_figures(lines, options.steps), *coordinator_figures(result)]
    show(figures)
    save(options.save, "Memory and the coordinator in a long run", figures)


if __name__ == "__main__":
    main()
