"""A layer that is replayed from its recording has the same weights, bit for bit."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors.numpy import load_file

from cli import replay, run
from protocol import Activation, DataConfig, Gradient, LayerConfig, Pipeline, State, TrainConfig
from protocol.config import TraceConfig
from protocol.pipeline import RULES
from protocol.recording_format import (
    Operation,
    ReceivedMessage,
    RecordingEntry,
    read_entries,
    read_messages,
    read_metadata,
)
from tests.recordings import encode, example, flip, recording

if TYPE_CHECKING:
    from tests.dni import Dni

GROUPED = "placement=[[0,1],[2]]"
LATE = 20.0
STEPS = 20


@pytest.fixture(scope="session")
def recorded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 20 steps; tests read it only."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    run(example(f"train.steps={STEPS}"), engine="inline", run_dir=folder)
    return folder


@pytest.fixture
def recorded(recorded_once: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test may change."""
    return Path(shutil.copytree(recorded_once, tmp_path / "run"))


# -- the weights are the same


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "rule", "steps"),
    [
        *(("local", rule, 320) for rule in RULES if rule != "unlocked-cdni"),
        ("local", "unlocked-cdni", 1100),
        *(("inline", rule, 320) for rule in ("backprop", "unlocked-cdni")),
        *(("grouped", rule, 320) for rule in ("cdni", "unlocked-dni")),
    ],
)
def test_a_replay_of_hundreds_of_messages_gives_the_same_weights(
    tmp_path: Path, rule: str, engine: str, steps: int
) -> None:
    options = (f"rule={rule}", f"train.steps={steps}", "train.eval_every=0", "train.threads=1")
    pipeline = example(*options, *([GROUPED] if engine == "grouped" else []))
    result = run(pipeline, engine=engine.replace("grouped", "local"), run_dir=tmp_path / "run")
    assert result.end.outcome == "completed"
    replays = [replay(tmp_path / "run", layer) for layer in range(len(pipeline.layer))]
    for found in replays:
        assert (found.equal, found.differing, found.note) == (True, (), "")
    # A layer of the unlocked rules may miss batches, so the sums are compared.
    assert sum(found.messages for found in replays) >= 2 * steps
    assert sum(found.units for found in replays) >= 2 * steps


def test_the_recorded_state_is_the_saved_weights(recorded_once: Path) -> None:
    for layer in range(3):
        *_, state = read_entries(recording(recorded_once, layer))
        assert isinstance(state, State)
        saved = load_file(recorded_once / "weights" / f"layer{layer}.safetensors")
        assert set(saved) == set(state.names)
        for name, array in zip(state.names, state.arrays, strict=True):
            assert saved[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("rule", ["cdni", "backprop", "unlocked-cdni"])
def test_arrays_in_another_memory_order_give_the_same_weights(tmp_path: Path, rule: str) -> None:
    """The channels of a convolution's output are not the innermost axis in memory."""
    pipeline = Pipeline(
        rule=rule,
        data=DataConfig(name="digits", batch=32),
        train=TrainConfig(steps=30, update_probability=0.7),
        trace=TraceConfig(mode="messages"),
        layer=(
            LayerConfig(("conv 3 3", "batchnorm", "relu")),
            LayerConfig(("conv 4 3", "batchnorm", "relu", "dropout 0.3")),
            LayerConfig(("flatten", "linear 10")),
        ),
    )
    run(pipeline, engine="inline", run_dir=tmp_path / "run")
    for layer in range(3):
        assert replay(tmp_path / "run", layer).equal


def test_a_recording_changes_no_weights(tmp_path: Path, recorded_once: Path) -> None:
    pipeline = example(f"train.steps={STEPS}", "trace.mode=off")
    run(pipeline, engine="inline", run_dir=tmp_path / "off")
    for layer in range(3):
        weights = f"weights/layer{layer}.safetensors"
        off, on = load_file(tmp_path / "off" / weights), load_file(recorded_once / weights)
        assert off.keys() == on.keys()
        assert all(off[name].tobytes() == on[name].tobytes() for name in off)


@pytest.mark.slow
def test_an_interrupted_run_can_be_replayed(dni: Dni) -> None:
    training = dni.train("-o", "trace.mode=messages")
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    for layer in range(3):
        assert replay(training.folder, layer).equal


# -- a difference is reported


def test_a_flipped_bit_in_a_message_changes_the_weights(recorded: Path) -> None:
    path = recording(recorded, 1)
    batch = next(r.message for r in read_messages(path) if isinstance(r.message, Activation))
    flip(path, batch.x)
    found = replay(recorded, 1)
    assert not found.equal
    assert found.differing
    assert all(size > 0 for _, size in found.differing)


def test_a_flipped_bit_in_the_weights_is_reported_with_the_name_of_the_array(
    recorded: Path,
) -> None:
    path = recording(recorded, 2)
    *_, state = read_entries(path)
    assert isinstance(state, State)
    flip(path, state.arrays[0])
    found = replay(recorded, 2)
    (name, size), *others = found.differing
    assert (found.equal, name, others) == (False, state.names[0], [])
    assert size > 0
    assert found.note == ""


def rewrite(path: Path, entries: list[RecordingEntry], **changes: Any) -> None:
    """Write `entries` to the file at `path`, and `changes` to its metadata."""
    path.write_bytes(encode(entries, replace(read_metadata(path), **changes)))


def test_a_missing_message_is_noticed(recorded: Path) -> None:
    path = recording(recorded, 0)
    entries = list(read_entries(path))
    rewrite(path, entries)
    assert replay(recorded, 0).equal
    gradients = [
        i
        for i, entry in enumerate(entries)
        if isinstance(entry, ReceivedMessage) and isinstance(entry.message, Gradient)
    ]
    del entries[gradients[5]]
    rewrite(path, entries)
    assert not replay(recorded, 0).equal


def test_another_order_of_messages_and_work_is_noticed(recorded: Path) -> None:
    path = recording(recorded, 0)
    entries = list(read_entries(path))
    work = [entry for entry in entries if entry is Operation.WORK]
    received = [entry for entry in entries if isinstance(entry, ReceivedMessage)]
    rewrite(path, [*received, *work, entries[-1]])
    assert not replay(recorded, 0).equal


def test_another_library_is_named_if_the_weights_differ(recorded: Path) -> None:
    path = recording(recorded, 2)
    entries = list(read_entries(path))
    rewrite(path, entries, library="numpy 0.1, abacus")
    assert replay(recorded, 2).note == ""
    flip(path, entries[-1].arrays[0])  # type: ignore[union-attr]
    assert "recorded with numpy 0.1, abacus, replayed with numpy" in replay(recorded, 2).note


@pytest.mark.parametrize("engine", ["inline", pytest.param("local", marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [1, 2])
def test_a_replay_uses_as_many_threads_as_the_run(tmp_path: Path, engine: str, count: int) -> None:
    pipeline = example("train.steps=4", f"train.threads={count}")
    run(pipeline, engine=engine, run_dir=tmp_path / "run")
    assert read_metadata(recording(tmp_path / "run", 1)).threads == count
    found = replay(tmp_path / "run", 1)
    assert (found.equal, found.threads) == (True, count)
