"""The one line that a machine needs to join a run.

    dni1:<base64url of msgpack [addresses, head's public key, secret key of enrolment]>

Keys are CURVE keys of 32 bytes; a head that wants plain text has an empty one. Who holds the secret
may enrol a key of its own, and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final

import msgpack

from protocol.endpoint import ANY_PORT, Endpoint
from protocol.errors import RunError, SpecError

PREFIX: Final = "dni1:"
KEY_BYTES: Final = 32
LONGEST: Final = 4096
_OPTIONS: Final = re.compile(r"\s--[a-z][\w-]*")
"""The words behind the token of a line that was pasted whole."""
_AROUND: Final = "'\"`\ufeff"
INSECURE: Final = (
    "INSECURE: nothing of this run is encrypted; who can read it on its way can read data and "
    "weights, join, and change what is learnt"
)


@dataclass(frozen=True, slots=True)
class Token:
    """Where the head listens, and the keys: its public one, and the secret one to enrol with.

    With an empty `head` everything travels in plain text.
    """

    addresses: tuple[str, ...]
    head: bytes
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        packed = msgpack.packb([self.addresses, self.head, self.secret])
        return PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @property
    def secure(self) -> bool:
        """Whether what is said is encrypted, and who says it known."""
        return bool(self.head)

    @classmethod
    def read(cls, text: str) -> Token:
        """The token that `str` wrote, as a user pastes it. Raises SpecError where `text` is none.

        White space, quotes, a byte order mark and the words of the command do no harm.
        """
        before, found, body = "".join(text.split()).partition(PREFIX)
        body = body.strip(_AROUND)
        if not found and before.strip(_AROUND) in ("", "dnijoin"):
            raise SpecError(f"token: empty; paste all of the line that begins with {PREFIX}")
        if not found or len(body) > LONGEST:
            raise SpecError(f"token: {before[:20]!r} does not begin with {PREFIX}")
        token = cls._decoded(body)
        if token is None:
            options = _OPTIONS.search(text)
            more = f"; give {options[0].strip()} to dni join itself" if options else ""
            raise SpecError(f"token: damaged; copy all of the line{more}")
        return token

    @classmethod
    def _decoded(cls, body: str) -> Token | None:
        try:
            packed = base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
            addresses, head, secret = msgpack.unpackb(packed, use_list=False)
        except (TypeError, ValueError, binascii.Error, msgpack.UnpackException):
            return None
        texts = type(addresses) is tuple and all(map(_is_address, addresses))
        sizes = [len(key) if type(key) is bytes else -1 for key in (head, secret)]
        if not (texts and addresses) or sizes not in ([KEY_BYTES] * 2, [0, KEY_BYTES]):
            return None
        return cls(addresses, head, secret)


def _is_address(value: object) -> bool:
    try:
        return isinstance(value, str) and Endpoint.parse(value, "token").port != ANY_PORT
    except RunError:
        return False
