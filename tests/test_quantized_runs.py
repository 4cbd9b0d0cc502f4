"""Runs with quantized edges learn, repeat exactly, and trace the bytes that travel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli import replay, run
from coordinator.traces.message_accounting import edge_counts
from coordinator.traces.run import Traces
from protocol import DataConfig, LayerConfig, Pipeline, TraceConfig, TrainConfig
from protocol.codec import quantization
from tests import lockstep_runs
from tests.lockstep_runs import LockstepRuns, arrays, require_equal

HIDDEN = LayerConfig(("linear 48", "batchnorm", "relu"))
EXAMPLES = 32


def digits(
    edge_dtype: str, schedule: str = "async", steps: int = 60, rule: str = "cdni"
) -> Pipeline:
    return Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=EXAMPLES),
        train=TrainConfig(steps=steps, schedule=schedule, seed=5, threads=1),
        layer=(HIDDEN, HIDDEN, LayerConfig(("linear 10",))),
        edge_dtype=edge_dtype,
    )


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["cdni", "backprop", "unlocked-cdni"])
@pytest.mark.parametrize("edge_dtype", ["float16", "int8"])
def test_quantized_runs_in_lockstep_repeat_and_differ_from_exact_ones(
    lockstep: LockstepRuns, rule: str, edge_dtype: str
) -> None:
    exact = lockstep_runs.digits(rule)
    quantized = replace(exact, edge_dtype=edge_dtype)
    first = lockstep(quantized)
    require_equal(lockstep(quantized, repetition=1), first)
    assert arrays(first.folder) != arrays(lockstep(exact).folder)


@pytest.mark.slow
def test_within_one_process_no_message_is_quantized(lockstep: LockstepRuns) -> None:
    exact = lockstep_runs.digits("cdni")
    quantized = replace(exact, edge_dtype="int8")
    require_equal(lockstep(quantized, "inline"), lockstep(exact, "inline"))
    grouped = replace(quantized, placement=((0, 1, 2),))
    require_equal(lockstep(grouped), lockstep(exact, "inline"))


@pytest.mark.slow
def test_quantized_runs_learn(tmp_path: Path) -> None:
    errors = {}
    for edge_dtype in quantization.EDGE_DTYPES:
        result = run(digits(edge_dtype, "lockstep", steps=400), run_dir=tmp_path / edge_dtype)
        errors[edge_dtype] = float(str(result.summary["test_error"]))
    assert errors["float32"] < 6
    assert errors["float16"] <= errors["float32"] + 1
    assert errors["int8"] <= errors["float32"] + 1


@pytest.mark.slow
def test_the_trace_has_the_bytes_that_travel(tmp_path: Path) -> None:
    edge_dtypes = {"layer0>layer1": "int8", "layer2>layer1": "float16"}
    pipeline = replace(digits("float32", steps=20), edge_dtypes=edge_dtypes)
    result = run(pipeline, run_dir=tmp_path / "run")
    labels, width = 8 * EXAMPLES, 48 * EXAMPLES
    counts = edge_counts(Traces(result.folder))
    found = {(str(a.edge), a.kind): a.bytes for a in counts if a.sent}
    assert found["layer0>layer1", "activation"] == 20 * (width + 4 * EXAMPLES + labels)
    assert found["layer1>layer2", "activation"] == 20 * (4 * width + labels)
    assert found["layer2>layer1", "gradient"] == 20 * 2 * width
    assert found["layer1>layer0", "gradient"] == 20 * 4 * width


@pytest.mark.slow
@pytest.mark.parametrize("edge_dtype", ["float16", "int8"])
def test_the_replay_of_a_quantized_run_has_the_same_weights(
    tmp_path: Path, edge_dtype: str
) -> None:
    pipeline = replace(digits(edge_dtype), trace=TraceConfig(mode="messages"))
    run(pipeline, run_dir=tmp_path / "run")
    for layer in range(3):
        assert replay(tmp_path / "run", layer).equal


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", ["fail", "ignore"])
def test_a_number_that_float16_cannot_hold_fails_the_run_with_the_edge(
    tmp_path: Path, on_nonfinite: str
) -> None:
    x = np.full((64, 3), 1e5, np.float32)
    path, y = tmp_path / "data.npz", np.arange(64) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    pipeline = Pipeline(
        data=DataConfig(path=str(path), batch=8),
        train=TrainConfig(steps=4, on_nonfinite=on_nonfinite),
        layer=(LayerConfig(("linear 2",)),),
        edge_dtype="float16",
    )
    result = run(pipeline, run_dir=tmp_path / "run")
    if on_nonfinite == "ignore":
        assert result.end.outcome == "completed"
    else:
        assert result.end.outcome == "failed"
        assert "source" in result.end.text
        assert "source>layer0 leaves the range of float16" in result.end.text
