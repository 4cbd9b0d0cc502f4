"""Every vector in docs/vectors.json encodes, decodes or is refused as it says."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from protocol import VERSION, Edge, Pipeline, State, WireError, decode, encode, from_dict
from protocol.codec.arrays import DTYPES
from protocol.codec.quantization import EDGE_DTYPES, FLOAT32
from protocol.codec.schema import KINDS
from protocol.dataset_info import DatasetInfo
from tests.messages import content
from tests.vectors import VECTORS, Vector, each_vector, frames, memory, message, received


@each_vector("messages")
def test_a_vector_is_what_we_send(vector: Vector) -> None:
    shared = memory(vector)
    edge_dtype = vector.get("edge_dtype", FLOAT32)
    made = encode(message(vector), shared.place if shared else None, edge_dtype)
    sent = [f if isinstance(f, bytes) else f.tobytes() for f in made]
    assert [f.hex(" ") for f in sent] == [f.hex(" ") for f in frames(vector)]


@each_vector("messages", "accepted")
def test_a_vector_is_understood(vector: Vector) -> None:
    assert content(received(vector)) == content(message(vector))


@each_vector("accepted")
def test_an_accepted_vector_is_one_that_we_do_not_send(vector: Vector) -> None:
    sent = [f if isinstance(f, bytes) else f.tobytes() for f in encode(message(vector))]
    assert sent != frames(vector)


@each_vector("refused")
def test_a_refused_vector_is_refused(vector: Vector) -> None:
    with pytest.raises(WireError):
        decode(frames(vector))


def test_every_message_every_word_and_every_format_has_a_vector() -> None:
    made = [received(vector) for vector in VECTORS["messages"]]
    assert {type(m) for m in made} == set(KINDS.values())
    for kind in KINDS.values():
        for name, hint in get_type_hints(kind).items():
            if get_origin(hint) is Literal:
                said = {getattr(m, name) for m in made if type(m) is kind}
                assert said == set(get_args(hint))
    assert {a.dtype.str for m in made if isinstance(m, State) for a in m.arrays} == set(DTYPES)
    quantized = {vector.get("edge_dtype", FLOAT32) for vector in VECTORS["messages"]}
    assert quantized == set(EDGE_DTYPES)


def test_vectors_have_names_of_their_own_and_the_version_of_the_code() -> None:
    names = [v["name"] for group in ("messages", "accepted", "refused") for v in VECTORS[group]]
    assert len(set(names)) == len(names)
    assert VECTORS["version"] == VERSION


def test_the_start_among_the_vectors_has_a_valid_pipeline_and_dataset() -> None:
    found = [v["fields"] for v in VECTORS["messages"] if v["message"] == "Start"]
    for start in found:
        edges = from_dict(Pipeline, start["pipeline"]).edges
        assert {Edge.named(edge) for edge in start["endpoints"]} <= set(edges)
        assert start["dataset"] == from_dict(DatasetInfo, start["dataset"]).as_dict()
    assert found
