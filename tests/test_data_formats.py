"""Every raster format that Pillow reads is decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data_help import refusal
from tests.data_images import Files, content, image, in_folder, one_class, plain_ppm
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
SMOOTH = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None] * 20, (4, 6, 3)).copy()


def read(folder: Path, files: Files) -> NDArray[np.generic]:
    return load(path=in_folder(folder / "own", files)).x_train


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.webp", "WEBP"),
        ("x.bmp", "BMP"),
        ("x.tif", "TIFF"),
        ("x.TIFF", "TIFF"),
        ("x.ppm", "PPM"),
        ("x.tga", "TGA"),
        ("x.PNG", "PNG"),
        ("x.jp2", "JPEG2000"),
        ("x.ico", "PNG"),  # known by its content, whatever its name says
        ("x.png", "BMP"),
        ("x.dat", "PNG"),
        ("", "BMP"),
    ],
)
def test_images_of_all_formats_are_decoded(tmp_path: Path, name: str, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    image = content(Image.fromarray(PIXELS), form, **options)
    np.testing.assert_array_equal(read(tmp_path, one_class(name, image)), [PIXELS])


Image.init()
SAVED: dict[str, dict[str, Any]] = {
    **{key: {} for key in ("PNG", "BMP", "TIFF", "PPM", "JPEG2000", "SGI", "PCX", "QOI", "DDS")},
    "ICO": {"sizes": [(6, 4)]},
    "WEBP": {"lossless": True},
}
NAMELESS = {
    form: content(Image.fromarray(PIXELS), form, **options)
    for form, options in SAVED.items()
    if form in Image.SAVE
} | {"digits": plain_ppm(PIXELS, 255)}


@pytest.mark.parametrize("form", NAMELESS)
@pytest.mark.parametrize("name", ["", ".dat", ".jpeg2"])
def test_an_image_is_known_by_its_first_bytes(tmp_path: Path, form: str, name: str) -> None:
    found = read(tmp_path, one_class(name, NAMELESS[form]))
    np.testing.assert_array_equal(found[0][..., :3], PIXELS)


@pytest.mark.skipif("AVIF" not in Image.SAVE, reason="this Pillow has no AVIF")
def test_an_avif_image_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    image = content(Image.fromarray(SMOOTH), "AVIF", quality=100)
    assert np.abs(read(tmp_path, one_class("", image))[0].astype(int) - SMOOTH).max() < 12


TEXTS = (b"Python", b"P1,P2,label\n", b"BMW, 3", b"P", b"", b"#define a 1", b"/* XPM */", b"\n\n")


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_not_mistaken_for_an_image(tmp_path: Path, text: bytes) -> None:
    files = one_class("x.png", image(PIXELS)) | {"train/a/notes": text}
    note, _ = load(path=in_folder(tmp_path / "own", files)).notes  # the other: one class
    assert note == "left out 1 file that is not an image: 'train/a/notes'"


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x.JPG", "x.jpeg"])
def test_every_suffix_of_jpeg_is_read(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, one_class(name, image(SMOOTH, "JPEG"))).astype(int)
    assert np.abs(found[0] - SMOOTH).max() < 12


PALETTE = np.array([[0, 1, 0], [2, 0, 1]], np.uint8)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
GREY = np.array([[0, 50, 255], [3, 4, 5]], np.uint8)
BITS = np.array([[True, False, True], [False, False, True]])


def palette(**options: Any) -> bytes:
    image = Image.new("P", (3, 2))
    image.putdata(PALETTE.ravel().tolist())
    image.putpalette(COLOURS.ravel().tolist())
    return content(image, options.pop("form", "PNG"), **options)


def with_alpha() -> tuple[bytes, NDArray[np.uint8]]:
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())])
    return content(image, "PNG"), np.stack([GREY, GREY, GREY, GREY[::-1]], axis=-1)


CYAN = Image.new("CMYK", (3, 2), (255, 0, 0, 0))
MODES: dict[str, tuple[bytes, NDArray[np.generic]]] = {
    "palette.png": (palette(), COLOURS[PALETTE]),
    "palette.gif": (palette(form="GIF"), COLOURS[PALETTE]),
    "grey.gif": (content(Image.fromarray(GREY), "GIF"), np.stack([GREY] * 3, axis=-1)),
    "transparent.png": (
        palette(transparency=1),
        np.concatenate(
            [COLOURS[PALETTE], np.where(PALETTE == 1, 0, 255)[..., None].astype(np.uint8)], axis=-1
        ),
    ),
    "bits.png": (content(Image.fromarray(BITS), "PNG"), BITS * np.uint8(255)),
    "bits.tif": (content(Image.fromarray(BITS), "TIFF"), BITS * np.uint8(255)),
    "grey and alpha.png": with_alpha(),
    "cmyk.tif": (content(CYAN, "TIFF"), np.full((2, 3, 3), (0, 255, 255), np.uint8)),
}


@pytest.mark.parametrize("name", MODES)
def test_an_image_of_another_mode_is_converted_without_loss(tmp_path: Path, name: str) -> None:
    image, pixels = MODES[name]
    np.testing.assert_array_equal(read(tmp_path, one_class(name, image))[0], pixels)


TURNED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "MPO"])
def test_an_image_is_rotated_by_its_exif_orientation(
    tmp_path: Path, orientation: int, form: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    image = content(Image.fromarray(PIXELS), form, exif=exif, **options)
    unturned = content(Image.fromarray(PIXELS), form, **options)
    found = read(tmp_path, one_class(f"x.{form.lower()}", image))[0]
    expected = np.asarray(Image.open(io.BytesIO(unturned)).convert("RGB"))
    np.testing.assert_array_equal(found, TURNED[orientation](expected))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_frame_is_read_with_a_note(tmp_path: Path, form: str) -> None:
    first, second = (Image.new("RGB", (3, 2), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if form == "WEBP" else {}
    moving = content(first, form, save_all=True, append_images=[second], **options)
    name = f"x.{form.lower()}"
    data = load(path=in_folder(tmp_path / "own", one_class(name, moving)))
    np.testing.assert_array_equal(data.x_train[0], np.full((2, 3, 3), (255, 0, 0)))
    note, _ = data.notes  # the other one is on the one class
    assert note.startswith("only the first frame or page of these images is read: ")
    assert note.endswith(f" 'test/a/0{name}', 'train/a/0{name}'")


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("x.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n"),
        ("x.pdf", b"%PDF-1.4"),
        ("x.wmf", b"\xd7\xcd\xc6\x9a"),
    ],
)
def test_a_format_that_needs_another_program_is_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, begin: bytes
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    files = one_class("x.png", image(PIXELS)) | {f"train/a/{name}": begin}
    assert f"'train/a/{name}'" in load(path=in_folder(tmp_path / "own", files)).notes[0]
    hidden = one_class("x.png", image(PIXELS)) | {"train/a/y.png": begin}
    text = refusal(partial(load, path=in_folder(tmp_path / "hidden", hidden)))
    assert "'train/a/y.png': is not an image that Pillow can read" in text


# All that is wrong, at once

GOOD = image(PIXELS)


def wrong(count: int) -> Files:
    """So many images that are broken, empty, of another size or of another mode, in turn."""
    kinds = (GOOD[:60], b"", image(PIXELS[:3]), image(PIXELS[..., 0]))
    return {f"train/a/y{i:03}.png": kinds[i % 4] for i in range(count)}


@pytest.mark.parametrize("count", [2, 4, 10, 11, 37])
def test_ten_bad_images_are_listed_and_the_others_counted(tmp_path: Path, count: int) -> None:
    files = one_class("x.png", *[GOOD] * 40) | wrong(count)
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert f"{count} of {41 + count} images cannot be used: 'train/a/y000.png': cannot be" in text
    assert text.count("'train/a/y") == min(count, 10)
    assert ("; repair or remove them; most" in text) == (count > 2)
    assert (f"and {count - 10} more;" in text) == (count > 10)
    if count > 2:
        assert "'train/a/y002.png': is RGB of 6 x 3 pixels" in text
        assert "'train/a/y003.png': is L of 6 x 4 pixels" in text
        assert "most, such as 'test/a/0x.png', are RGB of 6 x 4 pixels" in text


@pytest.mark.parametrize("odd", ["test/a/!.png", "train/a/!.png", "train/a/z.png"])
def test_the_one_image_of_another_size_is_named(tmp_path: Path, odd: str) -> None:
    files = one_class("x.png", *[GOOD] * 5) | {odd: image(PIXELS[:2])}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert f"{odd!r}: is RGB of 6 x 2 pixels; most" in text


def test_a_broken_link_is_named_and_a_circular_link_is_skipped(tmp_path: Path) -> None:
    path = in_folder(tmp_path / "own", one_class("x.png", GOOD))
    (path / "train" / "a" / "loop").symlink_to(path / "train")
    assert len(load(path=path).x_train) == 1
    (path / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    text = refusal(partial(load, path=path))
    assert "'train/a/gone.png': is not a file, or is a broken link" in text
