"""A layer that is told again what it was told in a run comes to the same weights, bit for bit."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from cli import replay, run
from protocol import (
    Activation,
    Array,
    Data,
    Gradient,
    Layer,
    Pipeline,
    RunError,
    State,
    Train,
    read_pipeline,
    recording_format,
)
from protocol.pipeline import RULES, Trace
from protocol.recording_format import (
    SUFFIX,
    Operation,
    ReceivedMessage,
    WindowChange,
    read_entries,
    read_messages,
    read_metadata,
)
from workers.assembly.build import build_layer
from workers.data import EXAMPLE
from workers.recording.recorder import matrix_library

if TYPE_CHECKING:
    from tests.conftest import Dni

RECORDED = ("trace.mode=messages",)
GROUPED = "placement=[[0,1],[2]]"
WORKERS = ("source", "layer0", "layer1", "layer2")
LATE = 20.0


def example(*words: str) -> Pipeline:
    return read_pipeline(EXAMPLE, (*RECORDED, *words))


def recording(folder: Path, layer: int) -> Path:
    return folder / "trace" / f"layer{layer}{SUFFIX}"


def flip(path: Path, array: Array) -> None:
    """Change one bit in the file, where it has `array`: half of its largest number, or so."""
    data = bytearray(path.read_bytes())
    place = 4 * int(np.abs(array).argmax())
    data[data.index(array.tobytes()) + place + 2] ^= 0x40
    path.write_bytes(data)


# -- the weights come out the same


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "rule"),
    [
        *(("local", rule) for rule in RULES),
        *(("inline", rule) for rule in ("backprop", "unlocked-cdni")),
        *(("grouped", rule) for rule in ("cdni", "unlocked-dni")),
    ],
)
def test_a_thousand_messages_give_the_same_weights(tmp_path: Path, rule: str, engine: str) -> None:
    words = (GROUPED, "train.threads=1") if engine == "grouped" else ()
    pipeline = example(f"rule={rule}", "train.steps=1100", "train.eval_every=0", *words)
    result = run(pipeline, engine=engine.replace("grouped", "local"), run_dir=tmp_path / "run")
    assert result.end.outcome == "completed"
    for layer in range(len(pipeline.layer)):
        again = replay(tmp_path / "run", layer)
        assert (again.equal, again.differing, again.note) == (True, (), "")
        assert again.messages >= 1000
        assert again.units >= 800


def test_what_is_compared_is_what_the_run_left(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    for layer in range(3):
        *_, state = read_entries(recording(tmp_path / "run", layer))
        assert isinstance(state, State)
        left = load_file(tmp_path / "run" / "weights" / f"layer{layer}.safetensors")
        assert set(left) == set(state.names)
        for name, array in zip(state.names, state.arrays, strict=True):
            assert left[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("rule", ["cdni", "backprop", "unlocked-cdni"])
def test_arrays_that_lie_in_another_order_give_the_same_weights(tmp_path: Path, rule: str) -> None:
    """A convolution hands on arrays whose channels are not the innermost in memory."""
    pipeline = Pipeline(
        rule=rule,
        data=Data(name="digits", batch=32),
        train=Train(steps=30, update_probability=0.7),
        trace=Trace(mode="messages"),
        layer=(
            Layer(("conv 3 3", "batchnorm", "relu")),
            Layer(("conv 4 3", "batchnorm", "relu", "dropout 0.3")),
            Layer(("flatten", "linear 10")),
        ),
    )
    run(pipeline, engine="inline", run_dir=tmp_path / "run")
    for layer in range(3):
        assert replay(tmp_path / "run", layer).equal


def test_recording_changes_nothing(tmp_path: Path) -> None:
    for mode in ("messages", "off"):
        pipeline = example("train.steps=30", f"trace.mode={mode}")
        run(pipeline, engine="inline", run_dir=tmp_path / mode)
    for layer in range(3):
        weights = f"weights/layer{layer}.safetensors"
        off, recorded = (load_file(tmp_path / mode / weights) for mode in ("off", "messages"))
        assert off.keys() == recorded.keys()
        assert all(off[name].tobytes() == recorded[name].tobytes() for name in off)


@pytest.mark.slow
def test_an_interrupted_run_can_be_replayed(dni: Dni) -> None:
    training = dni.train("-o", RECORDED[0])
    training.signal(signal.SIGINT)
    assert training.end(LATE) == 130
    for layer in range(3):
        assert replay(training.folder, layer).equal


# -- and where anything is not the same, it is seen


def test_a_flipped_bit_in_a_message_is_seen(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 1)
    batch = next(r.message for r in read_messages(path) if isinstance(r.message, Activation))
    flip(path, batch.x)
    again = replay(tmp_path / "run", 1)
    assert not again.equal
    assert again.differing
    assert all(size > 0 for _, size in again.differing)


def test_a_flipped_bit_in_the_weights_is_seen_and_named(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 2)
    *_, state = read_entries(path)
    assert isinstance(state, State)
    flip(path, state.arrays[0])
    again = replay(tmp_path / "run", 2)
    (name, size), *others = again.differing
    assert (again.equal, name, others) == (False, state.names[0], [])
    assert size > 0
    assert again.note == ""


def rewritten(path: Path, told: list[recording_format.RecordingEntry], **changes: Any) -> None:
    """Put the entries `told` into the file at `path`, and `changes` into its opening."""
    metadata = replace(read_metadata(path), **changes)
    parts: list[recording_format.Piece] = [recording_format.encode_header(metadata)]
    for entry in told:
        match entry:
            case Operation():
                parts += recording_format.encode_operation(entry)
            case ReceivedMessage():
                parts += recording_format.encode_message(
                    metadata.senders.index(entry.sender), entry.message
                )
            case WindowChange():
                parts += recording_format.encode_window(
                    metadata.senders.index(entry.neighbour), entry.window
                )
            case _:
                parts += recording_format.encode_state(entry)
    path.write_bytes(
        b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)
    )


def test_a_message_that_is_missing_is_seen(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 0)
    told = list(read_entries(path))
    rewritten(path, told)
    assert replay(tmp_path / "run", 0).equal
    gradients = [
        i
        for i, entry in enumerate(told)
        if isinstance(entry, ReceivedMessage) and isinstance(entry.message, Gradient)
    ]
    del told[gradients[5]]
    rewritten(path, told)
    assert not replay(tmp_path / "run", 0).equal


def test_a_unit_of_work_at_another_time_is_seen(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 0)
    told = list(read_entries(path))
    calls = [entry for entry in told if entry is Operation.WORK]
    received = [entry for entry in told if isinstance(entry, ReceivedMessage)]
    rewritten(path, [*received, *calls, told[-1]])
    assert not replay(tmp_path / "run", 0).equal


def test_another_library_is_named_where_the_weights_differ(tmp_path: Path) -> None:
    run(example("train.steps=20"), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 2)
    told = list(read_entries(path))
    rewritten(path, told, library="numpy 0.1, abacus")
    assert replay(tmp_path / "run", 2).note == ""
    flip(path, told[-1].arrays[0])  # type: ignore[union-attr]
    assert (
        "recorded with numpy 0.1, abacus, replayed with numpy" in replay(tmp_path / "run", 2).note
    )


@pytest.mark.parametrize("engine", ["inline", pytest.param("local", marks=pytest.mark.slow)])
@pytest.mark.parametrize("count", [1, 2])
def test_products_use_as_many_threads_as_in_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, count: int
) -> None:
    pipeline = example("train.steps=4", f"train.threads={count}")
    run(pipeline, engine=engine, run_dir=tmp_path / "run")
    assert read_metadata(recording(tmp_path / "run", 1)).threads == count
    used: list[int] = []

    def build(*arguments: Any) -> Any:
        used.append(matrix_library()[0])
        return build_layer(*arguments)

    monkeypatch.setattr("workers.tools.replay.build_layer", build)
    assert replay(tmp_path / "run", 1).equal
    assert used == [count]


# -- what is recorded, and what cannot be replayed


def test_messages_are_recorded_of_the_layers_that_are_asked_for(tmp_path: Path) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "all")
    run(example("train.steps=4", "trace.layers=[2]"), engine="inline", run_dir=tmp_path / "one")
    run(example("train.steps=4", "trace.mode=ring"), engine="inline", run_dir=tmp_path / "none")
    names = {
        folder: sorted(path.stem for path in (tmp_path / folder / "trace").glob(f"*{SUFFIX}"))
        for folder in ("all", "one", "none")
    }
    assert names == {"all": ["layer0", "layer1", "layer2"], "one": ["layer2"], "none": []}
    assert replay(tmp_path / "one", 2).equal
    with pytest.raises(RunError, match=r"layer1\.messages: is not there; .* trace\.mode"):
        replay(tmp_path / "one", 1)


@pytest.mark.parametrize("layer", [-1, 3])
def test_a_layer_that_there_is_not_is_a_mistake(tmp_path: Path, layer: int) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "run")
    with pytest.raises(RunError, match=f"there is no layer {layer}; the run's layers are 0 … 2"):
        replay(tmp_path / "run", layer)
    with pytest.raises(RunError, match="holds no run"):
        replay(tmp_path, 0)


@pytest.mark.parametrize("rule", ["cdni", "unlocked-cdni"])
def test_a_recording_of_the_first_batches_ends_with_the_weights_of_then(
    tmp_path: Path, rule: str
) -> None:
    words = (f"rule={rule}", "train.steps=30", "trace.batches=[1, 10]")
    run(example(*words), engine="inline", run_dir=tmp_path / "run")
    for layer in range(3):
        path = recording(tmp_path / "run", layer)
        *told, state = read_entries(path)
        batches = [getattr(e.message, "batch", 1) for e in told if isinstance(e, ReceivedMessage)]
        assert max(batches) == 10
        assert isinstance(state, State)
        assert state.step <= 10
        assert replay(tmp_path / "run", layer).equal


def test_messages_of_later_batches_can_be_read_and_not_replayed(tmp_path: Path) -> None:
    words = ("train.steps=30", "trace.batches=[5, 8]")
    run(example(*words), engine="inline", run_dir=tmp_path / "run")
    path = recording(tmp_path / "run", 0)
    told = list(read_messages(path))
    assert len(list(read_entries(path))) == len(told)  # nothing else is there
    activations = [e.message.batch for e in told if isinstance(e.message, Activation)]
    gradients = [e.message.batch for e in told if isinstance(e.message, Gradient)]
    assert activations == gradients == [5, 6, 7, 8]
    assert {e.sender for e in told} == {"source", "layer1"}
    with pytest.raises(RunError, match=r"begins with batch 5, .* let trace.batches begin at 1"):
        replay(tmp_path / "run", 0)


def test_a_layer_that_failed_fails_again_in_the_same_place(tmp_path: Path) -> None:
    words = ("train.optimizer=sgd", "train.lr=1e30", "train.steps=30")
    result = run(example(*words), engine="inline", run_dir=tmp_path / "run")
    found = re.fullmatch(r"layer(\d) failed at step (\d+): (.*not finite)", result.end.text)
    assert found is not None, result.end
    layer, step, what = found.groups()
    with pytest.raises(RunError, match=f"layer{layer} fails at step {step}: .*{what}"):
        replay(tmp_path / "run", int(layer))
    assert not any(
        isinstance(e, State) for e in read_entries(recording(tmp_path / "run", int(layer)))
    )
    assert all(replay(tmp_path / "run", i).equal for i in range(3) if i != int(layer))


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("-o", GROUPED)])
def test_a_layer_that_was_killed_leaves_all_that_it_was_told_and_no_weights(
    dni: Dni, words: tuple[str, ...]
) -> None:
    workers = ("source", "layer0-1", "layer2") if words else WORKERS
    training = dni.train("-o", RECORDED[0], *words, workers=workers)
    training.family[workers[1]].send_signal(signal.SIGKILL)
    assert training.end(LATE) == 1
    told = list(read_entries(recording(training.folder, 0)))
    assert len(told) > 10
    assert not any(isinstance(entry, State) for entry in told)
    with pytest.raises(RunError, match=r"\d+ messages and \d+ units .* no weights to compare with"):
        replay(training.folder, 0)
    assert replay(training.folder, 2).equal
    dni.nothing_left()


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_replayed_as_far_as_it_goes(tmp_path: Path, keep: float) -> None:
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


def test_the_messages_of_another_pipeline_are_refused(tmp_path: Path) -> None:
    run(example("train.steps=4"), engine="inline", run_dir=tmp_path / "run")
    paths = [recording(tmp_path / "run", layer) for layer in range(2)]
    paths[0].replace(paths[1])
    with pytest.raises(RunError, match="holds the messages of layer0"):
        replay(tmp_path / "run", 1)
    info = {**read_metadata(paths[1]).facts, "classes": 99}
    rewritten(paths[1], list(read_entries(paths[1])), layer=1, facts=info)
    with pytest.raises(RunError, match="is not of this pipeline: layer"):
        replay(tmp_path / "run", 1)
