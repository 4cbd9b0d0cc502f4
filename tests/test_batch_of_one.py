"""Batch normalisation over one value per channel is refused, with its key and a remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import cli
from protocol import DataConfig, LayerConfig, Pipeline, SpecError, SyntheticConfig, from_dict
from protocol.dataset_info import DatasetInfo
from tests.data_help import arrays, saved
from workers.assembly.build import build_layer
from workers.assembly.compatibility import layer_modules

ROWS = DatasetInfo((6,), "<f4", 1.0, classes=3, labelled=True, examples=40, tests=10)
IMAGES = DatasetInfo((4, 4, 2), "<f4", 1.0, classes=3, labelled=True, examples=40, tests=10)
GREY = DatasetInfo((4, 4), "<f4", 1.0, classes=3, labelled=True, examples=40, tests=10)
DENSE = ("linear 5", "relu")
OUTPUT = ("linear 3",)


def pipeline(
    *layers: tuple[str, ...], batch: int = 1, rule: str = "cdni", **synthetic: object
) -> Pipeline:
    return Pipeline(
        rule=rule,
        data=DataConfig(path="x", batch=batch),
        synthetic=from_dict(SyntheticConfig, {"input_hidden": [], **synthetic}),
        layer=tuple(LayerConfig(modules) for modules in layers),
    )


def refusal(made: Pipeline, info: DatasetInfo) -> str:
    with pytest.raises(SpecError) as caught:
        layer_modules(made, info)
    text = str(caught.value)
    assert "\n" not in text
    with pytest.raises(SpecError):
        build_layer(made, info, 0)
    return text


NORMED = ("linear 5", "batchnorm", "relu")
SINGLE = {
    "first": ((NORMED, DENSE, OUTPUT), ROWS, "layer[0].modules[1]"),
    "second": ((DENSE, NORMED, OUTPUT), ROWS, "layer[1].modules[1]"),
    "top": ((DENSE, ("linear 3", "batchnorm")), ROWS, "layer[1].modules[1]"),
    "of the input": ((("batchnorm", *DENSE), OUTPUT), ROWS, "layer[0].modules[0]"),
    "behind images": (
        (("conv 2 3", "flatten", "batchnorm"), OUTPUT),
        IMAGES,
        "layer[0].modules[2]",
    ),
    "of one pixel": (
        (("conv 5 4", "batchnorm"), ("flatten", *OUTPUT)),
        IMAGES,
        "layer[0].modules[1]",
    ),
    "pooled": ((("maxpool 4", "batchnorm"), ("flatten", *OUTPUT)), IMAGES, "layer[0].modules[1]"),
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("rule", ["cdni", "backprop", "no-bprop", "unlocked-dni"])
def test_batch_norm_over_one_value_is_refused_by_layer_and_module(name: str, rule: str) -> None:
    layers, info, key = SINGLE[name]
    text = refusal(pipeline(*layers, rule=rule), info)
    assert text.startswith(f"{key}: batch normalisation over one value ")
    assert text.endswith("set data.batch to 2 or more, or remove 'batchnorm'")


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("batch", [2, 7])
def test_batch_norm_over_more_than_one_example_is_accepted(name: str, batch: int) -> None:
    layers, info, _ = SINGLE[name]
    layer_modules(pipeline(*layers, batch=batch), info)


@pytest.mark.parametrize(
    ("modules", "info"),
    [
        (("conv 2 3", "batchnorm", "flatten"), IMAGES),
        (("conv 2 3", "batchnorm", "flatten"), GREY),
        (("batchnorm", "flatten"), GREY),
        (("standardise", "linear 4"), ROWS),
    ],
)
def test_batch_norm_over_the_pixels_of_one_image_is_accepted(
    modules: tuple[str, ...], info: DatasetInfo
) -> None:
    layer_modules(pipeline(modules, OUTPUT, rule="backprop"), info)
    layer_modules(pipeline(modules, OUTPUT), info)


@pytest.mark.parametrize("hidden", [[8], [8, 4], [1]])
@pytest.mark.parametrize("rule", ["dni", "cdni", "unlocked-cdni"])
def test_hidden_layers_of_a_gradient_model_are_refused_with_one_example(
    hidden: list[int], rule: str
) -> None:
    text = refusal(pipeline(DENSE, DENSE, OUTPUT, rule=rule, hidden=hidden), ROWS)
    assert text.startswith(
        "synthetic.hidden: gradient model of layer0: batch normalisation over one value "
    )
    assert text.endswith("or set synthetic.hidden = []")
    layer_modules(pipeline(DENSE, DENSE, OUTPUT, rule=rule, hidden=hidden, batch=2), ROWS)
    layer_modules(pipeline(DENSE, DENSE, OUTPUT, rule=rule), ROWS)


def test_the_layer_whose_gradient_model_is_refused_is_named() -> None:
    made = pipeline(("conv 2 3",), DENSE, OUTPUT, hidden=[8])
    assert refusal(made, IMAGES).startswith("synthetic.hidden: gradient model of layer1: ")
    layer_modules(pipeline(("conv 2 3",), ("flatten", *OUTPUT), hidden=[8]), IMAGES)


@pytest.mark.parametrize("rule", ["backprop", "no-bprop"])
def test_a_rule_without_models_ignores_their_settings(rule: str) -> None:
    layer_modules(pipeline(DENSE, OUTPUT, rule=rule, hidden=[8], input_hidden=[8]), ROWS)


@pytest.mark.parametrize("rule", ["unlocked-dni", "unlocked-cdni"])
@pytest.mark.parametrize("hidden", [[256], [3, 3]])
def test_hidden_layers_of_an_input_model_are_refused_with_one_example(
    rule: str, hidden: list[int]
) -> None:
    text = refusal(pipeline(DENSE, OUTPUT, rule=rule, input_hidden=hidden), ROWS)
    assert text.startswith(
        "synthetic.input_hidden: input model of layer1: batch normalisation over one value "
    )
    assert text.endswith("or set synthetic.input_hidden = []")
    layer_modules(pipeline(DENSE, OUTPUT, rule=rule, input_hidden=hidden, batch=2), ROWS)
    layer_modules(pipeline(DENSE, OUTPUT, rule="cdni", input_hidden=hidden), ROWS)


@pytest.mark.parametrize("arguments", [["check"], ["run"], ["up", "--bind", "tcp://127.0.0.1:*"]])
def test_every_command_refuses_the_pipeline_before_it_makes_a_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, arrays(x_train=np.zeros((6, 4)), x_test=np.zeros((2, 4))))
    text = '[data]\npath = "own.npz"\nbatch = 1\n[[layer]]\nmodules = ["linear 4", "batchnorm"]\n'
    (tmp_path / "net.toml").write_text(text, "utf-8")
    ran = CliRunner().invoke(cli.main, [arguments[0], "net.toml", *arguments[1:]])
    assert ran.exit_code == 2
    assert "Error: net.toml: layer[0].modules[1]: batch normalisation over one" in ran.output
    assert not (tmp_path / "runs").exists()
