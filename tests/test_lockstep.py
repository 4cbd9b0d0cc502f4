"""Lock-step processes are the inline run, bit for bit: whatever the rule, twice in a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cli import evaluate, run
from protocol import Data, Layer, Pipeline, Synthetic, Train
from protocol.spec import RULES

HIDDEN = Layer(("linear 24", "batchnorm", "relu"))


def digits(
    rule: str, hidden: tuple[int, ...], optimizer: str, schedule: str, steps: int = 50
) -> Pipeline:
    return Pipeline(
        rule=rule,
        data=Data(name="digits", batch=32),
        train=Train(steps=steps, eval_every=20, schedule=schedule, optimizer=optimizer, seed=5),
        synthetic=Synthetic(hidden=hidden),
        layer=(HIDDEN, HIDDEN, Layer(("linear 10",))),
    )


def arrays(folder: Path) -> dict[str, bytes]:
    """All that a run saved: weights, gradient models, optimiser state, running statistics."""
    return {
        f"{path.stem}/{name}": array.tobytes()
        for path in sorted((folder / "weights").glob("*.safetensors"))
        for name, array in load_file(path).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rule", "hidden", "optimizer"),
    [*((rule, (), "adam") for rule in RULES), ("dni", (16, 16), "sgd")],
)
def test_lockstep_processes_equal_inline_bit_for_bit(
    tmp_path: Path, rule: str, hidden: tuple[int, ...], optimizer: str
) -> None:
    pipeline = digits(rule, hidden, optimizer, "lockstep")
    inline = run(pipeline, engine="inline", run_dir=tmp_path / "inline")
    truth = arrays(inline.folder)
    assert len(truth) >= 3 * 3
    for name in ("first", "second"):
        local = run(pipeline, engine="local", run_dir=tmp_path / name)
        assert local.summary["outcome"] == "completed"
        assert arrays(local.folder) == truth
        assert local.summary["test_error"] == inline.summary["test_error"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_a_free_run_learns_and_its_summary_is_what_evaluate_finds(
    tmp_path: Path, rule: str
) -> None:
    result = run(digits(rule, (), "adam", "free", steps=400), run_dir=tmp_path / "run")
    judgement = evaluate(result.folder)
    error = 100 * judgement.errors / judgement.judged
    assert result.summary["test_error"] == error
    assert error < 50  # of 90 by guessing


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "no-bprop", "backprop"])
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
        data=Data(path=str(path), batch=100),
        train=Train(steps=40, eval_every=15, schedule="lockstep", loss="binary-cross-entropy"),
        layer=(Layer((first,)), Layer(("linear 32", "relu")), Layer(("linear 30",))),
    )
    inline = run(pipeline, engine="inline", run_dir=tmp_path / "inline")
    local = run(pipeline, engine="local", run_dir=tmp_path / "local")
    assert arrays(local.folder) == arrays(inline.folder)
    assert local.summary["test_loss"] == inline.summary["test_loss"]
