"""The error for a file that is not a data set names its format and how to convert it."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import pickle
import sqlite3
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.data_help import arrays, packed, refusal, saved
from tests.data_image_folders import in_zip
from tests.data_images import image, in_folder, in_tar, pixels
from workers.data import load, npz

pytestmark = pytest.mark.usefixtures("own_folders")

HDF5 = b"\x89HDF\r\n\x1a\n"


def of_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def of_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("create table x (y)")
    base.close()


def of_zip(*names: str) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as made:
            for name in names:
                made.writestr(name, b"")

    return write


def raw(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def zipped(compress: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        np.savez(path.with_name("whole.npz"), **arrays())  # type: ignore[arg-type]
        path.write_bytes(compress(path.with_name("whole.npz").read_bytes()))

    return write


FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "x.npy": (of_numpy, "is not an .npz file but a single array (.npy); load it with numpy.load"),
    "x.npz": (of_numpy, "is not an .npz file but a single array (.npy)"),
    "x.pkl": (raw(pickle.dumps([1], 4)), "but a pickle, which is never loaded here"),
    "protocol 0": (raw(pickle.dumps({"a": 1}, 0)), "but a pickle, which is never loaded here"),
    "list of protocol 0": (raw(pickle.dumps([1], 0)), "but a pickle, which is never loaded here"),
    "array of protocol 0": (raw(pickle.dumps(np.zeros(1), 0)), "but a pickle, which is never"),
    "protocol 1": (raw(pickle.dumps({"a": 1}, 1)), "but a pickle, which is never loaded here"),
    "array of protocol 1": (raw(pickle.dumps(np.zeros(1), 1)), "but a pickle, which is never"),
    "old.pkl": (raw(pickle.dumps([1], 0)), "but a pickle, which is never loaded here"),
    "x.h5": (raw(HDF5), "but an HDF5 file; read it with h5py"),
    "x.mat": (raw(b"MATLAB 5.0 MAT-file, Platform"), "read it with scipy.io.loadmat"),
    "new.mat": (raw(b"MATLAB 7.3 MAT-file, Platform" + bytes(480) + HDF5), "h5py"),
    "x.parquet": (raw(b"PAR1" + bytes(20) + b"PAR1"), "read it with pandas.read_parquet"),
    "x.feather": (raw(b"ARROW1\0\0"), "read it with pandas.read_feather"),
    "x.csv": (raw(b"1;2\n"), "but a CSV file; read it with numpy.loadtxt"),
    "table": (raw(b"a,b,c\n1,2,3\n4,5,6\n"), "but a CSV file; read it with numpy.loadtxt"),
    "x.tsv": (raw(b"a\tb\n"), "pandas.read_csv(…, sep='\\t')"),
    "x.json": (raw(json.dumps({"x": 1}).encode()), "but a JSON file"),
    "x.sqlite": (of_sqlite, "but an SQLite database"),
    "x.pt": (of_zip("archive/data.pkl", "archive/data/0"), "but a PyTorch file"),
    "x.xlsx": (of_zip("[Content_Types].xml", "xl/workbook.xml"), "but an Excel file"),
    "x.tar.bz2": (raw(b"BZh91AY"), "is compressed by bzip2; unpack it first"),
    "x.zst": (raw(b"\x28\xb5\x2f\xfd"), "is compressed by zstd; unpack it first"),
    "x.7z": (raw(b"7z\xbc\xaf\x27\x1c"), "is a 7z archive; unpack it to a folder"),
    "x.rar": (raw(b"Rar!\x1a\7"), "is a RAR archive; unpack it to a folder"),
    "x.npy.gz": (raw(gzip.compress(b"\x93NUMPY")), "is compressed, and its content is not an .npz"),
    "x.npz.gz": (
        zipped(gzip.compress),
        "is an .npz or zip file that is compressed again; unpack",
    ),
    "x.npz.xz": (
        zipped(lzma.compress),
        "is an .npz or zip file that is compressed again; unpack",
    ),
    "y.npz": (zipped(gzip.compress), "is an .npz or zip file that is compressed again; unpack"),
    "x.csv.xz": (
        raw(lzma.compress(b"1\n2\n")),
        "is compressed, and its content is not an .npz file",
    ),
    "t10k-images-idx3-ubyte": (raw(packed(np.zeros((1, 2, 2), np.uint8))), "is one IDX file; give"),
    "x.idx.gz": (
        raw(gzip.compress(packed(np.zeros(2, np.uint8)))),
        "content is one IDX file; give",
    ),
    "x.png": (raw(image(pixels("x"))), "is one image; give the folder that holds train/"),
    "x.gif": (raw(image(pixels("x"), "GIF")), "is one image; give the folder"),
    "x.webp": (raw(image(pixels("x"), "WEBP")), "is one image; give the folder"),
    "x.bmp": (raw(image(pixels("x"), "BMP")), "is one image; give the folder"),
    "x.tif": (raw(image(pixels("x"), "TIFF")), "is one image; give the folder"),
    "float.idx": (raw(packed(np.zeros((1, 2), np.float32))), "is one IDX file; give"),
    "short.idx": (raw(packed(np.zeros((1, 2), np.int16))), "is one IDX file; give"),
    "PAGE.npz": (raw(b"<HTML>"), "is a web page, probably of a failed download"),
    "blank.npz": (raw(b"\n\n <html lang=en>"), "is a web page, probably of a failed download"),
    "page.npz": (raw(b"<!DOCTYPE html>"), "is a web page, probably of a failed download"),
    "lfs.npz": (raw(b"version https://git-lfs.github.com/spec/v1"), "is a pointer of Git LFS"),
    "empty.npz": (raw(b""), "is empty; copy or save it again"),
    "noise": (
        raw(bytes(range(1, 99))),
        "is not an .npz file, nor a tar or zip archive of images",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_error_names_the_format_of_the_file(tmp_path: Path, name: str) -> None:
    write, expected = FORMATS[name]
    write(tmp_path / name)
    text = refusal(partial(load, path=tmp_path / name))
    assert text.startswith(f"{tmp_path / name}: ")
    assert expected in text
    if "is not an .npz file" in text:
        assert text.endswith("y_test=…)")


@pytest.mark.parametrize("lost", [1, 50, 200, 0.5, 0.9])
def test_a_truncated_npz_is_called_truncated(tmp_path: Path, lost: float) -> None:
    path = saved(tmp_path, arrays())
    whole = path.read_bytes()
    path.write_bytes(whole[: -int(lost if lost >= 1 else lost * len(whole))])
    text = refusal(partial(load, path=path))
    assert text.startswith(f"{path}: is truncated: ")
    assert text.endswith("the .npz or zip file is missing; copy or save it again")


@pytest.mark.parametrize("at", [60, 200, 300])
def test_an_npz_that_lacks_bytes_in_the_middle_is_called_damaged(tmp_path: Path, at: int) -> None:
    path = saved(tmp_path, arrays(x_train=np.zeros((6, 50, 50), np.uint8)))
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + whole[at + 20 :])
    assert "truncated or damaged: copy or save it again" in refusal(partial(load, path=path))


def test_a_named_pipe_is_refused_without_reading(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "own.npz")
    text = refusal(partial(load, path=tmp_path / "own.npz"))
    assert text.endswith("own.npz: is neither a file nor a folder")


IMAGES = {"train/a/0.png": b"", "test/a/0.png": b""}
INSIDE: dict[str, Callable[[Path], Path]] = {
    "npz": lambda around: saved(around, arrays()),
    "folder": lambda around: in_folder(around / "own", IMAGES),
    "tar": lambda around: in_tar(around / "own.tar", IMAGES.items()),
    "tar.gz": lambda around: in_tar(around / "own.tar.gz", IMAGES.items()),
    "zip": lambda around: in_zip(around / "own.zip", IMAGES),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_the_error_for_a_folder_proposes_the_data_set_inside(tmp_path: Path, kind: str) -> None:
    around = tmp_path / "around"
    around.mkdir()
    inner = INSIDE[kind](around)
    assert refusal(partial(load, path=around)).endswith(f"; did you mean {str(inner)!r}?")


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_an_archive_is_proposed_last(tmp_path: Path, kind: str) -> None:
    around = in_folder(tmp_path / "around", {"a.tar.gz": b"", "b.zip": b""})
    inner = INSIDE[kind](around)
    assert refusal(partial(load, path=around)).endswith(f"; did you mean {str(inner)!r}?")


@pytest.mark.parametrize("names", [("x.npy",), ("x_train.npy", "y_train.npy"), ("a.npy", "b.txt")])
def test_the_error_for_a_folder_of_arrays_says_how_to_put_them_into_one_file(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    path = in_folder(tmp_path / "own", dict.fromkeys(names, b""))
    assert "put the arrays into one file with numpy" in refusal(partial(load, path=path))


ZIPS: dict[str, tuple[dict[str, bytes], bool]] = {
    "arrays": ({"x_train.npy": b"", "deep/x.npy": b""}, True),
    "folders of arrays": ({"train/": b"", "train/x.npy": b"", "test/x.npy": b""}, True),
    "arrays and notes": ({"x_train.npy": b"", "readme.txt": b""}, True),
    "nothing": ({}, True),
    "tree": (IMAGES, False),
    "tree and an array": (IMAGES | {"features.npy": b""}, False),
    "tree with an array inside": ({f"own/{n}": b"" for n in (*IMAGES, "train/x.npy")}, False),
    "tables": ({"a.csv": b""}, False),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_of_images_is_not_mistaken_for_an_npz(tmp_path: Path, name: str) -> None:
    files, expected = ZIPS[name]
    assert npz.is_npz(in_zip(tmp_path / "own.zip", files)) == expected
