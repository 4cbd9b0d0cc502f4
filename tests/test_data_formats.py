"""Every raster format that Pillow reads is decoded; images that would lose data are refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data_help import refusal
from tests.data_pictures import Files, in_folder, picture
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)
SMOOTH = np.broadcast_to(np.arange(6, dtype=np.uint8)[:, None] * 20, (4, 6, 3)).copy()


def content(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of an image."""
    raw = io.BytesIO()
    image.save(raw, form, **options)
    return raw.getvalue()


def tree(name: str, *images: bytes) -> Files:
    """A data set of one class whose training images are named as `name`, with a number before."""
    files = {f"train/a/{i}{name}": image for i, image in enumerate(images)}
    return files | {f"test/a/0{name}": images[0]}


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
def test_an_image_of_any_format_has_its_pixels(tmp_path: Path, name: str, form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    image = content(Image.fromarray(PIXELS), form, **options)
    np.testing.assert_array_equal(read(tmp_path, tree(name, image)), [PIXELS])


@pytest.mark.parametrize("name", ["x.jfif", "x.jpe", "x.JPG", "x.jpeg"])
def test_every_suffix_of_jpeg_is_read(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, tree(name, picture(SMOOTH, "JPEG"))).astype(int)
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
    np.testing.assert_array_equal(read(tmp_path, tree(name, image))[0], pixels)


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
def test_an_image_is_turned_as_its_exif_orientation_says(
    tmp_path: Path, orientation: int, form: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {}
    image = content(Image.fromarray(PIXELS), form, exif=exif, **options)
    unturned = content(Image.fromarray(PIXELS), form, **options)
    found = read(tmp_path, tree(f"x.{form.lower()}", image))[0]
    expected = np.asarray(Image.open(io.BytesIO(unturned)).convert("RGB"))
    np.testing.assert_array_equal(found, TURNED[orientation](expected))


def deep_png(colour: int, channels: int) -> bytes:
    """A PNG of 16 bits a channel, of which Pillow keeps 8 where there are several."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    rows = b"".join(b"\0" + np.full((6, channels), 40000, ">u2").tobytes() for _ in range(4))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 6, 4, 16, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sgi(pixels: NDArray[np.generic]) -> bytes:
    """An SGI file of `(h, w, 3)`, uint8 or uint16."""
    height, width, channels = pixels.shape
    head = struct.pack(">HBBHHHH", 474, 0, pixels.itemsize, 3, width, height, channels)
    rows = np.moveaxis(pixels[::-1], 2, 0).astype(f">u{pixels.itemsize}").tobytes()
    return (head + struct.pack(">II", 0, 255)).ljust(512, b"\0") + rows


def tiff(pixels: NDArray[np.generic]) -> bytes:
    """An uncompressed TIFF of `(h, w, 3)`, uint8 or uint16, one plane for each channel."""
    height, width, channels = pixels.shape
    data = np.moveaxis(pixels, 2, 0).astype(f"<u{pixels.itemsize}").tobytes()
    at, plane = 8 + len(data), len(data) // channels
    behind = at + 2 + 12 * 10 + 4
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, behind), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, 3, behind + 6), (277, 3, 1, 3), (278, 3, 1, height)]
    tags += [(279, 4, 3, behind + 18), (284, 3, 1, 2)]
    lists = [8 * pixels.itemsize] * 3, [8 + plane * i for i in range(3)], [plane] * 3
    body = struct.pack("<4sI", b"II*\0", at) + data + struct.pack("<H", len(tags))
    body += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return body + struct.pack("<3H3I3I", *lists[0], *lists[1], *lists[2])


def plain_ppm(pixels: NDArray[np.generic], most: int) -> bytes:
    """A PPM file in digits."""
    height, width, _ = pixels.shape
    return f"P3 {width} {height} {most}\n{' '.join(map(str, pixels.ravel()))}\n".encode()


def ico(png: bytes, bits: int) -> bytes:
    """An ICO file with a PNG of 6 x 4 pixels inside."""
    entry = struct.pack("<BBBBHHII", 6, 4, 0, 0, 1, bits, len(png), 22)
    return struct.pack("<HHH", 0, 1, 1) + entry + png


def dds(flags: int, code: bytes, bits: int, *masks: int, more: bytes = b"") -> bytes:
    """A DDS file of 4 x 4 pixels of value 0."""
    form = struct.pack("<II4sI4I", 32, flags, code, bits, *masks)
    head = struct.pack("<4sIIIIIII44s", b"DDS ", 124, 0x1007, 4, 4, 0, 0, 0, b"")
    return head + form + struct.pack("<5I", 0x1000, 0, 0, 0, 0) + more + bytes(64)


DEEP_PIXELS = PIXELS.astype(np.uint16) * 257
SIXTEEN = np.full((4, 6), 40000, np.uint16)
DEEP = {
    "grey.png": deep_png(0, 1),
    "colours.png": deep_png(2, 3),
    "grey and alpha.png": deep_png(4, 2),
    "colours and alpha.png": deep_png(6, 4),
    "grey.tif": content(Image.fromarray(SIXTEEN), "TIFF"),
    "grey.jp2": content(Image.fromarray(SIXTEEN), "JPEG2000"),
    "floats.tif": content(Image.fromarray(SIXTEEN.astype(np.float32)), "TIFF"),
    "colours.sgi": sgi(DEEP_PIXELS),
    "planes.tif": tiff(DEEP_PIXELS),
    "digits.ppm": plain_ppm(DEEP_PIXELS, 65535),
    "ten bits.ppm": plain_ppm(PIXELS.astype(np.uint16) * 4, 1023),
    "colours.ico": ico(deep_png(2, 3), 48),
    "half floats.dds": dds(4, b"DX10", 0, 0, 0, 0, 0, more=struct.pack("<5I", 95, 3, 0, 1, 0)),
    "ten bits.dds": dds(0x40, b"", 32, 0x3FF, 0xFFC00, 0x3FF00000, 0),
    "colours.ppm": b"P6 6 4 65535\n" + np.full((4, 6, 3), 40000, ">u2").tobytes(),
    "grey.pgm": b"P5 6 4 65535\n" + SIXTEEN.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", DEEP)
def test_an_image_of_more_than_8_bits_per_channel_is_refused(tmp_path: Path, name: str) -> None:
    path = in_folder(tmp_path / "own", tree(name, DEEP[name]))
    text = refusal(partial(load, path=path))
    assert f"'test/a/0{name}': has more than 8 bits per channel" in text
    assert "save it with 8 bits" in text


SHALLOW = {
    "x.sgi": sgi(PIXELS),
    "x.tif": tiff(PIXELS),
    "x.ppm": plain_ppm(PIXELS, 255),
}


@pytest.mark.parametrize("name", SHALLOW)
def test_an_image_of_8_bits_per_channel_is_not_taken_for_a_deep_one(
    tmp_path: Path, name: str
) -> None:
    np.testing.assert_array_equal(read(tmp_path, tree(name, SHALLOW[name])), [PIXELS])


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
def test_the_first_of_several_frames_is_read_with_a_note(tmp_path: Path, form: str) -> None:
    first, second = (Image.new("RGB", (3, 2), colour) for colour in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if form == "WEBP" else {}
    moving = content(first, form, save_all=True, append_images=[second], **options)
    name = f"x.{form.lower()}"
    data = load(path=in_folder(tmp_path / "own", tree(name, moving)))
    np.testing.assert_array_equal(data.x_train[0], np.full((2, 3, 3), (255, 0, 0)))
    (note,) = data.notes
    assert note.startswith("of images with several frames or pages the first is read: ")
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
    files = tree("x.png", picture(PIXELS)) | {f"train/a/{name}": begin}
    assert f"'train/a/{name}'" in load(path=in_folder(tmp_path / "own", files)).notes[0]
    hidden = tree("x.png", picture(PIXELS)) | {"train/a/y.png": begin}
    text = refusal(partial(load, path=in_folder(tmp_path / "hidden", hidden)))
    assert "'train/a/y.png': is no image that Pillow can read" in text


# All that is wrong, at once

GOOD = picture(PIXELS)


def wrong(count: int) -> Files:
    """So many images that are broken, empty, of another size or of another mode, in turn."""
    kinds = (GOOD[:60], b"", picture(PIXELS[:3]), picture(PIXELS[..., 0]))
    return {f"train/a/y{i:03}.png": kinds[i % 4] for i in range(count)}


@pytest.mark.parametrize("count", [2, 4, 10, 11, 37])
def test_all_bad_images_are_listed_up_to_ten_and_how_many_more(tmp_path: Path, count: int) -> None:
    files = tree("x.png", *[GOOD] * 40) | wrong(count)
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert f"{count} of {41 + count} images cannot be used: 'train/a/y000.png': cannot be" in text
    assert text.count("'train/a/y") == min(count, 10)
    assert ("more; most" in text) == (count > 10)
    assert (f"and {count - 10} more;" in text) == (count > 10)
    if count > 2:
        assert "'train/a/y002.png': is RGB of 6 x 3 pixels" in text
        assert "'train/a/y003.png': is L of 6 x 4 pixels" in text
        assert "most, such as 'test/a/0x.png', are RGB of 6 x 4 pixels" in text


@pytest.mark.parametrize("odd", ["test/a/!.png", "train/a/!.png", "train/a/z.png"])
def test_the_one_image_of_another_size_is_named_wherever_it_is(tmp_path: Path, odd: str) -> None:
    files = tree("x.png", *[GOOD] * 5) | {odd: picture(PIXELS[:2])}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert f"{odd!r}: is RGB of 6 x 2 pixels; most" in text


def test_a_broken_link_is_named_and_a_circular_link_is_skipped(tmp_path: Path) -> None:
    path = in_folder(tmp_path / "own", tree("x.png", GOOD))
    (path / "train" / "a" / "loop").symlink_to(path / "train")
    assert len(load(path=path).x_train) == 1
    (path / "train" / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    text = refusal(partial(load, path=path))
    assert "'train/a/gone.png': is no file, or a link to nothing" in text
