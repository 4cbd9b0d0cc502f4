"""Images of more than 8 bits per channel, which Pillow would cut to 8, are refused."""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.data_help import refusal
from tests.data_images import Files, content, image, in_folder, one_class, plain_ppm
from workers.data import load

pytestmark = pytest.mark.usefixtures("own_folders")

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 6, 3), np.uint8)


def deep_png(colour: int, channels: int) -> bytes:
    """A PNG of 16 bits per channel, of which Pillow keeps 8 if there are several channels."""

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


def read(folder: Path, files: Files) -> NDArray[np.generic]:
    return load(path=in_folder(folder / "own", files)).x_train


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
    path = in_folder(tmp_path / "own", one_class(name, DEEP[name]))
    text = refusal(partial(load, path=path))
    assert "2 of 2 images cannot be used, as each has more than 8 bits per channel (mode " in text
    assert f"would be cut to 8: 'test/a/0{name}', 'train/a/0{name}'; save them with 8 bits" in text


SHALLOW = {
    "x.sgi": sgi(PIXELS),
    "x.tif": tiff(PIXELS),
    "x.ppm": plain_ppm(PIXELS, 255),
}


@pytest.mark.parametrize("name", SHALLOW)
def test_an_image_of_8_bits_per_channel_is_accepted(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, one_class(name, SHALLOW[name])), [PIXELS])


@pytest.mark.parametrize("count", [2, 10, 11, 300])
def test_one_reason_is_given_once_for_all_images(tmp_path: Path, count: int) -> None:
    files = one_class(".png", *[deep_png(2, 3)] * (count - 1))
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert text.count("has more than 8 bits per channel") == 1
    assert text.count(".png'") == min(count, 10)
    assert (f"and {count - 10:,} more; save them" in text) == (count > 10)


def test_the_error_for_one_image_is_in_the_singular(tmp_path: Path) -> None:
    files = one_class("x.png", image(PIXELS)) | {"train/a/z.png": deep_png(2, 3)}
    text = refusal(partial(load, path=in_folder(tmp_path / "own", files)))
    assert "'train/a/z.png': has more than 8 bits" in text
    assert "; save it with 8 bits" in text
