"""What it costs that everything between machines is encrypted.

    DNI_DATA=… python -m benchmarks.encryption [--rounds 5] [--steps 2000]

Trains examples/mnist-fcn4.toml with cdni, a head and a machine of four workers, all here and joined
over the loopback, encrypted and with `--insecure` in turn, each round the other way round. Prints
samples/s, and of the ratios encrypted to plain the mean, its standard error and the median.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.machines import ROOT, Head
from benchmarks.turns import compare

EXAMPLE = ROOT / "examples" / "mnist-fcn4.toml"


def rate(kind: str, steps: int, folder: Path) -> float:
    """Samples/s of the whole training."""
    words = ["-o", f"train.steps={steps}", "-o", "train.eval_every=0", "-o", "train.threads=1"]
    words += ["--insecure"] if kind == "plain" else []
    head = Head(EXAMPLE, "tcp://127.0.0.1:*", "--run-dir", str(folder), "--force", *words)
    head.join("--slots", "4")
    return head.end()["samples_per_second"]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        compare("encrypted", "plain", options.rounds, lambda kind: rate(kind, options.steps, run))


if __name__ == "__main__":
    main()
