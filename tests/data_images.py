"""Small image folders, on the disk and in archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Files = dict[str, bytes]
NAMES = [f"{part}/{kind}/{i}" for part in ("test", "train") for kind in "ba" for i in (1, 0)]


def image(pixels: NDArray[np.uint8], kind: str = "PNG") -> bytes:
    """The file of an image."""
    raw = io.BytesIO()
    Image.fromarray(pixels).save(raw, kind)
    return raw.getvalue()


def pixels(name: str, shape: tuple[int, ...] = (5, 4, 3)) -> NDArray[np.uint8]:
    """Pixels that depend on the name of an image."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, shape, np.uint8)


def content(image: Image.Image, form: str, **options: Any) -> bytes:
    """The file of an image."""
    raw = io.BytesIO()
    image.save(raw, form, **options)
    return raw.getvalue()


def one_class(name: str, *images: bytes) -> Files:
    """A data set of one class whose training images are named as `name`, with a number before."""
    files = {f"train/a/{i}{name}": image for i, image in enumerate(images)}
    return files | {f"test/a/0{name}": images[0]}


def tree(shape: tuple[int, ...] = (5, 4, 3)) -> Files:
    """Two images in each of two classes, in the training and in the test set."""
    return {f"{name}.png": image(pixels(name, shape)) for name in NAMES}


def in_folder(folder: Path, files: Files) -> Path:
    """A folder with the files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def in_tar(path: Path, files: Iterable[tuple[str, bytes | None]]) -> Path:
    """The files, and folders where there is no content, in an archive packed as its name says."""
    with tarfile.open(path, {".gz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")) as tar:  # type: ignore[call-overload]
        for name, content in files:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))
    return path


def plain_ppm(pixels: NDArray[np.generic], most: int) -> bytes:
    """A PPM file in ASCII."""
    height, width, _ = pixels.shape
    return f"P3 {width} {height} {most}\n{' '.join(map(str, pixels.ravel()))}\n".encode()
