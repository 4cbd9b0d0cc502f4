"""docs/protocol.md and docs/vectors.json say what the code does, to the byte."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints

import numpy as np
import pytest

from protocol import (
    VERSION,
    Array,
    DataMessage,
    Edge,
    Message,
    Pipeline,
    State,
    ToCoordinator,
    ToWorker,
    WireError,
    config,
    decode,
    encode,
    from_dict,
    pipeline,
)
from protocol.codec import frames as codec_frames
from protocol.codec import quantization
from protocol.codec.schema import BY_CLASS, DTYPES, KINDS
from protocol.dataset_info import DatasetInfo
from protocol.messages import FromAgent, ToAgent
from workers.channel import Config

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = (DOCS / "protocol.md").read_text("utf-8")
VECTORS: Final = json.loads((DOCS / "vectors.json").read_text("utf-8"))
CLASSES: Final = {kind.__name__: kind for kind in KINDS.values()}

Vector = dict[str, Any]
every = pytest.mark.parametrize


def named(*groups: str) -> pytest.MarkDecorator:
    """A parameter `vector` for each vector of `groups`, under its name."""
    vectors = [vector for group in groups for vector in VECTORS[group]]
    return every("vector", vectors, ids=[vector["name"] for vector in vectors])


def frame(written: Any) -> bytes:
    """A frame from hex digits, a repetition of them, or a list of such parts."""
    if isinstance(written, list):
        return b"".join(map(frame, written))
    if isinstance(written, dict):
        return frame(written["repeat"]) * int(written["times"])
    return bytes.fromhex(written)


def frames(vector: Vector) -> list[bytes]:
    return [frame(written) for written in vector["frames"]]


def array(written: Vector) -> Array:
    values = np.array(written["values"], written["dtype"])
    return np.resize(values, written["shape"])


def value(hint: object, written: Any) -> object:
    if hint == Array:
        return array(written)
    if hint == tuple[Array, ...]:
        return tuple(map(array, written))
    if isinstance(written, list):
        return tuple(value(object, item) for item in written)
    if isinstance(written, dict):
        return {key: value(object, item) for key, item in written.items()}
    return float(written) if hint is float else written


def message(vector: Vector) -> Message:
    """The message that `vector` tells of in words."""
    kind = CLASSES[vector["message"]]
    hints = get_type_hints(kind)
    assert list(vector["fields"]) == list(hints)
    named: dict[str, Any] = {n: value(hints[n], v) for n, v in vector["fields"].items()}
    return kind(**named)


class Memory(NamedTuple):
    """What both ends share, where array 0 of a vector lies at its place."""

    place: int
    held: list[bytes]

    def put(self, array: Array) -> int:
        self.held.append(array.tobytes())
        return self.place

    def view(self, start: int, size: int) -> memoryview:
        (array,) = self.held
        assert (start, size) == (self.place, len(array))
        return memoryview(array)


def memory(vector: Vector) -> Memory | None:
    """The memory that `vector` needs, with nothing in it yet."""
    return Memory(vector["place"], []) if "place" in vector else None


def received(vector: Vector) -> Message:
    """What its frames, and what lies in its memory, decode to."""
    shared = memory(vector)
    if shared:
        placed = message(vector)
        shared.put(BY_CLASS[type(placed)].arrays(placed)[0])
    return decode(frames(vector), shared)


def content(of: Message) -> list[object]:
    """All of a message in a form that is equal where type and every bit are."""

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.shape, value.tobytes()
        return [plain(item) for item in value] if isinstance(value, tuple) else repr(value)

    return [type(of), *(plain(getattr(of, name)) for name in get_type_hints(type(of)))]


# -- the vectors


@named("messages")
def test_a_vector_is_what_we_send(vector: Vector) -> None:
    made = encode(message(vector), memory(vector), vector.get("wire", quantization.FULL))
    sent = [f if isinstance(f, bytes) else f.tobytes() for f in made]
    assert [f.hex(" ") for f in sent] == [f.hex(" ") for f in frames(vector)]


@named("messages", "accepted")
def test_a_vector_is_understood(vector: Vector) -> None:
    assert content(received(vector)) == content(message(vector))


@named("accepted")
def test_an_accepted_vector_is_one_that_we_do_not_send(vector: Vector) -> None:
    sent = [f if isinstance(f, bytes) else f.tobytes() for f in encode(message(vector))]
    assert sent != frames(vector)


@named("refused")
def test_a_refused_vector_is_refused(vector: Vector) -> None:
    with pytest.raises(WireError):
        decode(frames(vector))


def test_every_message_every_word_and_every_dtype_has_a_vector() -> None:
    made = [received(vector) for vector in VECTORS["messages"]]
    assert {type(m) for m in made} == set(KINDS.values())
    for kind in KINDS.values():
        for name, hint in get_type_hints(kind).items():
            if get_origin(hint) is Literal:
                said = {getattr(m, name) for m in made if type(m) is kind}
                assert said == set(get_args(hint))
    assert {a.dtype.str for m in made if isinstance(m, State) for a in m.arrays} == set(DTYPES)


def test_vectors_have_names_of_their_own_and_the_version_of_the_code() -> None:
    names = [v["name"] for group in ("messages", "accepted", "refused") for v in VECTORS[group]]
    assert len(set(names)) == len(names)
    assert VECTORS["version"] == VERSION


def test_the_start_among_the_vectors_makes_a_pipeline_and_facts() -> None:
    found = [v["fields"] for v in VECTORS["messages"] if v["message"] == "Start"]
    for start in found:
        edges = from_dict(Pipeline, start["pipeline"]).edges
        assert {Edge.named(door) for door in start["doors"]} <= set(edges)
        assert start["facts"] == from_dict(DatasetInfo, start["facts"]).as_dict()
    assert found


# -- the page


def sections() -> dict[str, str]:
    """The text under each heading, up to the next one of any depth."""
    _, *parts = re.split(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def tables(text: str) -> Iterator[list[list[str]]]:
    """The tables in `text`: rows of cells without backticks and links, the heading left out."""
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        lines = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", block).replace("`", "").splitlines()
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
        yield [[cell.strip().replace("\\|", "|") for cell in row] for row in rows[2:]]


def table(heading: str, number: int = 0) -> list[list[str]]:
    """The `number`-th table under `heading`."""
    return list(tables(SECTIONS[heading]))[number]


def fences() -> Iterator[tuple[str, str]]:
    """What stands behind each opening fence, and the block."""
    yield from re.findall(r"^```(.*)\n((?:(?!```).*\n)*)```$", PAGE, flags=re.MULTILINE)


def dumped(block: str) -> list[bytes]:
    """The frames in a dump."""
    found: list[bytes] = []
    for line in block.splitlines():
        code, _, times = line.partition("#")[0].partition(" x ")
        if code.startswith("frame "):
            found.append(b"")
        else:
            found[-1] += bytes.fromhex(code) * int(times or 1)
    return found


SECTIONS: Final = sections()
DUMPS: Final = {i.removeprefix("hex "): block for i, block in fences() if i.startswith("hex ")}
HEADINGS: Final = {kind: f"{number} {kind.__name__}" for number, kind in KINDS.items()}
each_kind = every("kind", KINDS.values(), ids=lambda kind: kind.__name__)


def test_every_dump_on_the_page_is_a_vector() -> None:
    assert len(DUMPS) == sum(info.startswith("hex") for info, _ in fences()) > 0
    vectors = {vector["name"]: frames(vector) for vector in VECTORS["messages"]}
    for name, block in DUMPS.items():
        assert dumped(block) == vectors[name], name


def test_no_block_on_the_page_is_a_dump_in_disguise() -> None:
    assert {info.split()[0] for info, _ in fences()} == {"hex", "json", "text"}
    assert PAGE.count("```") == 2 * len(list(fences()))
    for info, block in fences():
        assert info.startswith("hex ") or not re.search(r"\b[0-9a-f]{2}( [0-9a-f]{2}){3}\b", block)


def test_the_page_has_a_section_for_each_message_and_no_other() -> None:
    numbered = [heading for heading in SECTIONS if re.match(r"\d", heading)]
    assert numbered == [HEADINGS[kind] for kind in KINDS.values()]


def test_the_overview_lists_each_message_with_its_number_and_direction() -> None:
    rows = table("Messages")
    assert [(int(kind), name) for kind, name, *_ in rows] == [
        (number, kind.__name__) for number, kind in KINDS.items()
    ]
    for _, name, sender, receiver, _ in rows:
        kind = CLASSES[name]
        assert (sender == "coordinator") == (kind in get_args(ToWorker | ToAgent))
        assert (receiver == "coordinator") == (kind in get_args(ToCoordinator | FromAgent))
        assert ("neighbour" in receiver) == (kind in get_args(DataMessage))


def type_in_words(hint: object) -> str:
    if get_origin(hint) is Literal:
        *most, last = get_args(hint)
        return f"{', '.join(most)} or {last}"
    if hint == Array:
        return "array"
    words: dict[object, str] = {
        float | None: "float or nil",
        dict[str, object]: "map",
        tuple[str, ...]: "list of str",
        tuple[Array, ...]: "arrays",
    }
    return words.get(hint) or str(getattr(hint, "__name__", hint))


def layout(kind: type[Message]) -> list[list[str]]:
    """Place, field and type of each field of `kind`, as the page has to have them."""
    hints = get_type_hints(kind)
    scalars = [name for name in hints if "array" not in type_in_words(hints[name])]
    arrays = [name for name in hints if hints[name] == Array]
    rest = [name for name in hints if hints[name] == tuple[Array, ...]]
    rows = [[str(i), name] for i, name in enumerate(scalars)]
    rows += [[f"array {i}", name] for i, name in enumerate(arrays)]
    rows += [[f"array {len(arrays)} …", name] for name in rest]
    return [[*row, type_in_words(hints[row[1]])] for row in rows]


@each_kind
def test_the_fields_of_a_message_are_on_the_page_in_their_order(kind: type[Message]) -> None:
    text = SECTIONS[HEADINGS[kind]]
    if not get_type_hints(kind):
        assert "No\nfields." in text or "No fields." in text
        return
    rows = table(HEADINGS[kind])
    assert [row[:3] for row in rows] == layout(kind)
    assert all(meaning for *_, meaning in rows)


@each_kind
def test_a_message_has_an_annotated_example(kind: type[Message]) -> None:
    names = re.findall(r"^```hex (.+)$", SECTIONS[HEADINGS[kind]], flags=re.MULTILINE)
    assert names
    for name in names:
        assert type(decode(dumped(DUMPS[name]))) is kind
        comments = re.findall(r"#\s+(\w+)", DUMPS[name])
        rest = iter(comments)
        assert all(field in rest for _, field, _ in layout(kind)), "not there, or not in order"


def test_the_dtypes_on_the_page_are_those_of_the_code() -> None:
    kinds = {"bool": "b", "signed": "i", "unsigned": "u", "IEEE": "f"}
    rows = table("Arrays")
    assert [dtype for dtype, *_ in rows] == list(DTYPES)
    for dtype, element, size in rows:
        assert DTYPES[dtype].kind == kinds[re.split(r"\W", element)[0]]
        assert DTYPES[dtype].itemsize == int(size)


def test_the_narrow_forms_on_the_page_are_those_of_the_code() -> None:
    rows = table("Narrow forms")
    assert {form: (int(number), int(row)) for form, number, row, _ in rows} == quantization.SIZES
    sent = {str(vector["frames"]) for vector in VECTORS["messages"] if "wire" in vector}
    assert all(any(form.encode().hex() in frame for frame in sent) for form in quantization.SIZES)


@every("heading", ["Limits", "Timings"])
def test_numbers_on_the_page_are_those_of_the_code(heading: str) -> None:
    for name, number, _ in table(heading):
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(module), constant) == float(number), name


def test_every_limit_of_the_format_is_on_the_page() -> None:
    listed = {name for name, *_ in table("Limits")}
    numbers = {name for name, value in vars(codec_frames).items() if type(value) is int}
    limits = [name for name in numbers if name.isupper() and name[0] != "_"]
    assert {f"protocol.codec.frames.{n}" for n in limits if n != "VERSION"} <= listed
    assert PAGE.startswith(f"# Wire protocol, version {VERSION}\n")


def pipeline_keys(cls: type[Any] = Pipeline, prefix: str = "") -> Iterator[list[str]]:
    """Key, type and default of each key of a pipeline, in the words of the page."""
    hints = get_type_hints(cls)
    for f in fields(cls):
        hint, key = hints[f.name], prefix + f.name
        if is_dataclass(hint):
            yield from pipeline_keys(cast(type[Any], hint), f"{key}.")
        elif hint == tuple[config.LayerConfig, ...]:
            yield from pipeline_keys(config.LayerConfig, f"{key}[].")
        else:
            word = str(hint)
            while "tuple" in word:
                word = re.sub(r"tuple\[([\w ]+), \.\.\.\]", r"list of \1", word)
            word = re.sub(r"<class '(\w+)'>", r"\1", word).replace(" | None", " or none")
            word = word.replace("dict[str, str]", "map of str")
            value = f.default_factory() if f.default_factory is not MISSING else f.default
            default = "none" if value is None else json.dumps(value, default=repr)
            yield [key, word, "required" if value is MISSING else default]


def test_the_keys_of_a_pipeline_are_on_the_page() -> None:
    assert table("Pipeline") == list(pipeline_keys())


@every(
    "key",
    [
        *("rule", "train.optimizer", "train.schedule", "train.loss", "train.on_nonfinite"),
        *("trace.mode", "edge_dtype"),
    ],
)
def test_the_words_of_a_key_are_on_the_page(key: str) -> None:
    words = {
        "rule": pipeline.RULES,
        "train.optimizer": config.OPTIMIZERS,
        "train.schedule": config.SCHEDULES,
        "train.loss": config.LOSSES,
        "train.on_nonfinite": config.ON_NONFINITE,
        "trace.mode": config.TRACES,
        "edge_dtype": quantization.WIRES,
    }
    assert dict(table("Pipeline", 1))[key] == ", ".join(words[key])


def test_the_configuration_of_a_worker_is_on_the_page() -> None:
    keys = [f.name for f in fields(Config)]
    assert [list(json.loads(block)) for info, block in fences() if info == "json"] == [keys]
    assert [k for row in table("Starting a worker") for k in row[0].split(", ")] == keys


def test_the_facts_are_on_the_page() -> None:
    assert [row[0] for row in table("Facts")] == [f.name for f in fields(DatasetInfo)]


@every(("number", "group"), [(1, "accepted"), (2, "refused")])
def test_unusual_vectors_are_on_the_page_with_their_reasons(number: int, group: str) -> None:
    rows = table("Test vectors", number)
    assert rows == [[vector["name"], vector["why"]] for vector in VECTORS[group]]


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
