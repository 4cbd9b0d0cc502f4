"""The cost of encryption between hosts.

    DNI_DATA=… python -m benchmarks.encryption [--rounds 5] [--steps 2000]

Trains examples/mnist-fcn4.toml with cdni over the loopback interface, with one agent of four
workers, encrypted and with `--insecure` in turn, in alternating order. Prints samples/s, and the
mean, the standard error and the median of the ratios of encrypted to plain.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.cluster_run import ROOT, ClusterRun
from benchmarks.turns import measure_in_turn

EXAMPLE = ROOT / "examples" / "mnist-fcn4.toml"


def rate(kind: str, steps: int, folder: Path) -> float:
    """Samples/s of the whole training, encrypted or plain."""
    arguments = ["-o", f"train.steps={steps}", "-o", "train.eval_every=0", "-o", "train.threads=1"]
    arguments += ["--insecure"] if kind == "plain" else []
    cluster = ClusterRun(
        EXAMPLE, "tcp://127.0.0.1:*", "--run-dir", str(folder), "--force", *arguments
    )
    cluster.join("--slots", "4")
    return cluster.end()["samples_per_second"]


def main() -> None:
    """Measure and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        measure_in_turn(
            "encrypted", "plain", options.rounds, lambda kind: rate(kind, options.steps, run)
        )


if __name__ == "__main__":
    main()
