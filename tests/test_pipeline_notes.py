"""Notes on settings that are valid but probably not intended."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from protocol import (
    DataConfig,
    LayerConfig,
    Pipeline,
    TrainConfig,
    pipeline_notes,
)

if TYPE_CHECKING:
    from tests.dni import Dni


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        (TrainConfig(steps=100), []),
        (TrainConfig(steps=100, lr_drops=(50, 100), eval_every=100, checkpoint_every=100), []),
        (
            TrainConfig(steps=100, lr_drops=(50, 101)),
            ["train.lr_drops: 101 is more than train.steps (100)"],
        ),
        (
            TrainConfig(steps=100, lr_drops=(300, 200)),
            ["train.lr_drops: 200, 300 are more than train.steps (100)"],
        ),
        (TrainConfig(steps=100, eval_every=101), ["train.eval_every: 101 is more than"]),
        (
            TrainConfig(steps=10, lr_drops=(11,), eval_every=12, checkpoint_every=13),
            ["train.lr_drops: 11 ", "train.eval_every: 12 ", "train.checkpoint_every: 13 "],
        ),
    ],
)
def test_settings_beyond_the_last_step_get_a_note(train: TrainConfig, wanted: list[str]) -> None:
    pipeline = Pipeline(data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),))
    found = pipeline_notes(replace(pipeline, train=train))
    assert len(found) == len(wanted)
    assert all(note.startswith(begin) for note, begin in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "tiny.toml", "--engine", "inline", "--run-dir", "run"),
        ("check", "tiny.toml"),
        ("compare", "tiny.toml", "--rules", "cdni,dni", "--seeds", "2", "--engine", "inline"),
    ],
)
def test_a_note_is_printed_once_and_is_not_an_error(dni: Dni, arguments: tuple[str, ...]) -> None:
    late = ("-o", "train.steps=20", "-o", "train.lr_drops=[30]")
    done = dni(*arguments, *late)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("note: train.lr_drops: 30 is more than train.steps (20)") == 1
    silent = dni(*arguments, *late, "--json", *["--force"] * (arguments[0] == "run"))
    assert silent.returncode == 0, silent.stderr
    assert json.loads(silent.stdout)
    assert "note: " in (silent.stdout if arguments[0] == "check" else silent.stderr)
