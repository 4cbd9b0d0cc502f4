"""Draws the timelines in docs/images: a run of the MNIST network with each of three rules.

    DNI_DATA=… python -m benchmarks.timelines

Of several windows of 25 ms, the one with the most units of work is drawn: there, other programs on
the host disturb the run least.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.completed import MNIST, completed_run, lr_drops
from benchmarks.record import ROOT
from protocol import read_pipeline

RULES: Final = ("backprop", "cdni", "unlocked-cdni")
STEPS: Final = 800
STARTS: Final = range(1500, 3500, 200)
"""The starts of the windows, in milliseconds after the start of the run."""


def images(run: Path) -> Iterator[str]:
    """One image for each window with work."""
    command = [sys.executable, "-m", "cli", "trace", "timeline", str(run), "--svg", "-"]
    for start in STARTS:
        drawn = [*command, "--from", f"{start}ms", "--for", "25ms"]
        ran = subprocess.run(drawn, check=False, capture_output=True, text=True)
        if ran.returncode == 0:  # no work in a window is an error
            yield ran.stdout


def main() -> None:
    """Train with each rule, and draw its trace."""
    with tempfile.TemporaryDirectory() as folder:
        for rule in RULES:
            settings = [f"rule={rule}", f"train.steps={STEPS}", lr_drops(STEPS)]
            settings += ["train.eval_every=0", "train.threads=1", "trace.mode=full"]
            run = completed_run(read_pipeline(MNIST, settings), f"{folder}/{rule}").folder
            best = max(images(run), key=lambda text: text.count('class="box"'))
            (ROOT / "docs" / "images" / f"timeline-{rule}.svg").write_text(best, "utf-8")


if __name__ == "__main__":
    main()
