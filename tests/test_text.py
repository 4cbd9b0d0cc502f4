"""Text files as editors and shells save them, and characters that look like others."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protocol import (
    SpecError,
    read_pipeline,
)
from protocol.text import LARGEST, read_text_file
from tests.dni import TINY

if TYPE_CHECKING:
    pass

AS_EDITORS_SAVE = {
    "UTF-8": lambda text: text.encode(),
    "a byte order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CRLF and a byte order mark": lambda text: (
        codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode()
    ),
    "CR alone": lambda text: text.replace("\n", "\r").encode(),
    "UTF-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "big-endian UTF-16": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "tabs": lambda text: text.replace(" = ", "\t=\t").replace("[data]", "\t[data]\t").encode(),
    "no line feed at the end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("form", AS_EDITORS_SAVE)
def test_a_pipeline_is_read_in_every_form_in_which_editors_save_it(
    tmp_path: Path, form: str
) -> None:
    reference, file = tmp_path / "tiny.toml", tmp_path / "saved" / "tiny.toml"
    file.parent.mkdir()
    text = TINY.replace('name = "tiny"', 'name = "tiny-λ"')
    reference.write_text(text, "utf-8")
    file.write_bytes(AS_EDITORS_SAVE[form](text))
    assert read_pipeline(file) == read_pipeline(reference)


NO_TEXT = {
    "nothing": (b"", "is empty; data: missing"),
    "blank lines": (b"\r\n \t\r\n", "is empty; data: missing"),
    "a byte order mark alone": (codecs.BOM_UTF8, "is empty; data: missing"),
    "latin-1": (b'a = 1\nname = "\xe9t\xe9"\n', "line 2 is not UTF-8; save the file as UTF-8"),
    "UTF-16 without a byte order mark": (
        TINY.encode("utf-16-le"),
        "UTF-16 without a byte order mark",
    ),
    "half a UTF-16": (TINY.encode("utf-16")[:-1], "is a binary file"),
    "a zip": (b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xe1\xff", "is a binary file, not text"),
    "zeros": (bytes(100), "it is a binary file, or UTF-16"),
}


@pytest.mark.parametrize("what", NO_TEXT)
def test_the_error_for_data_that_are_not_text_says_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.chdir(tmp_path)  # an error shortens a long path
    file = Path("net.toml")
    data, reason = NO_TEXT[what]
    file.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        read_pipeline(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_can_replace_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()
    overrides = ["data.name=digits", 'layer=[{modules=["linear 10"]}]']
    assert read_pipeline(tmp_path / "empty.toml", overrides).name == "empty"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("nowhere", "no such file"), ("", "is a folder, not a file"), ("x" * 300, "too long")],
)
def test_the_error_for_a_path_that_is_not_a_file_says_what_it_is(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(SpecError, match=reason):
        read_text_file(tmp_path / name)


@pytest.mark.parametrize("size", [LARGEST + 1, LARGEST * 2])
def test_a_file_above_the_limit_is_refused_without_reading_all_of_it(
    tmp_path: Path, size: int
) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(size)
    with pytest.raises(SpecError, match="is larger than 16 MiB"):
        read_text_file(tmp_path / "huge")


# -- characters that look like others


@pytest.mark.parametrize(
    ("wrong", "right", "note"),
    [
        ("\ufeff[train]", "[train]", "line 5 has U+FEFF, a byte order mark"),
        ("[train]\x1a", "[train]", "line 5 has U+001A, Ctrl-Z"),
        ("\xa0steps = 40", "steps = 40", "line 6 has U+00A0, a no-break space"),
        ("steps\u200b = 40", "steps = 40", "line 6 has U+200B, a zero-width space"),
        ("st\u0435ps = 40", "steps = 40", "line 6 has U+0435, CYRILLIC SMALL LETTER IE"),
        ("steps \uff1d 40", "steps = 40", "line 6 has U+FF1D, FULLWIDTH EQUALS SIGN"),
        ("\u201ctiny\u201d", '"tiny"', "line 1 has U+201C, LEFT DOUBLE QUOTATION MARK"),
        ("\u2018digits\u2019", '"digits"', "line 3 has U+2018, LEFT SINGLE QUOTATION MARK"),
        ("steps = 40\x0b\x07", "steps = 40", "line 6 has U+000B, a control character"),
        ('"\u0455teps" = 40', "steps = 40", "it has U+0455, CYRILLIC SMALL LETTER DZE"),
        (
            '[train]\nschedule = "lockst\u0435p"',
            "[train]",
            "it has U+0435, CYRILLIC SMALL LETTER IE",
        ),
    ],
    ids=ascii,
)
def test_the_error_names_a_character_that_looks_like_another(
    tmp_path: Path, wrong: str, right: str, note: str
) -> None:
    path = tmp_path / "p.toml"
    path.write_text(TINY.replace(right, wrong, 1), "utf-8")
    with pytest.raises(SpecError) as caught:
        read_pipeline(path)
    assert str(caught.value).endswith(f"; {note}")


@pytest.mark.parametrize("key", ["st\u0435ps", "lr\u200b"])
def test_the_error_for_an_override_names_such_a_character_too(tmp_path: Path, key: str) -> None:
    (tmp_path / "p.toml").write_text(TINY, "utf-8")
    with pytest.raises(SpecError, match=r"did you mean 'train\.(steps|lr)'\?; it has U"):
        read_pipeline(tmp_path / "p.toml", [f"train.{key}=3"])
    with pytest.raises(SpecError, match=r"train.steps=100; it has U\+FF1D"):
        read_pipeline(tmp_path / "p.toml", ["train.steps\uff1d3"])


@pytest.mark.parametrize("line", ['name = "λ # \u201c"  x', "# π\nx", "'\xa0' = 3 x", "x"])
def test_characters_in_strings_and_comments_are_not_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.toml").write_text(f"{line}\n", "utf-8")
    with pytest.raises(SpecError, match="not TOML") as caught:
        read_pipeline(tmp_path / "p.toml")
    assert " has U+" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "\x1a"),
        ("", "\n\x1a\n"),
        ("", "\x1a\x1a"),
        ("\ufeff\ufeff", ""),
        ("\ufeff" * 3, "\x1a"),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_leading_byte_order_marks_and_a_trailing_ctrl_z_are_ignored(
    tmp_path: Path, before: str, after: str, encoding: str
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_bytes((before + TINY + after).encode(encoding))
    assert read_pipeline(path).name == "tiny"
