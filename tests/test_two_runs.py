"""Two runs on one host are independent: neither receives anything from the other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from tests.dni import Dni

pytestmark = pytest.mark.slow

LAYERS = ("layer0", "layer1", "layer2")
STEPS = 120
LATE = 60.0


def equal(one: Path, other: Path) -> bool:
    """Whether two runs left the same weights, bit for bit."""
    for name in LAYERS:
        ours, theirs = (
            load_file(folder / "weights" / f"{name}.safetensors") for folder in (one, other)
        )
        assert ours.keys() == theirs.keys()
        if not all(np.array_equal(ours[key], theirs[key]) for key in ours):
            return False
    return True


def both(dni: Dni, arguments: Mapping[str, tuple[str, ...]]) -> None:
    """Run both at the same time to their ends; `arguments` are by run folder."""
    trainings = [dni.start(*options, run_dir=run_dir) for run_dir, options in arguments.items()]
    for training in trainings:
        dni.until(training.find_family, "its workers have started")
        training.family["source"].suspend()  # nothing is sent before both have started
    dni.until(lambda: len(dni.sockets()) == len(trainings), "both have their sockets")
    assert not any(training.metrics() for training in trainings)
    for training in trainings:
        training.family["source"].resume()
    for training in trainings:
        assert training.end(LATE) == 0, training.text
        assert training.summary()["outcome"] == "completed"
        assert training.summary()["steps"] == STEPS
    dni.nothing_left()


def test_two_lockstep_runs_at_once_give_the_same_bits_as_each_run_alone(dni: Dni) -> None:
    arguments = {
        run_dir: ("-o", f"train.steps={STEPS}", "-o", "train.schedule=lockstep", "-o", seed)
        for run_dir, seed in (("one", "train.seed=1"), ("two", "train.seed=2"))
    }
    both(dni, arguments)
    for run_dir, options in arguments.items():
        alone = dni("run", "tiny.toml", "--run-dir", f"{run_dir}-alone", *options)
        assert alone.returncode == 0, alone.stderr
        assert equal(dni.home / run_dir, dni.home / f"{run_dir}-alone")
    assert not equal(dni.home / "one", dni.home / "two")


def test_two_async_runs_at_once_both_complete(dni: Dni) -> None:
    both(dni, dict.fromkeys(("one", "two"), ("-o", f"train.steps={STEPS}")))
