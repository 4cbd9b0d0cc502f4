"""docs/protocol.md has the fields, numbers, tables and dumps that the code has."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import fields
from typing import Final, Literal, get_args, get_origin, get_type_hints

import pytest

from protocol import (
    VERSION,
    Activation,
    Array,
    DataMessage,
    Gradient,
    Message,
    ToCoordinator,
    ToWorker,
)
from protocol.codec import limits
from protocol.codec.arrays import DTYPES
from protocol.codec.binary_header import (
    FORMATS,
    HEADER,
    IN_FRAME,
    IN_SHARED_MEMORY,
    INSIDE,
    MAGIC,
    MARKER_NAMES,
)
from protocol.codec.quantization import SIZES
from protocol.codec.schema import KINDS
from protocol.dataset_info import DatasetInfo
from protocol.messages import FromAgent, ToAgent
from tests.protocol_page import PAGE, SECTIONS, dumped, fences, table
from tests.vectors import CLASSES, VECTORS, Vector, each_vector, frames, received
from workers.channel import Config

every = pytest.mark.parametrize


DUMPS: Final = {i.removeprefix("hex "): block for i, block in fences() if i.startswith("hex ")}
HEADINGS: Final = {kind: f"{number} {kind.__name__}" for number, kind in KINDS.items()}
BY_NAME: Final = {vector["name"]: vector for vector in VECTORS["messages"]}
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


def type_name(hint: object) -> str:
    if get_origin(hint) is Literal:
        *most, last = get_args(hint)
        return f"{', '.join(most)} or {last}"
    if hint == Array:
        return "array"
    names: dict[object, str] = {
        float | None: "float or nil",
        dict[str, object]: "map",
        tuple[str, ...]: "list of str",
        tuple[Array, ...]: "arrays",
    }
    return names.get(hint) or str(getattr(hint, "__name__", hint))


BYTES: Final = {"train": 3, "name": 3, "batch": 8, "credit": 8, "step": 8}
"""Where the fields of data messages lie in the binary header."""
SECOND: Final = {Activation: "step", Gradient: "credit"}
"""The fields that are the second number of a data message."""


def place(kind: type[Message], index: int, name: str) -> int:
    """Where a field that is no array lies: its offset or its index, by the form of the header."""
    if kind not in get_args(DataMessage):
        return index
    return 16 if SECOND.get(kind) == name else BYTES[name]


def layout(kind: type[Message]) -> list[list[str]]:
    """Place, field and type of each field of `kind`, as the page has to have them."""
    hints = get_type_hints(kind)
    scalars = [name for name in hints if "array" not in type_name(hints[name])]
    arrays = [name for name in hints if hints[name] == Array]
    rest = [name for name in hints if hints[name] == tuple[Array, ...]]
    places = sorted((place(kind, i, name), name) for i, name in enumerate(scalars))
    rows = [[str(number), name] for number, name in places]
    rows += [[f"array {i}", name] for i, name in enumerate(arrays)]
    rows += [[f"array {len(arrays)} …", name] for name in rest]
    return [[*row, type_name(hints[row[1]])] for row in rows]


@each_vector("messages")
def test_the_numbers_of_a_data_message_lie_at_their_places(vector: Vector) -> None:
    kind, (header, *_) = CLASSES[vector["message"]], frames(vector)
    if kind not in get_args(DataMessage):
        assert header[0] != MAGIC
        return
    assert header[:3] == bytes([MAGIC, VERSION, vector_kind(vector)])
    for number, name, hint in layout(kind):
        if hint == "int":
            found = int.from_bytes(header[int(number) : int(number) + 8], "little")
            assert found == vector["fields"][name]
        elif "array" not in hint:
            choices = [False, True] if hint == "bool" else list(MARKER_NAMES)
            assert choices[header[int(number)]] == vector["fields"][name]


def vector_kind(vector: Vector) -> int:
    """The number of the message of a vector."""
    return next(number for number, kind in KINDS.items() if kind.__name__ == vector["message"])


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
        assert type(received(BY_NAME[name])) is kind
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


def test_the_quantized_formats_on_the_page_are_those_of_the_code() -> None:
    rows = table("Quantized formats")
    assert {name: (int(number), int(row)) for name, _, number, row, _ in rows} == SIZES
    assert {name: int(code, 16) for name, code, *_ in rows} == {n: FORMATS[n] for n in SIZES}


def test_the_codes_of_arrays_on_the_page_are_those_of_the_code() -> None:
    locations, formats = table("Binary header", 1), table("Binary header", 2)
    assert [int(code, 16) for _, code, _ in locations] == [INSIDE, IN_FRAME, IN_SHARED_MEMORY]
    assert {name: int(code, 16) for name, code, *_ in formats} == FORMATS
    for name, _, _, size in formats:
        assert int(size.split(",")[0]) == (
            DTYPES[name].itemsize if name in DTYPES else SIZES[name][0]
        )


def test_the_binary_header_on_the_page_has_no_gaps() -> None:
    end = 0
    for offset, size, *_ in table("Binary header"):
        assert int(offset) == end
        end += int(size)
    assert end == HEADER.size


@every("heading", ["Limits", "Timings"])
def test_numbers_on_the_page_are_those_of_the_code(heading: str) -> None:
    for name, number, _ in table(heading):
        module, _, constant = name.rpartition(".")
        assert getattr(importlib.import_module(module), constant) == float(number), name


def test_every_limit_of_the_format_is_on_the_page() -> None:
    listed = {name for name, *_ in table("Limits")}
    numbers = {name for name, value in vars(limits).items() if type(value) is int}
    assert {f"protocol.codec.limits.{name}" for name in numbers} <= listed
    assert PAGE.startswith(f"# Wire protocol, version {VERSION}\n")


def test_the_configuration_of_a_worker_is_on_the_page() -> None:
    keys = [f.name for f in fields(Config)]
    assert [list(json.loads(block)) for info, block in fences() if info == "json"] == [keys]
    assert [k for row in table("Starting a worker") for k in row[0].split(", ")] == keys


def test_the_keys_of_a_dataset_are_on_the_page() -> None:
    assert [row[0] for row in table("Dataset")] == [f.name for f in fields(DatasetInfo)]


@every(("number", "group"), [(1, "accepted"), (2, "refused")])
def test_unusual_vectors_are_on_the_page_with_their_reasons(number: int, group: str) -> None:
    rows = table("Test vectors", number)
    assert rows == [[vector["name"], vector["why"]] for vector in VECTORS[group]]


def test_links_within_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in SECTIONS}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors
