"""Pipeline files and overrides, and the errors for their mistakes: one line, with the key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from protocol import DataConfig, LayerConfig, Pipeline, SpecError, TrainConfig
from protocol.pipeline_file import read_pipeline

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


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def message(file: Path, *overrides: str) -> str:
    """The error for `file` with `overrides`, which is one line."""
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


def test_a_key_that_is_missing_in_a_file_has_its_default(file: Path) -> None:
    layers = (LayerConfig(("linear 20", "relu")), LayerConfig(("linear 10",)))
    pipeline = read_pipeline(file)
    assert pipeline == Pipeline(
        name="small", data=DataConfig(name="digits", batch=10), layer=layers
    )
    assert pipeline.stages == ("source", "layer0", "layer1")


@pytest.mark.parametrize(
    ("override", "path", "value"),
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
    file: Path, override: str, path: Sequence[str | int], value: object
) -> None:
    expected = read_pipeline(file).as_dict()
    table: object = expected
    for key in path[:-1]:
        table = table[key]  # type: ignore[index]
    table[path[-1]] = value  # type: ignore[index]
    assert read_pipeline(file, [override]).as_dict() == expected


def test_the_last_override_of_a_key_wins_and_name_and_path_replace_each_other(file: Path) -> None:
    data = read_pipeline(file, ["data.batch=3", "data.batch=4", "data.path=x", "data.name=y"]).data
    assert data == DataConfig(name="y", batch=4)


def test_a_string_is_refused_as_a_list_of_modules() -> None:
    with pytest.raises(SpecError, match=r"layer\.modules: a list is needed"):
        LayerConfig("linear 10")  # type: ignore[arg-type]


def test_a_path_in_a_file_is_relative_to_the_file_and_in_an_override_to_the_current_folder(
    file: Path,
) -> None:
    file.write_text(SMALL.replace('name = "digits"', 'path = "mine.npz"'))
    assert read_pipeline(file).data.path == str(file.parent.resolve() / "mine.npz")
    assert read_pipeline(file, ["data.path=mine.npz"]).data.path == str(Path("mine.npz").resolve())


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
def test_the_error_for_a_mistake_names_the_file_the_key_and_the_correction(
    file: Path, override: str
) -> None:
    text = message(file, override)
    assert text.startswith(f"{file}: {MISTAKES[override][0]}")
    assert all(part in text for part in MISTAKES[override])


@pytest.mark.parametrize("override", BAD_OVERRIDES, ids=lambda text: text[:40])
def test_the_error_for_an_invalid_override_repeats_it(file: Path, override: str) -> None:
    text = message(file, override)
    assert override[:60] in text
    assert all(part in text for part in BAD_OVERRIDES[override])


@pytest.mark.parametrize("content", BAD_FILES, ids=lambda text: ascii(text[:20]))
def test_the_error_for_a_file_that_is_not_a_pipeline_names_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    file.write_text(content, "utf-8", "surrogatepass")
    monkeypatch.chdir(file.parent)  # an error shortens a long path
    text = message(Path(file.name))
    assert text.startswith(f"{file.name}: ")
    assert all(part in text for part in BAD_FILES[content])


def test_the_error_for_a_missing_file_or_a_folder_names_it(tmp_path: Path) -> None:
    assert message(tmp_path / "no.toml") == f"{tmp_path / 'no.toml'}: no such file"
    assert message(tmp_path) == f"{tmp_path}: is a folder, not a file"


def test_unlocked_layers_in_lockstep_must_update_on_every_batch(file: Path) -> None:
    overrides = ("train.update_probability=0.5", "train.schedule=lockstep")
    text = message(file, "rule=unlocked-dni", *overrides)
    assert text.startswith(f"{file}: train.update_probability: unlocked layers in lockstep ")
    assert "lockstep" in text
    assert "\n" not in text
    for only in (overrides[:1], overrides[1:]):
        read_pipeline(file, ["rule=unlocked-dni", *only])
    for rule in ("backprop", "no-bprop", "cdni"):
        assert read_pipeline(file, [f"rule={rule}", *overrides]).lockstep
