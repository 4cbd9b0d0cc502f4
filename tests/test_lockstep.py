"""In lockstep, processes compute the same bits as one process, for every rule and placement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli import evaluate, run
from protocol import DataConfig, LayerConfig, Pipeline, TrainConfig
from protocol.pipeline import RULES
from tests.lockstep_runs import LockstepRuns, arrays, digits, require_equal

SYNTHETIC = ("dni", "unlocked-cdni")
PLACEMENTS = (((0, 1), (2,)), ((2, 0), (1,)), ((0, 1, 2),))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "hidden", "optimizer"),
    [*((rule, (), "adam") for rule in RULES), *((rule, (16, 16), "sgd") for rule in SYNTHETIC)],
)
def test_lockstep_processes_equal_the_inline_engine_bit_for_bit(
    lockstep: LockstepRuns, rule: str, hidden: tuple[int, ...], optimizer: str
) -> None:
    pipeline = digits(rule, hidden, optimizer)
    inline = lockstep(pipeline, "inline")
    assert len(arrays(inline.folder)) >= 3 * 3
    for repetition in (0, 1):
        require_equal(lockstep(pipeline, "local", repetition), inline)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("placement", PLACEMENTS, ids=str)
def test_in_lockstep_the_placement_does_not_change_the_weights(
    lockstep: LockstepRuns, rule: str, placement: tuple[tuple[int, ...], ...]
) -> None:
    pipeline = digits(rule)
    placed = replace(pipeline, placement=placement)
    require_equal(lockstep(placed), lockstep(pipeline, "inline"))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in RULES if not rule.startswith("unlocked")])
def test_in_lockstep_random_updates_are_equal_in_every_placement(
    lockstep: LockstepRuns, rule: str
) -> None:
    pipeline = digits(rule)
    half = replace(pipeline, train=replace(pipeline.train, update_probability=0.5))
    inline = lockstep(half, "inline")
    require_equal(lockstep(half), inline)
    require_equal(lockstep(replace(half, placement=PLACEMENTS[0])), inline)
    assert arrays(lockstep(pipeline, "inline").folder) != arrays(inline.folder)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_free_run_learns_and_its_summary_is_what_evaluate_finds(
    tmp_path: Path, rule: str
) -> None:
    # Over four seeds on a loaded machine: dni 31-53 % after 400 steps, 12-16 % after 2,000.
    steps = 400 if rule in ("no-bprop", "backprop", "cdni") else 2000
    result = run(digits(rule, schedule="async", steps=steps), run_dir=tmp_path / "run")
    judgement = evaluate(result.folder)
    error = 100 * judgement.errors / judgement.judged
    assert result.summary["test_error"] == error
    assert error < 50  # of 90 by guessing


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "no-bprop", "backprop", "unlocked-dni"])
@pytest.mark.parametrize("first", ["linear 40", "flatten"])
def test_large_activations_and_large_labels_arrive_whole(
    tmp_path: Path, rule: str, first: str
) -> None:
    """Every array here is too large for a header: over shared memory, and labels as frames."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 40)).astype(np.float32)
    y = (x @ rng.standard_normal((40, 30)) > 0).astype(np.float32)
    path = tmp_path / "data.npz"
    np.savez(path, x_train=x[:800], y_train=y[:800], x_test=x[800:], y_test=y[800:])
    pipeline = Pipeline(
        rule=rule,
        data=DataConfig(path=str(path), batch=100),
        train=TrainConfig(
            steps=40, eval_every=15, schedule="lockstep", loss="binary-cross-entropy"
        ),
        layer=(
            LayerConfig((first,)),
            LayerConfig(("linear 32", "relu")),
            LayerConfig(("linear 30",)),
        ),
    )
    inline = run(pipeline, engine="inline", run_dir=tmp_path / "inline")
    local = run(pipeline, engine="local", run_dir=tmp_path / "local")
    assert arrays(local.folder) == arrays(inline.folder)
    assert local.summary["test_loss"] == inline.summary["test_loss"]
