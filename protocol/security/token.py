"""The one line with which a host joins a run.

    dni1:<base64url of msgpack [addresses, head's public key, secret key of enrolment]>

Keys are CURVE keys of 32 bytes; the head's is empty if the run is not encrypted. The secret key
allows its holder to enrol a key of their own, and nothing else.
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
MAX_LENGTH: Final = 4096
_OPTIONS: Final = re.compile(r"\s--[a-z][\w-]*")
"""An option behind the token, in a command line that was pasted whole."""
_AROUND: Final = "'\"`\ufeff"
INSECURE: Final = (
    "INSECURE: this run is not encrypted; anyone who can read its traffic can read data and "
    "weights, join the run, and change its result"
)


@dataclass(frozen=True, slots=True)
class Token:
    """The endpoints of the head, its public key, and the secret key with which a host enrols.

    With an empty `head` nothing is encrypted.
    """

    addresses: tuple[str, ...]
    head: bytes
    secret: bytes = field(repr=False)

    def __str__(self) -> str:
        packed = msgpack.packb([self.addresses, self.head, self.secret])
        return PREFIX + base64.urlsafe_b64encode(packed).rstrip(b"=").decode()

    @property
    def secure(self) -> bool:
        """Whether connections are encrypted and both ends prove their keys."""
        return bool(self.head)

    @classmethod
    def parse(cls, text: str) -> Token:
        """The token in `text`, as a user pastes it. Raises SpecError if there is none.

        White space, quotes, a byte order mark and the command `dni join` are ignored.
        """
        before, found, body = "".join(text.split()).partition(PREFIX)
        body = body.strip(_AROUND)
        if not found and before.strip(_AROUND) in ("", "dnijoin"):
            raise SpecError(f"token: empty; paste all of the line that begins with {PREFIX}")
        if not found or len(body) > MAX_LENGTH:
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
