"""Test error on MNIST over several seeds, async, one process per layer.

DNI_DATA=… python -m benchmarks.mnist [--rules cdni backprop] [--steps 3000] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.completed import completed_run, figure
from protocol import read_pipeline

EXAMPLE = Path(__file__).parent.parent / "examples" / "mnist-fcn4.toml"


def main() -> None:
    """Run every rule with every seed and print mean and spread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", nargs="+", default=["cdni", "backprop"])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    drops = [options.steps * 60 // 100, options.steps * 85 // 100]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for rule in options.rules:
            results = []
            for seed in range(options.seeds):
                settings = [f"rule={rule}", f"train.seed={seed}", f"train.steps={options.steps}"]
                settings += [f"train.lr_drops={drops}", "train.eval_every=0"]
                pipeline = read_pipeline(EXAMPLE, settings)
                results.append(completed_run(pipeline, f"{folder}/{rule}{seed}"))
            errors = [figure(result, "test_error") for result in results]
            rates = [figure(result, "samples_per_second") for result in results]
            found[rule] = {"test_error": errors, "samples_per_second": rates}
            print(
                f"{rule:9s} {options.steps} steps: test error {statistics.mean(errors):.2f} % "
                f"({min(errors):.2f} … {max(errors):.2f}), "
                f"{statistics.median(rates):,.0f} samples/s",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
