"""The error for an unknown key of a pipeline proposes the key that was meant, in any table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import Field, fields
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from protocol import (
    DataConfig,
    Pipeline,
    SpecError,
    TraceConfig,
    TrainConfig,
    read_pipeline,
)
from protocol import renamed as renamed_names

TABLE = '[data]\nname = "digits"\n[[layer]]\nmodules = ["linear 10"]\n'


def pipeline_fields() -> Iterator[tuple[str, Field[object]]]:
    """The fields of a pipeline and of its tables, each with the name of its table."""
    tables = {"": Pipeline, "data": DataConfig, "train": TrainConfig, "trace": TraceConfig}
    return ((key, field) for key, cls in tables.items() for field in fields(cls))


def refused(text: str, folder: Path, *overrides: str) -> str:
    """The error for a pipeline, without the name of its file."""
    (folder / "p.toml").write_text(text, "utf-8")
    with pytest.raises(SpecError) as caught:
        read_pipeline(folder / "p.toml", overrides)
    return str(caught.value).partition("p.toml: ")[2]


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("lr=0.1", "train.lr"),
        ("batch=10", "data.batch"),
        ("steps=5", "train.steps"),
        ("stesp=5", "train.steps"),
        ("path=a.npz", "data.path"),
        ("hidden=[3]", "synthetic.hidden"),
        ("megabytes=3", "trace.megabytes"),
        ("modules=['relu']", "layer[i].modules"),
        ("eval-every=5", "train.eval_every"),
        ("train.batch=5", "data.batch"),
        ("data.steps=5", "train.steps"),
        ("train.rule=dni", "rule"),
        ("layer.0.lr=0.1", "train.lr"),
        ("batch_size=5", "data.batch"),
        ("train.learning_rate=0.1", "train.lr"),
        ("synthetic.learning_rate=0.1", "synthetic.lr"),
        ("data.bach=5", "data.batch"),
        ("data.batch_size=5", "data.batch"),
        ("train.step=5", "train.steps"),
        ("train.epochs=5", "train.steps"),
        ("batchsize=2", "data.batch"),
        ("train_lr=1", "train.lr"),
        ("train-lr=1", "train.lr"),
        ("synthetic-lr=1", "synthetic.lr"),
        ("LR=1", "train.lr"),
        ("Lr=1", "train.lr"),
        ("train.LR=1", "train.lr"),
        ("learning-rate=1", "train.lr"),
        ("learningrate=1", "train.lr"),
        ("num_epochs=1", "train.steps"),
        ("max_steps=1", "train.steps"),
        ("EvalEvery=1", "train.eval_every"),
        ("layer.0.module=['relu']", "layer.0.modules"),
        ("rul=dni", "rule"),
    ],
)
def test_the_error_for_an_override_proposes_the_key_that_was_meant(
    override: str, meant: str, tmp_path: Path
) -> None:
    key = re.sub(r"\.(\d+)\.", r"[\1].", override.partition("=")[0])
    message = refused(TABLE, tmp_path, override)
    assert message == f"{key}: unknown key; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("override", "table", "meant"),
    [
        ("TRAIN.lr=0.1", "TRAIN", "train.lr"),
        ("trian.LR=0.1", "trian", "train.lr"),
        ("Data.batch_size=5", "Data", "data.batch"),
        ("layer[0].modules=['relu']", "layer[0]", "layer.0.modules"),
        ("layer[12].modules=['relu']", "layer[12]", "layer.12.modules"),
        ("layer[i].module=['relu']", "layer[i]", "layer[i].modules"),
        ("layers.0.modules=['relu']", "layers", "layer.0.modules"),
        ("train[lr]=1", "train[lr]", "train.lr"),
    ],
)
def test_the_error_for_an_unknown_table_proposes_the_whole_name(
    override: str, table: str, meant: str, tmp_path: Path
) -> None:
    assert refused(TABLE, tmp_path, override) == f"{table}: unknown key; did you mean {meant!r}?"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = 0.1\n", "lr: unknown key; did you mean 'train.lr'?"),
        ("[train]\nbatch = 5\n", "train.batch: unknown key; did you mean 'data.batch'?"),
        ("[trace]\nkernel = 5\n", "trace.kernel: unknown key; did you mean 'synthetic.kernel'?"),
        (
            "[trace]\nbatch = 3\n",
            "trace.batch: unknown key; did you mean 'trace.batches' or 'data.batch'?",
        ),
        ("[Train]\nlr = 1\nsteps = 2\n", "Train: unknown key; did you mean 'train'?"),
        ("layers = 3\n", "layers: unknown key; did you mean 'layer' or 'trace.layers'?"),
    ],
)
def test_the_error_for_a_file_proposes_the_key_too(text: str, message: str, tmp_path: Path) -> None:
    whole = TABLE + text if text.startswith("[") else text + TABLE
    assert refused(whole, tmp_path) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lr=0.1", "-o lr=0.1: lr: unknown key; did you mean 'train.lr'?"),
        ("train.steps=abc", "-o train.steps=abc: train.steps: a whole number is needed"),
        ("foo.bar=1", "-o foo.bar=1: foo: unknown key"),
        ("train.window.x=3", "-o train.window.x=3: train.window: a whole number is needed"),
        ("layer.0.modules=['linaer 3']", "-o layer.0.modules=['linaer 3']: layer[0].modules[0]: "),
        ("train.steps", "-o train.steps: give it as key=value"),
        ("layer.9.modules=[]", "-o layer.9.modules=[]: '9' is not one of 0"),
        ("rule=cndi", "-o rule=cndi: rule: unknown value 'cndi'"),
        ("data.path=no.npz", "the embedded example: "),
    ],
)
def test_the_error_for_an_override_of_the_embedded_example_names_the_override(
    override: str, message: str
) -> None:
    arguments = ["check", "-o", "train.seed=3", "-o", override, "-o", "name=x"]
    shown = CliRunner().invoke(cli.main, arguments)
    assert shown.exit_code == 2
    assert shown.stderr.startswith(f"Error: {message}")
    assert "digits.toml" not in shown.stderr


@pytest.mark.parametrize(
    ("override", "renamed"),
    [
        ("data.at=host2", "data.host"),
        ("train.most_window=8", "train.max_window"),
        ("train.nonfinite=ignore", "train.on_nonfinite"),
        ("workers=[[0]]", "placement"),
        ("wire=int8", "edge_dtype"),
        ("wires.source>layer0=int8", "edge_dtypes"),
    ],
)
def test_a_renamed_key_gets_a_hint_with_its_new_name(
    override: str, renamed: str, tmp_path: Path
) -> None:
    key = re.split("[=>]", override)[0].removesuffix(".source")
    message = refused(TABLE, tmp_path, override)
    assert message == f"{key}: unknown key; did you mean {renamed!r}?"


@pytest.mark.parametrize(
    ("override", "renamed"),
    [("train.schedule=free", "async"), ("trace.mode=payloads", "messages")],
)
def test_a_renamed_value_gets_a_hint_with_its_new_name(
    override: str, renamed: str, tmp_path: Path
) -> None:
    key, _, value = override.partition("=")
    message = refused(TABLE, tmp_path, override)
    assert message == f"{key}: unknown value {value!r}; did you mean {renamed!r}?"


def test_every_renamed_key_and_value_has_a_new_name_that_is_known() -> None:
    names = {f"{key}.{field.name}" if key else field.name for key, field in pipeline_fields()}
    assert set(renamed_names.KEYS.values()) <= names
    assert names.isdisjoint(renamed_names.KEYS)
    assert set(renamed_names.VALUES) <= names


@pytest.mark.parametrize("key", ["foo", "x", "zzzzzzzz"])
def test_the_error_for_a_key_that_resembles_none_lists_the_keys_of_its_table(
    key: str, tmp_path: Path
) -> None:
    assert refused(TABLE, tmp_path, f"synthetic.{key}=1") == (
        f"synthetic.{key}: unknown key; known: hidden, input_hidden, kernel, lr"
    )
