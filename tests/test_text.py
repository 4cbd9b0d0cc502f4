"""Text and paths as people, editors and shells give them; and what is no mistake but is said."""

from __future__ import annotations

import codecs
import io
import json
import os
import pwd
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordinator.commands.cluster_parsing import read_token
from protocol import (
    DataConfig,
    LayerConfig,
    Pipeline,
    SpecError,
    TrainConfig,
    pipeline_notes,
    read_pipeline,
)
from protocol.paths import user_path
from protocol.security.token import Token
from protocol.text import LARGEST, read_text_file
from protocol.transport.curve import generate_keys
from tests.conftest import TINY

if TYPE_CHECKING:
    from tests.conftest import Dni

KEYS = generate_keys()
TOKEN = Token(("tcp://10.0.0.1:5701",), bytes.fromhex(KEYS.public), bytes.fromhex(KEYS.secret))
AS_EDITORS_SAVE = {
    "UTF-8": lambda text: text.encode(),
    "a byte order mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CRLF after a mark": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "CR alone": lambda text: text.replace("\n", "\r").encode(),
    "UTF-16": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "UTF-16 of the other order": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "tabs": lambda text: text.replace(" = ", "\t=\t").replace("[data]", "\t[data]\t").encode(),
    "no line feed at the end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("form", AS_EDITORS_SAVE)
def test_a_pipeline_is_read_as_any_editor_saves_it(tmp_path: Path, form: str) -> None:
    plain, file = tmp_path / "tiny.toml", tmp_path / "saved" / "tiny.toml"
    file.parent.mkdir()
    text = TINY.replace('name = "tiny"', 'name = "tiny-λ"')
    plain.write_text(text, "utf-8")
    file.write_bytes(AS_EDITORS_SAVE[form](text))
    assert read_pipeline(file) == read_pipeline(plain)


NO_TEXT = {
    "nothing": (b"", "is empty; data: missing"),
    "blank lines": (b"\r\n \t\r\n", "is empty; data: missing"),
    "a mark alone": (codecs.BOM_UTF8, "is empty; data: missing"),
    "latin-1": (b'a = 1\nname = "\xe9t\xe9"\n', "line 2 is not UTF-8; save the file as UTF-8"),
    "UTF-16 without a mark": (TINY.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "half a UTF-16": (TINY.encode("utf-16")[:-1], "is a binary file"),
    "a zip": (b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xe1\xff", "is a binary file, not text"),
    "zeros": (bytes(100), "it is a binary file, or UTF-16"),
}


@pytest.mark.parametrize("what", NO_TEXT)
def test_what_is_no_text_is_called_what_it_is(tmp_path: Path, what: str) -> None:
    file = tmp_path / "net.toml"
    data, why = NO_TEXT[what]
    file.write_bytes(data)
    with pytest.raises(SpecError) as caught:
        read_pipeline(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_may_be_filled_by_overrides(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").touch()
    words = ["data.name=digits", 'layer=[{modules=["linear 10"]}]']
    assert read_pipeline(tmp_path / "empty.toml", words).name == "empty"


@pytest.mark.parametrize(
    ("name", "why"),
    [("nowhere", "no such file"), ("", "is a folder, not a file"), ("x" * 300, "too long")],
)
def test_what_is_no_file_is_called_what_it_is(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(SpecError, match=why):
        read_text_file(tmp_path / name)


@pytest.mark.parametrize("size", [LARGEST + 1, LARGEST * 2])
def test_a_file_that_is_far_too_large_is_not_read_whole(tmp_path: Path, size: int) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(size)
    with pytest.raises(SpecError, match="is larger than 16 MiB"):
        read_text_file(tmp_path / "huge")


# -- the token


@pytest.mark.parametrize("around", ["{}", "'{}'", '"{}"', "`{}`", "dni join {}", "'dni join {}'\n"])
@pytest.mark.parametrize("form", ["UTF-8", "a byte order mark", "CRLF", "UTF-16", "CR alone"])
@pytest.mark.parametrize("before", ["", "  ", "\n\n"])
def test_a_token_is_read_from_any_file(
    monkeypatch: pytest.MonkeyPatch, around: str, form: str, before: str
) -> None:
    if before.strip(" ") and form in ("UTF-16", "CR alone"):
        before = ""
    data = AS_EDITORS_SAVE[form](f"{before}{around.format(TOKEN)}\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_token("-") == TOKEN
    assert read_token(around.format(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "token: empty"),
        (b"\n \n", "token: empty"),
        (b"\x00\x01\xff\n", "token: standard input: "),
        (b"hello\n", "does not begin with dni1:"),
        (b"dni1:\n", "damaged"),
        (b"dni join\n", "token: empty"),
    ],
)
def test_what_is_no_token_on_standard_input_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, data: bytes, why: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    with pytest.raises(SpecError, match=why):
        read_token("-")


def test_no_more_is_read_than_the_line_of_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO(f"{TOKEN}\nand more\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(raw))
    assert read_token("-") == TOKEN
    assert sys.stdin.buffer.readline() == b"and more\n"


def test_standard_input_that_is_closed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SpecError, match="standard input is closed"):
        read_token("-")


# -- paths


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("~", "/home/ada"), ("~/runs/a", "/home/ada/runs/a"), ("a/~/b", "a/~/b"), ("./~x", "~x")],
)
def test_a_home_folder_is_put_in(monkeypatch: pytest.MonkeyPatch, text: str, wanted: str) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(user_path(text, "--run-dir")) == wanted


@pytest.mark.parametrize("home", [None, ""])
@pytest.mark.parametrize("text", ["~", "~/runs", "~nobody-of-this-name", "~nobody-of-this-name/x"])
def test_a_home_folder_that_is_not_known_is_told(
    monkeypatch: pytest.MonkeyPatch, text: str, home: str | None
) -> None:
    def unknown(who: object) -> None:
        raise KeyError(who)

    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    why = "no user 'nobody-of-this-name'" if "nobody" in text else "HOME is not set"
    with pytest.raises(SpecError, match=f"^--run-dir: {text}: .*{why}"):
        user_path(text, "--run-dir")


@pytest.mark.parametrize(("text", "rest"), [("~", ""), ("~/x", "/x"), ("~/a/~b", "/a/~b")])
def test_an_empty_home_is_none(monkeypatch: pytest.MonkeyPatch, text: str, rest: str) -> None:
    monkeypatch.setenv("HOME", "")
    assert str(user_path(text, "--run-dir")) == pwd.getpwuid(os.getuid()).pw_dir + rest


@pytest.mark.parametrize("text", ["", "a\0b", "\0"])
def test_what_can_be_no_path_is_told(text: str) -> None:
    with pytest.raises(SpecError, match=r"^data\.path: .* cannot be a path"):
        user_path(text, "data.path")


def test_a_path_in_a_pipeline_may_begin_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    file = tmp_path / "net.toml"
    file.write_text(TINY.replace('name = "digits"', 'path = "~/mine.npz"'), "utf-8")
    assert read_pipeline(file).data.path == "/home/ada/mine.npz"
    changed = read_pipeline(file, ["data.path=~/other.npz"])
    assert changed.data.path == "/home/ada/other.npz"
    with pytest.raises(SpecError, match=r"net\.toml: data\.path: ~nobody-here/x: there is no user"):
        read_pipeline(file, ["data.path=~nobody-here/x"])


def test_every_option_and_argument_takes_a_home_folder(dni: Dni, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "net.toml").write_text(TINY, "utf-8")
    fewer = ("--engine", "inline", "-o", "train.steps=20")

    def ran(*words: str) -> None:
        done = dni(*words, environment={"HOME": str(home)})
        assert done.returncode == 0, done.stderr

    ran("run", "~/net.toml", "--run-dir", "~/runs/a", *fewer)
    ran("evaluate", "~/runs/a")
    ran("trace", "timeline", "~/runs/a", "--svg", "~/a.svg", "--html", "~/a.html")
    ran("trace", "export", "~/runs/a", "--to", "csv", "~/a.csv")
    ran("compare", "~/net.toml", "--rules", "cdni", "--seeds", "1", "--out", "~/out", *fewer)
    made = {path.name for path in home.iterdir() if path.name[0] != "."}  # of matplotlib
    assert made == {"net.toml", "runs", "a.svg", "a.html", "a.csv", "out"}
    assert not (dni.home / "~").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("run", "~no-such-user/net.toml"),
        ("run", "--run-dir", "~no-such-user/a"),
        ("evaluate", "~no-such-user/a"),
        ("compare", "--out", "~no-such-user/a"),
        ("trace", "export", "runs/a", "--to", "csv", "~no-such-user/a"),
    ],
    ids=str,
)
def test_the_home_folder_of_nobody_is_a_mistake_of_one_line(
    dni: Dni, words: tuple[str, ...]
) -> None:
    run = dni.home / "runs" / "a"
    run.mkdir(parents=True)
    (run / "pipeline.toml").write_text(TINY, "utf-8")
    said = dni(*words)
    assert said.returncode == 2
    (line,) = said.stderr.splitlines()
    assert "~no-such-user/" in line
    assert "there is no user 'no-such-user'" in line


# -- notes


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
def test_what_comes_after_the_last_step_is_noted(train: TrainConfig, wanted: list[str]) -> None:
    pipeline = Pipeline(data=DataConfig(name="digits"), layer=(LayerConfig(("linear 10",)),))
    found = pipeline_notes(replace(pipeline, train=train))
    assert len(found) == len(wanted)
    assert all(note.startswith(word) for note, word in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    "words",
    [
        ("run", "tiny.toml", "--engine", "inline", "--run-dir", "run"),
        ("check", "tiny.toml"),
        ("compare", "tiny.toml", "--rules", "cdni,dni", "--seeds", "2", "--engine", "inline"),
    ],
)
def test_a_note_is_shown_once_and_is_no_error(dni: Dni, words: tuple[str, ...]) -> None:
    late = ("-o", "train.steps=20", "-o", "train.lr_drops=[30]")
    said = dni(*words, *late)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("note: train.lr_drops: 30 is more than train.steps (20)") == 1
    silent = dni(*words, *late, "--json", *["--force"] * (words[0] == "run"))
    assert silent.returncode == 0, silent.stderr
    assert json.loads(silent.stdout)
    assert "note: " in (silent.stdout if words[0] == "check" else silent.stderr)


# -- characters that look like others


@pytest.mark.parametrize(
    ("wrong", "right", "odd"),
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
        ('[train]\nschedule = "fr\u0435e"', "[train]", "it has U+0435, CYRILLIC SMALL LETTER IE"),
    ],
    ids=ascii,
)
def test_a_character_that_looks_like_another_is_named(
    tmp_path: Path, wrong: str, right: str, odd: str
) -> None:
    path = tmp_path / "p.toml"
    path.write_text(TINY.replace(right, wrong, 1), "utf-8")
    with pytest.raises(SpecError) as caught:
        read_pipeline(path)
    assert str(caught.value).endswith(f"; {odd}")


@pytest.mark.parametrize("key", ["st\u0435ps", "lr\u200b"])
def test_so_it_is_in_an_override(tmp_path: Path, key: str) -> None:
    (tmp_path / "p.toml").write_text(TINY, "utf-8")
    with pytest.raises(SpecError, match=r"did you mean 'train\.(steps|lr)'\?; it has U"):
        read_pipeline(tmp_path / "p.toml", [f"train.{key}=3"])
    with pytest.raises(SpecError, match=r"train.steps=100; it has U\+FF1D"):
        read_pipeline(tmp_path / "p.toml", ["train.steps\uff1d3"])


@pytest.mark.parametrize("line", ['name = "λ # \u201c"  x', "# π\nx", "'\xa0' = 3 x", "x"])
def test_what_may_stand_in_strings_and_comments_is_not_named(tmp_path: Path, line: str) -> None:
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
def test_marks_before_and_ctrl_z_behind_a_text_are_passed_over(
    tmp_path: Path, before: str, after: str, encoding: str
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_bytes((before + TINY + after).encode(encoding))
    assert read_pipeline(path).name == "tiny"
