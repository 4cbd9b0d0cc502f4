"""Resident memory over a long run, and the coordinator's share of the processor time.

DNI_DATA=… python -m benchmarks.steady [--steps 20000]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.completed import completed_run, figure
from protocol import read_pipeline

EXAMPLE = Path(__file__).parent.parent / "examples" / "mnist-fcn4.toml"


def main() -> None:
    """Run once; print each worker's memory after a tenth of the run and at its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    options = parser.parse_args()
    settings = [f"train.steps={options.steps}", "train.lr_drops=[]", "train.eval_every=0"]
    with tempfile.TemporaryDirectory() as folder:
        result = completed_run(read_pipeline(EXAMPLE, settings), f"{folder}/run")
        lines = [json.loads(line) for line in (result.folder / "metrics.jsonl").open()]
    memory: dict[str, dict[int, float]] = defaultdict(dict)
    for line in lines:
        if "layer" in line:
            memory[line["layer"]][line["step"]] = line["rss_mb"]
    for name, by_step in memory.items():
        steps = sorted(by_step)
        early = next(step for step in steps if step >= options.steps // 10)
        first, last = by_step[early], by_step[steps[-1]]
        print(f"{name}: {first:.1f} MiB at step {early}, {last:.1f} MiB at step {steps[-1]}")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = figure(result, "coordinator_cpu_seconds")
    share = own / (own + children.ru_utime + children.ru_stime)
    print(f"coordinator: {own:.2f} s of processor time, {share:.2%} of all")


if __name__ == "__main__":
    main()
