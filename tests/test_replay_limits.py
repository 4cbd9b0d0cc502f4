"""Which messages are recorded, and which recordings cannot be replayed."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cli import replay, run
from protocol import Activation, Gradient, RunError, State
from protocol.recording_format import (
    SUFFIX,
    ReceivedMessage,
    read_entries,
    read_messages,
    read_metadata,
)
from tests.recordings import encode, example, recording

if TYPE_CHECKING:
    from tests.dni import Dni

GROUPED = "placement=[[0,1],[2]]"
WORKERS = ("source", "layer0", "layer1", "layer2")
LATE = 20.0


def test_the_messages_of_the_wanted_layers_are_recorded(tmp_path: Path) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "all")
    run(example("train.steps=4", "trace.layers=[2]"), engine="inline", run_dir=tmp_path / "one")
    run(example("train.steps=4", "trace.mode=ring"), engine="inline", run_dir=tmp_path / "none")
    names = {
        folder: sorted(path.stem for path in (tmp_path / folder / "trace").glob(f"*{SUFFIX}"))
        for folder in ("all", "one", "none")
    }
    assert names == {"all": ["layer0", "layer1", "layer2"], "one": ["layer2"], "none": []}
    assert replay(tmp_path / "one", 2).equal
    with pytest.raises(RunError, match=r"layer1\.messages: no such file; trace\.mode"):
        replay(tmp_path / "one", 1)


@pytest.mark.parametrize("layer", [-1, 3])
def test_an_unknown_layer_is_an_error(tmp_path: Path, layer: int) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "run")
    with pytest.raises(RunError, match=f"there is no layer {layer}; the run's layers are 0 … 2"):
        replay(tmp_path / "run", layer)
    with pytest.raises(RunError, match="holds no run"):
        replay(tmp_path, 0)


@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni"])
def test_a_recording_of_the_first_batches_ends_with_the_weights_after_them(
    tmp_path: Path, rule: str
) -> None:
    options = (f"rule={rule}", "train.steps=30", "trace.batches=[1, 10]")
    run(example(*options), engine="inline", run_dir=tmp_path / "run")
    for layer in range(3):
        path = recording(tmp_path / "run", layer)
        *entries, state = read_entries(path)
        batches = [
            getattr(e.message, "batch", 1) for e in entries if isinstance(e, ReceivedMessage)
        ]
        assert max(batches) == 10
        assert isinstance(state, State)
        assert state.step <= 10
        assert replay(tmp_path / "run", layer).equal


def test_messages_of_later_batches_can_be_read_and_not_replayed(tmp_path: Path) -> None:
    options = ("train.steps=30", "trace.batches=[5, 8]")
    run(example(*options), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 0)
    received = list(read_messages(path))
    assert len(list(read_entries(path))) == len(received)  # there are no other entries
    activations = [e.message.batch for e in received if isinstance(e.message, Activation)]
    gradients = [e.message.batch for e in received if isinstance(e.message, Gradient)]
    assert activations == gradients == [5, 6, 7, 8]
    assert {e.sender for e in received} == {"source", "layer1"}
    with pytest.raises(RunError, match=r"begins with batch 5, .* let trace.batches begin at 1"):
        replay(tmp_path / "run", 0)


def test_a_layer_that_failed_fails_in_the_replay_at_the_same_step(tmp_path: Path) -> None:
    options = ("train.optimizer=sgd", "train.lr=1e30", "train.steps=30")
    result = run(example(*options), engine="inline", run_dir=tmp_path / "run")
    found = re.fullmatch(r"layer(\d) failed at step (\d+): (.*not finite)", result.end.text)
    assert found is not None, result.end
    layer, step, reason = found.groups()
    with pytest.raises(RunError, match=f"layer{layer} fails at step {step}: .*{reason}"):
        replay(tmp_path / "run", int(layer))
    failed = read_entries(recording(tmp_path / "run", int(layer)))
    assert not any(isinstance(entry, State) for entry in failed)
    assert all(replay(tmp_path / "run", i).equal for i in range(3) if i != int(layer))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-o", GROUPED)])
def test_a_killed_layer_leaves_its_messages_and_no_weights(
    dni: Dni, options: tuple[str, ...]
) -> None:
    workers = ("source", "layer0-1", "layer2") if options else WORKERS
    training = dni.train("-o", "trace.mode=messages", *options, workers=workers)
    training.family[workers[1]].send_signal(signal.SIGKILL)
    assert training.end(LATE) == 1
    entries = list(read_entries(recording(training.folder, 0)))
    assert len(entries) > 10
    assert not any(isinstance(entry, State) for entry in entries)
    with pytest.raises(RunError, match=r"\d+ messages and \d+ units .* no weights to compare with"):
        replay(training.folder, 0)
    assert replay(training.folder, 2).equal
    dni.nothing_left()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_truncated_recording_is_replayed_up_to_its_last_whole_entry(
    tmp_path: Path, keep: float
) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 1)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(RunError, match=r"layer1\.messages: ") as caught:
        replay(tmp_path / "run", 1)
    assert "Traceback" not in str(caught.value)
    if keep:
        assert "is cut off in entry " in str(caught.value)
        assert int(re.findall(r"(\d+) messages", str(caught.value))[0]) > 10


def test_the_recording_of_another_pipeline_is_refused(tmp_path: Path) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "run")
    paths = [recording(tmp_path / "run", layer) for layer in range(2)]
    paths[0].replace(paths[1])
    with pytest.raises(RunError, match="holds the messages of layer0"):
        replay(tmp_path / "run", 1)
    metadata = read_metadata(paths[1])
    wrong = replace(metadata, layer=1, dataset={**metadata.dataset, "classes": 99})
    paths[1].write_bytes(encode(list(read_entries(paths[1])), wrong))
    with pytest.raises(RunError, match="is not of this pipeline: layer"):
        replay(tmp_path / "run", 1)
