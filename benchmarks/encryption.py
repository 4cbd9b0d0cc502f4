"""The cost of encryption between hosts.

    DNI_DATA=… python -m benchmarks.encryption [--rounds 5] [--steps 2000] [--save]

Trains examples/mnist-fcn4.toml with cdni over the loopback interface, with one agent of four
workers, encrypted and with `--insecure` in turn, in alternating order. Prints samples/s, and the
mean, the standard error and the median of the ratios of encrypted to plain.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.cluster_run import ClusterRun
from benchmarks.completed import MNIST
from benchmarks.kernels import let_libraries_choose_kernels
from benchmarks.record import add_save_option, save
from benchmarks.turns import measure_in_turn


def rate(kind: str, steps: int, folder: Path) -> float:
    """Samples/s of the whole training, encrypted or plain."""
    arguments = ["-o", f"train.steps={steps}", "-o", "train.eval_every=0", "-o", "train.threads=1"]
    arguments += ["--insecure"] if kind == "plain" else []
    cluster = ClusterRun(
        MNIST, "tcp://127.0.0.1:*", "--run-dir", str(folder), "--force", *arguments
    )
    cluster.join("--slots", "4")
    return cluster.end()["samples_per_second"]


def main() -> None:
    """Measure and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    add_save_option(parser)
    options = parser.parse_args()
    let_libraries_choose_kernels()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        figures = measure_in_turn(
            "encrypted", "plain", options.rounds, lambda kind: rate(kind, options.steps, run)
        )
    note = "A head and an agent with four workers, both on this host."
    save(options.save, "Encryption between hosts", figures, note)


if __name__ == "__main__":
    main()
