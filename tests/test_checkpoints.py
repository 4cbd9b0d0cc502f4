"""The weights of a checkpoint equal those of a run that ends at its step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cli import run
from coordinator.observers.observer import Observer
from protocol import State, read_pipeline
from protocol.pipeline import RULES
from tests.dni import TINY

if TYPE_CHECKING:
    from tests.dni import Dni

LAYERS = ("layer0", "layer1", "layer2")
STEPS, EVERY = 30, 10


def steps(folder: Path) -> dict[str, int]:
    """The step of each layer's saved weights."""
    found = {}
    for path in (folder / "weights").glob("*.safetensors"):  # not one that is being written
        with safe_open(path, "numpy") as file:
            found[path.stem] = int(file.metadata()["step"])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["inline", "local"])
@pytest.mark.parametrize("rule", RULES)
def test_in_lockstep_a_checkpoint_equals_the_end_of_a_shorter_run(
    tmp_path: Path, rule: str, engine: str
) -> None:
    kept: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    class Collector(Observer):
        def on_weights(self, state: State) -> None:
            arrays = map(np.copy, state.arrays)
            kept[state.name, state.step] = dict(zip(state.names, arrays, strict=True))

    (tmp_path / "tiny.toml").write_text(TINY, "utf-8")

    def trained(count: int) -> None:
        settings = [f"rule={rule}", "train.schedule=lockstep", "train.eval_every=0"]
        settings += [f"train.checkpoint_every={EVERY}", f"train.steps={count}", "train.threads=1"]
        pipeline = read_pipeline(tmp_path / "tiny.toml", settings)
        assert (
            run(
                pipeline, engine=engine, run_dir=tmp_path / str(count), observers=[Collector()]
            ).end.outcome
            == "completed"
        )

    trained(STEPS)
    assert set(kept) == {(name, step) for name in LAYERS for step in (10, 20, 30)}
    assert set(steps(tmp_path / str(STEPS)).values()) == {STEPS}
    for count in (10, 20):
        trained(count)
        for name in LAYERS:
            path = tmp_path / str(count) / "weights" / f"{name}.safetensors"
            final, midway = load_file(path), kept[name, count]
            assert final.keys() == midway.keys()
            if rule in (
                "no-bprop",
                "dni",
                "cdni",
            ):  # under the other rules later batches are in flight already
                for key, array in final.items():
                    np.testing.assert_array_equal(midway[key], array, key)


@pytest.mark.slow
def test_a_killed_layer_leaves_the_weights_of_its_last_checkpoint(dni: Dni) -> None:
    training = dni.train("-o", "train.checkpoint_every=500")
    dni.until(lambda: set(steps(training.folder)) == set(LAYERS), "all have handed in weights")
    training.family["layer1"].kill()
    assert training.end(15.0) == 1
    found = steps(training.folder)
    assert found["layer1"] % 500 == 0
    assert found["layer1"] > 0
    assert found["layer0"] >= found["layer1"]
    assert dni("evaluate", "run").returncode == 0
    dni.nothing_left()
