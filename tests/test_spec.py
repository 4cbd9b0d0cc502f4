"""Pipelines are read as they are written, and each mistake is told in one line that mends it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from protocol import (
    DataConfig,
    LayerConfig,
    Pipeline,
    SpecError,
    Start,
    SyntheticConfig,
    TrainConfig,
    decode,
    encode,
)
from protocol.codec.quantization import WIRES
from protocol.config import LOSSES, ON_NONFINITE, OPTIMIZERS, SCHEDULES
from protocol.dataset_info import DatasetInfo
from protocol.from_dict import from_dict
from protocol.pipeline import RULES
from protocol.pipeline_file import read_pipeline
from tests.examples import examples
from workers.assembly.build import build_gradient_model, build_layer
from workers.assembly.compatibility import layer_modules
from workers.nn import Floats
from workers.stages.source import order

EXAMPLE = Path(__file__).parent.parent / "examples" / "mnist-fcn4.toml"
SMALL = """
[data]
name = "digits"
batch = 10
[[layer]]
modules = ["linear 20", "relu"]
[[layer]]
modules = ["linear 10"]
"""
DIGITS = DatasetInfo((8, 8), "|u1", 1 / 16, classes=10, labelled=True, examples=100, tests=20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def message(file: Path, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        read_pipeline(file, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_example_is_the_network_of_the_paper() -> None:
    hidden = LayerConfig(("linear 256", "batchnorm", "relu"))
    assert read_pipeline(EXAMPLE) == Pipeline(
        name="mnist-fcn4",
        rule="cdni",
        data=DataConfig(name="mnist", batch=256),
        train=TrainConfig(steps=6000, lr_drops=(3600, 5100), eval_every=1000),
        layer=(hidden, hidden, hidden, LayerConfig(("linear 10",))),
    )


def test_what_a_file_leaves_out_has_its_default(file: Path) -> None:
    layers = (LayerConfig(("linear 20", "relu")), LayerConfig(("linear 10",)))
    pipeline = read_pipeline(file)
    assert pipeline == Pipeline(
        name="small", data=DataConfig(name="digits", batch=10), layer=layers
    )
    assert pipeline.stages == ("source", "layer0", "layer1")


@pytest.mark.parametrize(
    ("override", "words", "value"),
    [
        ("train.steps=7", ("train", "steps"), 7),
        ("train.lr=1e-2", ("train", "lr"), 0.01),
        ("train.lr=1", ("train", "lr"), 1.0),
        ("train.lr_drops=[3, 5]", ("train", "lr_drops"), [3, 5]),
        ("synthetic.hidden=[64]", ("synthetic", "hidden"), [64]),
        ("rule=dni", ("rule",), "dni"),
        ('rule="dni"', ("rule",), "dni"),
        ("name=a=b c", ("name",), "a=b c"),
        ("layer.0.modules=['linear 5']", ("layer", 0, "modules"), ["linear 5"]),
        ("layer.1.modules.0=linear 12", ("layer", 1, "modules", 0), "linear 12"),
        ("layer=[{modules=['linear 10']}]", ("layer",), [{"modules": ["linear 10"]}]),
        (
            "data.path=some/where.npz",
            ("data",),
            {
                "path": str(Path("some/where.npz").resolve()),
                "batch": 10,
                "augment": [],
                "host": "head",
            },
        ),
        (
            "data={name='mnist'}",
            ("data",),
            {"name": "mnist", "batch": 256, "augment": [], "host": "head"},
        ),
    ],
)
def test_an_override_sets_one_key(
    file: Path, override: str, words: Sequence[str | int], value: object
) -> None:
    expected = read_pipeline(file).as_dict()
    spot: object = expected
    for word in words[:-1]:
        spot = spot[word]  # type: ignore[index]
    spot[words[-1]] = value  # type: ignore[index]
    assert read_pipeline(file, [override]).as_dict() == expected


def test_the_last_override_of_a_key_holds_and_name_and_path_replace_each_other(file: Path) -> None:
    data = read_pipeline(file, ["data.batch=3", "data.batch=4", "data.path=x", "data.name=y"]).data
    assert data == DataConfig(name="y", batch=4)


def test_a_string_is_no_list_of_modules() -> None:
    with pytest.raises(SpecError, match=r"layer\.modules: a list is needed"):
        LayerConfig("linear 10")  # type: ignore[arg-type]


def test_a_path_in_a_file_starts_at_the_file_and_one_in_an_override_here(file: Path) -> None:
    file.write_text(SMALL.replace('name = "digits"', 'path = "mine.npz"'))
    assert read_pipeline(file).data.path == str(file.parent.resolve() / "mine.npz")
    assert read_pipeline(file, ["data.path=mine.npz"]).data.path == str(Path("mine.npz").resolve())


BIG = st.integers(1, 10**6)
BIGS = st.lists(BIG, max_size=3).map(tuple)
RATES = st.floats(1e-9, 10)
WORDS = st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple)
PATHS = st.text(min_size=1).filter(lambda text: "\0" not in text)
TRAINS = st.builds(
    TrainConfig,
    steps=BIG,
    loss=st.sampled_from(LOSSES),
    optimizer=st.sampled_from(OPTIMIZERS),
    lr=RATES,
    lr_drops=BIGS,
    momentum=st.floats(0, 0.99),
    seed=st.integers(0, 2**63 - 1),
    window=st.integers(1, 4096),
    gradient_queue=st.none() | BIG,
    schedule=st.sampled_from(SCHEDULES),
    eval_every=BIG,
    threads=BIG,
    on_nonfinite=st.sampled_from(ON_NONFINITE),
)
PIPELINES = st.builds(
    Pipeline,
    name=st.from_regex(r"[a-zé0-9_][ a-zé0-9_.]*", fullmatch=True),
    rule=st.sampled_from(RULES),
    data=st.builds(DataConfig, name=st.text(), batch=BIG, augment=WORDS)
    | st.builds(DataConfig, path=PATHS, batch=BIG),
    train=TRAINS,
    synthetic=st.builds(
        SyntheticConfig, hidden=BIGS, kernel=st.sampled_from([1, 3, 99]), lr=st.none() | RATES
    ),
    layer=st.lists(st.builds(LayerConfig, WORDS), min_size=1, max_size=4).map(tuple),
) | st.builds(
    Pipeline,
    data=st.just(DataConfig(name="digits")),
    train=st.builds(TrainConfig, update_probability=st.floats(0, 1, exclude_min=True)),
    synthetic=st.builds(SyntheticConfig, input_hidden=BIGS),
    layer=st.just((LayerConfig(("relu",)),) * 3),
    placement=st.sampled_from([(), ((0, 1, 2),), ((2, 0), (1,)), ((0,), (1,), (2,))]),
    edge_dtype=st.sampled_from(WIRES),
    edge_dtypes=st.dictionaries(
        st.sampled_from(["source>layer0", "layer0>layer1", "layer2>layer1"]),
        st.sampled_from(WIRES),
    ),
)


@examples(100)
@given(PIPELINES)
def test_a_pipeline_survives_files_and_wires(pipeline: Pipeline) -> None:
    assert from_dict(Pipeline, tomllib.loads(tomli_w.dumps(pipeline.as_dict()))) == pipeline
    (header,) = encode(Start(pipeline.as_dict(), {}, {}))
    start = decode([bytes(header)])
    assert isinstance(start, Start)
    assert from_dict(Pipeline, start.pipeline) == pipeline


MISTAKES = {
    "rool=dni": ("rool: unknown key", "'rule'"),
    "train.stesp=3": ("train.stesp: unknown key", "'train.steps'"),
    "layer.0.moduls=[]": ("layer[0].moduls: unknown key", "'layer.0.modules'"),
    "train.qqq=3": ("train.qqq: unknown key", "known: steps, loss"),
    "train.steps=ten": ("train.steps", "a whole number is needed", "'ten'"),
    "train.steps=true": ("train.steps", "a whole number is needed", "True"),
    "train.lr=true": ("train.lr", "a number is needed", "True"),
    "train.lr_drops=5": ("train.lr_drops", "a list is needed"),
    "train.lr_drops=[5, 'x']": ("train.lr_drops[1]", "a whole number is needed"),
    "name=3": ("name", "a string is needed"),
    "name=a/b": ("name", "'a/b'"),
    "train=3": ("train", "a table is needed"),
    "layer=[]": ("layer", "at least one layer"),
    "layer=[{}]": ("layer[0].modules", "missing"),
    "layer.1.modules=[]": ("layer[1].modules", "empty"),
    "layer.1.modules=linear 3": ("layer[1].modules", "a list is needed"),
    "layer.1.modules=[3]": ("layer[1].modules[0]", "a string is needed"),
    "rule=cdnl": ("rule", "'cdni'"),
    "train.optimizer=adm": ("train.optimizer", "'adam'"),
    "train.schedule=lock": ("train.schedule", "'lockstep'"),
    "train.loss=crossentropy": ("train.loss", "'cross-entropy'"),
    "train.on_nonfinite=fial": ("train.on_nonfinite", "'fail'"),
    **{
        f"train.{key}=-1": (f"train.{key}", "-1")
        for key in ("seed", "eval_every", "threads", "gradient_queue")
    },
    **{f"train.{key}=0": (f"train.{key}", "0") for key in ("steps", "window")},
    **{
        f"{key}.lr={v}": (f"{key}.lr", v)
        for key in ("train", "synthetic")
        for v in ("nan", "inf", "0")
    },
    "train.momentum=1": ("train.momentum", "1"),
    "synthetic.hidden=[8, 0]": ("synthetic.hidden", "0"),
    "data.batch=0": ("data.batch", "0"),
    "data={batch=3}": ("data", "name or path"),
    "data={name='a', path='b'}": ("data", "name or path"),
    "data={path=''}": ("data.path", "''"),
    "train.seed=18446744073709551616": ("train.seed",),
    "train.steps=9223372036854775808": ("train.steps",),
    f"train.lr={'9' * 400}": ("train.lr",),
    **{f"train.update_probability={p}": ("train.update_probability",) for p in ("0", "1.5", "nan")},
    **{
        f"placement={groups}": ("placement", groups, "each of the layers 0 … 1 once")
        for groups in ("[[0]]", "[[0, 1], [1]]", "[[0, 0], [1]]", "[[0], [1], [2]]", "[[-1], [0]]")
    },
    "placement=[[0, 1], []]": ("placement[1]: empty",),
    "placement=[0, 1]": ("placement[0]", "a list is needed"),
    "placement=[['0'], [1]]": ("placement[0][0]", "a whole number is needed"),
    f"train.steps={'9' * 5000}": ("train.steps",),
}
BAD_OVERRIDES = {
    "train.steps": ("key=value",),
    "=3": ("key=value",),
    "train..steps=3": ("key=value",),
    "data.name.x=3": ("'name'", "no keys"),
    "layer.2.modules=[]": ("'2'", "0 … 1"),
    "layer.0.modules.9=relu": ("'9'", "0 … 1"),
}
BAD_FILES = {
    "": ("data: missing",),
    '[data]\nname = "digits"': ("layer: missing",),
    "a = \n": ("not TOML", "line 1"),
    "a = 1\na 2\n": ("not TOML", "line 2"),
    "a = " + "9" * 5000: ("not TOML",),
    "a = " + "[" * 5000: ("not TOML",),
    "\ud800": ("line 1 is not UTF-8", "save the file as UTF-8"),
}


@pytest.mark.parametrize("override", MISTAKES, ids=lambda text: text[:40])
def test_a_mistake_is_told_with_file_key_and_mend(file: Path, override: str) -> None:
    text = message(file, override)
    assert text.startswith(f"{file}: {MISTAKES[override][0]}")
    assert all(word in text for word in MISTAKES[override])


@pytest.mark.parametrize("override", BAD_OVERRIDES, ids=lambda text: text[:40])
def test_an_override_that_cannot_be_is_told_as_it_was_given(file: Path, override: str) -> None:
    text = message(file, override)
    assert override[:60] in text
    assert all(word in text for word in BAD_OVERRIDES[override])


@pytest.mark.parametrize("content", BAD_FILES, ids=lambda text: ascii(text[:20]))
def test_a_file_that_is_no_pipeline_is_told_by_name(file: Path, content: str) -> None:
    file.write_text(content, "utf-8", "surrogatepass")
    text = message(file)
    assert text.startswith(f"{file}: ")
    assert all(word in text for word in BAD_FILES[content])


def test_a_missing_file_and_a_folder_are_told_by_name(tmp_path: Path) -> None:
    assert message(tmp_path / "no.toml") == f"{tmp_path / 'no.toml'}: no such file"
    assert message(tmp_path) == f"{tmp_path}: is a folder, not a file"


def test_unlocked_layers_in_lockstep_cannot_miss_updates(file: Path) -> None:
    words = ("train.update_probability=0.5", "train.schedule=lockstep")
    text = message(file, "rule=unlocked-dni", *words)
    assert text.startswith(f"{file}: train.update_probability: unlocked layers in lockstep ")
    assert "lockstep" in text
    assert "\n" not in text
    for but_one in (words[:1], words[1:]):
        read_pipeline(file, ["rule=unlocked-dni", *but_one])
    for rule in ("backprop", "no-bprop", "cdni"):
        assert read_pipeline(file, [f"rule={rule}", *words]).lockstep


VALUES = replace(DIGITS, labelled=False, classes=3)
MISFITS: dict[tuple[str, ...], tuple[DatasetInfo, tuple[str, ...]]] = {
    ("linaer 10",): (DIGITS, ("layer[0].modules[0]: unknown module", "'linear'")),
    ("relu", ""): (DIGITS, ("layer[0].modules[1]: unknown module", "known: linear")),
    ("linear 10", "relu 3"): (DIGITS, ("layer[0].modules[1]", "should be 'relu'")),
    ("linear",): (DIGITS, ("layer[0].modules[0]", "'linear <outputs>'")),
    **{
        (f"linear {n}",): (DIGITS, ("layer[0].modules[0]", "whole number"))
        for n in ("0", "-10", "1e1", "ten", "9" * 5000)
    },
    ("linear 9",): (DIGITS, ("layer[0].modules", "9 outputs", "'linear 10'")),
    ("relu",): (DIGITS, ("layer[0].modules", "(8, 8)", "'flatten'")),
    ("linear 4",): (VALUES, ("train.loss: cross-entropy", "argmax(axis=1)", "'squared-error'")),
    ("linear 3",): (replace(VALUES, classes=1), ("train.loss: cross-entropy", "astype('int64')")),
    ("linear 10",): (replace(DIGITS, examples=31), ("data.batch: 32", "31 training examples")),
}


@pytest.mark.parametrize("modules", MISFITS, ids=lambda modules: modules[-1][:20])
def test_a_network_that_does_not_fit_its_data_is_refused(modules: tuple[str, ...]) -> None:
    info, words = MISFITS[modules]
    pipeline = Pipeline(data=DataConfig(name="digits", batch=32), layer=(LayerConfig(modules),))
    with pytest.raises(SpecError) as caught:
        layer_modules(pipeline, info)
    assert str(caught.value).startswith(words[0])
    assert all(word in str(caught.value) for word in words)


def weights(pipeline: Pipeline, index: int = 1) -> list[Floats]:
    """The first weights of a layer and of a gradient model behind it."""
    stack = build_layer(pipeline, DIGITS, index).stack
    model = build_gradient_model(pipeline, DIGITS, stack.output, index).stack
    return [stack.parameters.copy(), model.parameters.copy()]


def test_first_weights_depend_on_the_seed_and_the_layer_s_number_alone() -> None:
    wide, top = LayerConfig(("linear 12", "relu")), LayerConfig(("linear 10",))
    data, deep = DataConfig(name="digits", batch=32), SyntheticConfig(hidden=(5,))
    first = Pipeline(data=data, synthetic=deep, layer=(wide, wide, wide, top))
    expected = weights(first)
    train = TrainConfig(window=9, threads=3, steps=5, optimizer="sgd", schedule="lockstep")
    for other in (
        replace(first, layer=(wide, wide, top), train=train, name="other"),
        replace(first, layer=(wide, wide), data=DataConfig(path="mine", batch=4)),
        *(replace(first, rule="cdni", train=TrainConfig(loss=loss)) for loss in LOSSES),
    ):
        for ours, theirs in zip(weights(other), expected, strict=True):
            assert_array_equal(ours, theirs)
    for rule in RULES:
        assert_array_equal(weights(replace(first, rule=rule))[0], expected[0])
    for changed in (weights(replace(first, train=TrainConfig(seed=1))), weights(first, 2)):
        for ours, theirs in zip(changed, expected, strict=True):
            assert np.any(ours != theirs)


@settings(deadline=None)
@given(st.integers(0, 2**64), st.integers(0, 100), st.integers(2, 50))
def test_the_order_of_examples_depends_on_seed_and_epoch(seed: int, epoch: int, n: int) -> None:
    rows = order(seed, epoch, n)
    assert sorted(rows) == list(range(n))
    assert_array_equal(rows, order(seed, epoch, n))
    longer = [order(*at, 1000).tolist() for at in ((seed, epoch), (seed, epoch + 1), (seed + 1, 0))]
    assert longer[0] not in longer[1:]
