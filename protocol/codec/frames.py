"""Messages to frames and back: the only place where bytes of a peer become messages.

A message is a header and one raw frame for each array that lies neither inside the header nor in
shared memory. The header of a data message is binary (`protocol.codec.binary_header`), that of a
control message is msgpack (`protocol.codec.control`); the first byte tells one from the other.

`decode` raises WireError and nothing else, allocates nothing in proportion to what a header claims,
never unpickles and never evaluates. Decoded arrays are read-only views of the frames, except
quantized ones, which take as much memory as the bytes that came tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.codec.arrays import Frame, Place, Rest, View, WireError
from protocol.codec.binary_header import MAGIC
from protocol.codec.control import decode_control, encode_control
from protocol.codec.data_decoding import decode_data
from protocol.codec.data_encoding import encode_data
from protocol.codec.limits import MAX_HEADER
from protocol.codec.quantization import FLOAT32
from protocol.messages import Activation, Array, Credit, Gradient, Marker, Message

_DATA: Final = (Activation, Gradient, Credit, Marker)


def encode(
    message: Message, place: Place | None = None, edge_dtype: str = FLOAT32
) -> list[bytes | Array]:
    """The frames of `message`, the header first; array frames share memory with its arrays.

    The first array of an activation or a gradient travels in the format `edge_dtype`; if it is not
    small it goes to `place`, if there is one. Raises TypeError for a message that no peer would
    decode.
    """
    if isinstance(message, _DATA):
        return encode_data(message, place, edge_dtype)
    return encode_control(message)


def decode(frames: Sequence[Frame], view: View | None = None, rest: Rest = tuple) -> Message:
    """The message in `frames`; its arrays are read-only views of them, or of shared memory.

    Lists are tuples in it. `view` reads shared memory. If `frames` is the header alone, `rest`
    returns the other frames; it is called only if the header describes some. Raises WireError for
    bytes that are no message.
    """
    try:
        header = frames[0]
        if len(header) > MAX_HEADER:
            raise WireError(f"a header of {len(header)} bytes")
        if header[0] == MAGIC:
            return decode_data(frames, view, rest)
        return decode_control(frames, rest)
    except WireError:
        raise
    except Exception as error:  # whatever a peer's bytes provoke is the peer's mistake
        raise WireError(f"{type(error).__name__}: {error!s:.80}") from error
