"""Training images are augmented, identically in every run; test images are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from protocol import (
    Activation,
    Credit,
    DataConfig,
    LayerConfig,
    Pipeline,
    SpecError,
    TrainConfig,
    read_pipeline,
)
from protocol.dataset_info import DatasetInfo
from workers.assembly.compatibility import layer_modules
from workers.data import Augment, Dataset
from workers.data.augment import crop, flip
from workers.stages.source import Source, order

Array = NDArray[np.generic]
IMAGES = DatasetInfo((6, 5, 3), "|u1", 1 / 255, classes=4, labelled=True, examples=40, tests=10)

batches = hnp.arrays(
    st.sampled_from(["u1", "i2", ">f4", "f8", "?"]),
    st.tuples(*[st.integers(1, 5)] * 3) | st.tuples(*[st.integers(1, 5)] * 4),
)
seeds = st.integers(0, 2**32 - 1)


def same(a: Array, b: Array) -> bool:
    """Whether the arrays are equal bit by bit, NaN included."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(batches, seeds)
def test_flip_gives_each_image_or_its_mirror_image(x: Array, seed: int) -> None:
    before = x.copy()
    flipped = flip(x, np.random.default_rng(seed))
    assert same(x, before)
    assert flipped.flags.c_contiguous
    assert not np.shares_memory(flipped, x)
    for old, new in zip(x, flipped, strict=True):
        assert same(new, old) or same(new, old[:, ::-1])


@given(batches, seeds, st.integers(1, 4))
def test_crop_gives_a_piece_of_the_padded_image(x: Array, seed: int, margin: int) -> None:
    before = x.copy()
    cropped = crop(x, np.random.default_rng(seed), margin)
    assert same(x, before)
    assert cropped.flags.c_contiguous
    height, width = x.shape[1:3]
    for old, new in zip(x, cropped, strict=True):
        rim = ((margin, margin), (margin, margin), (0, 0))[: old.ndim]
        padded = np.pad(old, rim)
        pieces = (
            padded[down : down + height, right : right + width]
            for down in range(2 * margin + 1)
            for right in range(2 * margin + 1)
        )
        assert any(same(new, piece) for piece in pieces)


def test_half_of_the_images_are_flipped_and_every_offset_is_cropped() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((2000, 5, 5), np.uint8)
    x[:, 2, 2], x[:, 0, 0] = 1, 2
    assert 900 < (flip(x, rng)[:, 0, 4] == 2).sum() < 1100
    seen = (crop(x, rng, 2) == 1).sum(axis=0)
    assert seen.sum() == 2000
    assert 50 < seen.min() <= seen.max() < 110


def test_any_memory_layout_is_accepted() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (4, 3, 8, 9), np.uint8)
    turned = x.transpose(0, 2, 3, 1)
    for step in (flip, lambda x, rng: crop(x, rng, 2)):
        a, b = (step(t, np.random.default_rng(2)) for t in (turned, turned.copy()))
        assert same(a, b)


def test_augmentations_are_applied_in_order() -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3), np.uint8)
    rng = np.random.default_rng(7)
    expected = crop(flip(x, rng), rng, 2)
    both = Augment(("flip", "crop 2"), x.shape[1:])
    assert same(both(x, np.random.default_rng(7)), expected)
    assert Augment((), (3,))(x, rng) is x


@pytest.mark.parametrize(
    ("steps", "expected"),
    {
        ("flap",): "data.augment[0]: unknown augmentation 'flap'; did you mean 'flip'?",
        ("flip", "zoom 2"): "data.augment[1]: unknown augmentation 'zoom 2'; known: flip, crop",
        ("",): "data.augment[0]: unknown augmentation ''; known: flip, crop",
        ("flip 1",): "data.augment[0]: 'flip 1' should be 'flip'",
        ("crop",): "data.augment[0]: 'crop' should be 'crop <pixels>'",
        ("crop 5",): "data.augment[0]: 'crop 5': a whole number is needed from 1 to 4",
        ("crop 0",): "'crop 0': a whole number is needed",
        ("crop -1",): "'crop -1': a whole number is needed",
        ("crop 1.5",): "'crop 1.5': a whole number is needed",
        ("crop 1e400",): "'crop 1e400': a whole number is needed",
        ("crop " + "9" * 5000,): "a whole number is needed",
    }.items(),
)
def test_a_wrong_augmentation_is_an_error_of_the_pipeline(
    steps: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(SpecError) as caught:
        layer_modules(pipeline(steps), IMAGES)
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("shape", [(7,), (2, 3, 4, 5)])
def test_only_images_are_augmented(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match="only images"):
        Augment(("flip",), shape)


def test_augmentations_are_a_list_in_a_file_and_in_an_override(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[data]\nname = "digits"\naugment = ["flip"]\n[[layer]]\nmodules = ["linear 10"]\n'
    )
    assert read_pipeline(path).data.augment == ("flip",)
    override = 'data.augment=["flip", "crop 4"]'
    assert read_pipeline(path, [override]).data.augment == ("flip", "crop 4")
    for wrong in ("data.augment=flip", "data.augment=[4]"):
        with pytest.raises(SpecError, match=r"data\.augment"):
            read_pipeline(path, [wrong])
    with pytest.raises(SpecError, match="a list is needed"):
        DataConfig(name="digits", augment="flip")  # type: ignore[arg-type]


def pipeline(steps: tuple[str, ...], seed: int = 0) -> Pipeline:
    return Pipeline(
        data=DataConfig(name="digits", batch=10, augment=steps),
        train=TrainConfig(steps=8, seed=seed, eval_every=4),
        layer=(LayerConfig(("linear 4",)),),
    )


def sent(steps: tuple[str, ...], seed: int = 0) -> list[Activation]:
    """The activations that a source of 40 images sends in two epochs with an evaluation between."""
    rng = np.random.default_rng(5)
    x, y = rng.integers(1, 256, (40, 6, 5, 3), np.uint8), np.arange(40) % 4
    data = Dataset("own", x, y, x[:10], y[:10], classes=4, scale=1 / 255)
    source = Source(pipeline(steps, seed), data)
    found = []
    while source.ready:
        for send in source.work():
            if isinstance(send.message, Activation):
                found.append(send.message)
                source.receive(send.to, Credit(send.message.batch))
    return found


def test_only_training_batches_are_augmented() -> None:
    plain, varied = sent(()), sent(("flip", "crop 2"))
    assert len(plain) == len(varied) == 9
    assert [a.train for a in varied].count(False) == 1
    for a, b in zip(plain, varied, strict=True):
        assert same(a.labels, b.labels)
        assert a.x.dtype == b.x.dtype
        assert same(a.x, b.x) is not a.train


def test_augmentation_depends_on_seed_epoch_and_position_alone() -> None:
    steps = ("flip", "crop 2")
    first, again, other = sent(steps), sent(steps), sent(steps, seed=1)
    assert all(same(a.x, b.x) for a, b in zip(first, again, strict=True))
    assert not same(first[0].x, other[0].x)


def test_an_image_is_augmented_differently_in_each_epoch() -> None:
    batches = [a.x for a in sent(("crop 2",)) if a.train]
    seen: dict[int, list[Array]] = {}
    for epoch in (0, 1):
        rows = order(0, epoch, 40)
        for row, image in zip(rows.tolist(), np.concatenate(batches[4 * epoch :]), strict=False):
            seen.setdefault(row, []).append(image)
    assert all(len(pair) == 2 for pair in seen.values())
    assert sum(same(*pair) for pair in seen.values()) < 10
