"""The time of `make run` in a fresh clone of the commit, set-up included.

python -m benchmarks.make_run [--save make-run]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.record import ROOT, Figure, add_save_option, save
from benchmarks.table import show


def main() -> None:
    """Clone, run the command, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_save_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "dni"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        began = time.perf_counter()
        subprocess.run(["make", "run"], cwd=clone, check=True)
        seconds = time.perf_counter() - began
        (path,) = clone.glob("runs/*/summary.json")
        summary = json.loads(path.read_text("utf-8"))
    figures = [
        Figure("fresh clone, set-up included", seconds, "s"),
        Figure("training", summary["wall_seconds"], "s"),
        Figure("test error", summary["test_error"], "%"),
    ]
    show(figures)
    save(options.save, "make run", figures)


if __name__ == "__main__":
    main()
