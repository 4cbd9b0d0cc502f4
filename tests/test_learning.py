"""Short versions of the long runs in docs/results.md: every kind of network and rule learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cli import evaluate, run
from protocol import Pipeline, read_pipeline
from tests.real_data import real_data

EXAMPLES = Path(__file__).parent.parent / "examples"
ON_DIGITS = ("data.name=digits", "data.batch=64", "train.eval_every=0", "train.lr_drops=[]")

pytestmark = pytest.mark.slow


def example(name: str, *settings: str) -> Pipeline:
    return read_pipeline(EXAMPLES / name, settings)


def error(pipeline: Pipeline, folder: Path) -> float:
    """The final test error of an asynchronous run in processes, percent."""
    result = run(pipeline, run_dir=folder)
    assert result.end.outcome == "completed", result.end.text
    found = result.summary["test_error"]
    assert isinstance(found, float)
    return found


@pytest.mark.parametrize(
    ("settings", "bar"),
    [
        (["rule=cdni", "train.steps=600"], 4.0),
        (["rule=dni", "train.steps=2000"], 6.0),
        (["rule=backprop", "train.steps=300"], 5.0),
        (["rule=unlocked-cdni", "train.steps=1500"], 7.0),
        pytest.param(["rule=unlocked-dni", "train.steps=1500"], 12.0, marks=pytest.mark.nightly),
        pytest.param(
            ["rule=cdni", "train.steps=6000", "train.update_probability=0.2"],
            5.0,
            marks=pytest.mark.nightly,
        ),
        (["rule=cdni", "train.steps=600", "placement=[[0,1],[2,3]]"], 4.0),
    ],
)
def test_fully_connected_networks_learn_digits(
    tmp_path: Path, settings: list[str], bar: float
) -> None:
    pipeline = example("mnist-fcn4.toml", *ON_DIGITS, *settings)
    assert error(pipeline, tmp_path / "run") <= bar


@pytest.mark.nightly
def test_no_bprop_is_worse_and_far_worse_with_depth(tmp_path: Path) -> None:
    learnt, shallow = (
        example("mnist-fcn4.toml", *ON_DIGITS, "train.steps=600", f"rule={rule}")
        for rule in ("cdni", "no-bprop")
    )
    deep = replace(shallow, layer=(*shallow.layer[:3] * 3, shallow.layer[3]))
    errors = [
        error(pipeline, tmp_path / str(i)) for i, pipeline in enumerate((learnt, shallow, deep))
    ]
    assert errors[0] < errors[1] < errors[2] - 10


@pytest.mark.parametrize(("rule", "bar"), [("backprop", 8.0), ("cdni", 10.0)])
def test_convolutional_networks_learn_digits(tmp_path: Path, rule: str, bar: float) -> None:
    pipeline = example("mnist-cnn3.toml", *ON_DIGITS, "train.steps=200", f"rule={rule}")
    assert error(pipeline, tmp_path / "run") <= bar


@pytest.mark.nightly
def test_addition_is_learnt(tmp_path: Path) -> None:
    settings = ("train.steps=12000", "train.lr_drops=[]", "train.eval_every=0")
    error(example("addition.toml", *settings), tmp_path / "run")
    assert evaluate(tmp_path / "run").absolute < 120  # of 800; 400 where nothing is learnt


@pytest.mark.service
@pytest.mark.parametrize(("rule", "bar"), [("cdni", 3.0), ("unlocked-cdni", 9.0)])
def test_mnist_is_learnt(tmp_path: Path, rule: str, bar: float) -> None:
    real_data("mnist")
    settings = ("train.steps=1000", "train.lr_drops=[700]", "train.eval_every=0", f"rule={rule}")
    assert error(example("mnist-fcn4.toml", *settings), tmp_path / "run") <= bar
