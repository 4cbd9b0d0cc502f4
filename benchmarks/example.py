"""Test error and time of one training.

DNI_DATA=… python -m benchmarks.example examples/mnist-unlocked.toml [-o KEY=VALUE ...]
    [--save NAME]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.completed import completed_run, figure
from benchmarks.record import Figure, add_save_option, save
from benchmarks.table import show
from cli import evaluate
from protocol import read_pipeline


def main() -> None:
    """Train once, evaluate the final weights, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("-o", action="append", default=[], dest="overrides")
    add_save_option(parser)
    options = parser.parse_args()
    pipeline = read_pipeline(options.pipeline, options.overrides)
    with tempfile.TemporaryDirectory() as folder:
        result = completed_run(pipeline, f"{folder}/run")
        evaluated = evaluate(result.folder)
    figures = [
        Figure("test error", figure(result, "test_error"), "%"),
        Figure("errors in the test set", evaluated.errors),
        Figure("time", figure(result, "wall_seconds"), "s"),
        Figure("rate", figure(result, "samples_per_second"), "samples/s"),
    ]
    show(figures)
    title = f"{pipeline.name}: {pipeline.rule}, {pipeline.train.steps:,} steps"
    save(options.save, title, figures)


if __name__ == "__main__":
    main()
