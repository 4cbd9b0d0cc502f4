"""CIFAR-10 is read in either format, verified, never unpickled, and downloaded if missing."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.data_cifar import (
    LABELS,
    PIXELS,
    RECORDS,
    Files,
    content,
    is_small,
    md5,
    packed,
    place_files,
)
from tests.data_help import Bar, mirror, refusal
from workers.data import archive, cifar, get, list_datasets, load


@pytest.fixture
def answers(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Files:  # noqa: ARG001
    """Both archives of the small data set, which replace the real ones."""
    made, forms = {}, []
    for form in cifar.FORMATS:
        files = content(form)
        made[form.archive] = packed(form, files)
        known = {name: md5(raw) if form.files[name] else "" for name, raw in files.items()}
        forms.append(replace(form, md5=md5(made[form.archive]), files=known, records=RECORDS))
    monkeypatch.setattr(cifar, "FORMATS", tuple(forms))
    return made


def test_the_formats_are_the_published_ones() -> None:
    packed_binary, packed_python = cifar.FORMATS
    assert packed_binary.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert packed_python.md5 == "c58f30108f718f92721af3b95e74349a"
    for form in cifar.FORMATS:
        assert form.records == 10_000
        assert [name.startswith("test") for name in form.files] == [False] * 5 + [True]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("folder", ["data/cifar10", "data", "cache/cifar10"])
def test_each_format_is_found_in_each_folder(
    answers: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    which: int,
    unpacked: bool,
    folder: str,
) -> None:
    form = cifar.FORMATS[which]
    monkeypatch.setenv("DNI_DATA", str(tmp_path / "data"))
    place = tmp_path / folder / (form.folder if unpacked else form.archive)
    place_files(place, content(form) if unpacked else answers[form.archive])
    assert is_small(load("cifar10"))
    assert get("cifar10") == place == list_datasets()[2].location
    assert is_small(load(path=place))
    assert is_small(load(path=place.parent))


def test_a_folder_may_hold_the_files_themselves(answers: Files, tmp_path: Path) -> None:
    assert len(answers) == 2
    assert is_small(load(path=place_files(tmp_path / "own", content(cifar.FORMATS[1]))))


def test_a_missing_data_set_is_downloaded_verified_and_cached(
    answers: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    bar = Bar()
    with mirror({}) as bad, mirror(answers) as good:
        monkeypatch.setattr(cifar, "MIRRORS", (bad.url, good.url))
        place = get("cifar10", bar)
        assert is_small(load("cifar10"))
        assert good.requests == [f"/{cifar.FORMATS[0].archive}"]
    assert place == cifar.find()
    assert bar.calls[-1] == "close"


def test_a_broken_archive_in_the_cache_is_downloaded_again(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_files(tmp_path / "cache" / "cifar10" / cifar.FORMATS[0].archive, b"broken")
    with mirror(answers) as good:
        monkeypatch.setattr(cifar, "MIRRORS", (good.url,))
        for _ in range(2):
            assert is_small(load("cifar10"))
        assert len(good.requests) == 1


def test_a_wrong_download_is_refused_and_not_cached(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {name: raw + b"\0" for name, raw in answers.items()}
    with mirror(wrong) as bad:
        monkeypatch.setattr(cifar, "MIRRORS", (bad.url,))
        text = refusal(lambda: load("cifar10"))
    form = cifar.FORMATS[0]
    for part in (md5(wrong[form.archive]), form.md5, bad.url, "$DNI_DATA/cifar10", form.archive):
        assert part in text
    assert not (tmp_path / "cache").exists()


def test_the_error_for_a_wrong_archive_of_the_user_has_both_checksums(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = cifar.FORMATS[1]
    place = place_files(tmp_path / form.archive, answers[form.archive][:-1])
    monkeypatch.setenv("DNI_DATA", str(tmp_path))
    text = refusal(lambda: load("cifar10"))
    assert text.startswith(f"{place}: has MD5 {md5(answers[form.archive][:-1])}, expected")
    assert form.md5 in text
    assert "unset DNI_DATA" in text


def test_files_of_another_data_set_are_not_mistaken_for_cifar10(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_files(tmp_path / "data" / "cifar10-jpeg.tar.xz", answers[cifar.FORMATS[0].archive])
    monkeypatch.setenv("DNI_DATA", str(tmp_path / "data"))
    assert "could not be downloaded" in refusal(lambda: load("cifar10"))


def longer(raw: bytes) -> bytes:
    return raw + raw[:3073]


WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut": (lambda raw: raw[:-1], "are not a whole number of records"),
    "long": (longer, f"holds {RECORDS + 1} images, expected {RECORDS}"),
    "empty": (lambda _: b"", f"holds 0 images, expected {RECORDS}"),
    "label": (lambda raw: b"\x0a" + raw[1:], "a label is not in 0 to 9"),
    "uneven": (lambda raw: bytes([(raw[0] + 1) % 10]) + raw[1:], "differ in size"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_folder_with_invalid_records_is_refused(
    answers: Files, tmp_path: Path, wrong: str
) -> None:
    assert answers
    change, expected = WRONG[wrong]
    files = content(cifar.FORMATS[0])
    files["data_batch_2.bin"] = change(files["data_batch_2.bin"])
    place = place_files(tmp_path / "own", files)
    text = refusal(lambda: load(path=place))
    assert text.startswith(str(place))
    assert expected in text


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("checked", [True, False])
def test_a_pickle_with_a_call_is_refused_with_and_without_a_checksum(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: bool
) -> None:
    assert answers
    form = cifar.FORMATS[1]
    if not checked:
        loose = replace(form, files=dict.fromkeys(form.files, ""))
        monkeypatch.setattr(cifar, "FORMATS", (loose,))
    evil = pickle.dumps({"data": PIXELS[0], "labels": [_Touch(tmp_path / "touched")]}, 4)
    place = place_files(tmp_path / "own", content(form) | {"data_batch_3": evil})
    text = refusal(lambda: load(path=place))
    assert text.startswith(f"{place}")
    assert "data_batch_3" in text
    assert ("has MD5" if checked else "names 'posix system'") in text
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"data": PIXELS[0]},
        {"data": PIXELS[0], "labels": LABELS[0].tolist()[:-1]},
        {"data": PIXELS[0], "labels": [True] * RECORDS},
        {"data": PIXELS[0], "labels": ["1"] * RECORDS},
        {"data": PIXELS[0][:, :-1], "labels": LABELS[0].tolist()},
        {"data": PIXELS[0, :0], "labels": []},
        {"data": "pixels", "labels": LABELS[0].tolist()},
    ],
)
def test_a_pickle_of_another_table_is_refused(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: object
) -> None:
    assert answers
    form = cifar.FORMATS[1]
    monkeypatch.setattr(cifar, "FORMATS", (replace(form, files=dict.fromkeys(form.files, "")),))
    place = place_files(tmp_path / "own", content(form) | {"test_batch": pickle.dumps(table, 4)})
    assert "test_batch: holds no images of 3072 bytes" in refusal(lambda: load(path=place))


def test_a_missing_file_is_named(answers: Files, tmp_path: Path) -> None:
    assert answers
    place = place_files(tmp_path / "own", content(cifar.FORMATS[0]))
    (place / "data_batch_4.bin").unlink()
    assert f"{place / 'data_batch_4.bin'}: cannot be read" in refusal(lambda: load(path=place))


def test_a_missing_member_is_named(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers
    form = cifar.FORMATS[0]
    files = content(form)
    del files["test_batch.bin"]
    raw = packed(form, files)
    monkeypatch.setattr(cifar, "FORMATS", (replace(form, md5=md5(raw)),))
    place = place_files(tmp_path / form.archive, raw)
    assert "test_batch.bin is missing" in refusal(lambda: load(path=place))


def test_a_file_above_the_size_limit_is_not_read(
    answers: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 10_000)
    place = place_files(tmp_path / "own", content(cifar.FORMATS[0]))
    assert "has more than 10000 bytes" in refusal(lambda: load(path=place))
