"""Two runs on one machine do not meet: neither learns anything from the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from tests.conftest import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
STEPS = 300
LATE = 60.0


def equal(one: Path, other: Path) -> bool:
    """Whether two runs left the same numbers, bit for bit."""
    for name in LAYERS:
        ours, theirs = (
            load_file(folder / "weights" / f"{name}.safetensors") for folder in (one, other)
        )
        assert ours.keys() == theirs.keys()
        if not all(np.array_equal(ours[key], theirs[key]) for key in ours):
            return False
    return True


def both(dni: Dni, words: Mapping[str, tuple[str, ...]]) -> None:
    """Run the pipelines called by `words`, by run folder, from the same moment to their ends."""
    trainings = [dni.start(*given, run_dir=run_dir) for run_dir, given in words.items()]
    for training in trainings:
        dni.until(training.find_family, "its workers are there")
        training.family["source"].suspend()  # nothing is sent before both are there
    dni.until(lambda: len(dni.sockets()) == len(trainings), "both have their sockets")
    assert not any(training.metrics() for training in trainings)
    for training in trainings:
        training.family["source"].resume()
    for training in trainings:
        assert training.end(LATE) == 0, training.text
        assert training.summary()["outcome"] == "completed"
        assert training.summary()["steps"] == STEPS
    dni.nothing_left()


def test_two_runs_in_lockstep_at_once_equal_each_run_alone(dni: Dni) -> None:
    words = {
        run_dir: ("-o", f"train.steps={STEPS}", "-o", "train.schedule=lockstep", "-o", seed)
        for run_dir, seed in (("one", "train.seed=1"), ("two", "train.seed=2"))
    }
    both(dni, words)
    for run_dir, given in words.items():
        alone = dni("run", "tiny.toml", "--run-dir", f"{run_dir}-alone", *given)
        assert alone.returncode == 0, alone.stderr
        assert equal(dni.home / run_dir, dni.home / f"{run_dir}-alone")
    assert not equal(dni.home / "one", dni.home / "two")


def test_two_free_runs_at_once_both_complete(dni: Dni) -> None:
    both(dni, dict.fromkeys(("one", "two"), ("-o", f"train.steps={STEPS}")))
