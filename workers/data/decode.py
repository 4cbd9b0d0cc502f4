"""Decodes one image file into an array of 8-bit pixels, or says why that is not possible.

Pillow decodes. A format is known by the content of a file, not by its name. Formats for which
Pillow calls another program, or which it recognises but cannot decode, are never opened.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocol.errors import DataError
from workers.data.archive import Member, UnreadableError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS: Final = 1 << 24
"""Pixels that one image may have."""
DECODE_VERSION: Final = 3
"""The version of the rules here and in `tree`, by which an archive becomes arrays, notes and names
of classes. It is part of the name of cached arrays and must rise with every change of a rule."""
_CLOSED: Final = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
_VAGUE: Final = {"DIB"}
"""Formats whose first bytes other files have too."""
_TEXT: Final = re.compile(rb"(?!P[1-7]\s)[\t\n\r -~]*")
"""The first bytes of a text, which an image in digits (PPM) may look like."""
_DEEP: Final = re.compile(r"(?:L|LA|RGBA?|RGBX|RGBa|CMYK);(?:12|16|32)[A-Z]*")
"""Raw modes with more than 8 bits per channel, which Pillow silently cuts to 8."""
_COLOURS: Final = {"L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ORIENTATION: Final = 0x0112  # the tag of EXIF
_BITS: Final = 258  # the tag of TIFF for the bits of each channel
_SGI_BYTES: Final = 3  # where an SGI header has the bytes per channel
_HALF_FLOATS: Final = 6  # the variant of block compression in DDS files with 16 bits per channel


class ImageType(NamedTuple):
    """The mode and size, in pixels, that all images of a data set must share."""

    mode: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.mode} of {self.width} x {self.height} pixels"


class DecodedImage(NamedTuple):
    """uint8 `(h, w)` where the mode is L (grey), `(h, w, 3)` where RGB, `(h, w, 4)` where RGBA.

    `frames` counts those in the file, of which this is the first.
    """

    kind: ImageType
    pixels: NDArray[np.uint8]
    frames: int


class Decoder:
    """Pillow, with the formats that may be opened. Raises DataError where it is not installed."""

    def __init__(self, label: str) -> None:
        try:
            # Not at the top of the module: only data sets of images need Pillow.
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise DataError(
                f"{label}: pictures are decoded by Pillow, which is not installed; "
                f"pip install pillow, or install dni with its extra [images]"
            ) from None
        self._pillow, self._unknown = Image, UnidentifiedImageError
        by_suffix = Image.registered_extensions()
        self._formats = tuple(sorted(set(Image.OPEN) - _CLOSED))
        self._suffixes = {end for end, form in by_suffix.items() if form not in _CLOSED}
        known = (Image.OPEN[form][1] for form in self._formats if form not in _VAGUE)
        self._accepts = [accept for accept in known if accept]

    def is_image(self, member: Member) -> bool:
        """Whether the suffix or the first bytes of the file are those of an image."""
        if PurePosixPath(member.name).suffix.lower() in self._suffixes:
            return True
        with suppress(UnreadableError):
            return self.is_begun(member.head())
        return False

    def is_begun(self, head: bytes) -> bool:
        """Whether `head` are the first bytes of an image. A few formats, such as TGA, have none."""
        return not _TEXT.fullmatch(head) and any(self._is_accepted(a, head) for a in self._accepts)

    @staticmethod
    def _is_accepted(accept: Callable[[bytes], bool | str], head: bytes) -> bool:
        with suppress(Exception):  # of a file that is shorter than the signature
            return bool(accept(head))
        return False

    def __call__(self, content: bytes) -> DecodedImage:
        """The first frame, turned as its EXIF orientation says. Raises Unreadable.

        Grey and 1-bit images become L, those with transparency RGBA, and all others RGB.
        """
        if not content:
            raise UnreadableError("is empty")
        try:
            with warnings.catch_warnings():
                # A fault that matters raises an error; the warnings of Pillow add nothing.
                warnings.simplefilter("ignore")
                with self._pillow.open(io.BytesIO(content), formats=self._formats) as image:
                    return self._decoded(image, content)
        except UnreadableError:
            raise
        except self._unknown:
            raise UnreadableError("is no image that Pillow can read") from None
        # Every exception: Pillow does not document what it raises for broken images.
        except Exception as error:
            reason = textwrap.shorten(str(error), 160)
            raise UnreadableError(f"cannot be decoded: {reason}") from error

    def _decoded(self, image: ImageFile, content: bytes) -> DecodedImage:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError(
                f"claims {image.width} x {image.height} pixels, of which an image may have "
                f"{MAX_PIXELS:,}",
                "resize {}",
            )
        if _is_deep(image, content):
            raise UnreadableError(
                f"has more than 8 bits per channel (mode {image.mode}), which would be cut to 8",
                "save {} with 8 bits, or all as arrays in an .npz",
            )
        frames = 1 if image.format in ("MPO", "PSD") else getattr(image, "n_frames", 1)
        image.load()
        mode = _mode(image)
        made = self._upright(image if image.mode == mode else image.convert(mode), image)
        return DecodedImage(ImageType(mode, *made.size), np.asarray(made, np.uint8), frames)

    def _upright(self, made: Image, source: Image) -> Image:
        """`made`, turned as the EXIF orientation of `source` says."""
        turns = self._pillow.Transpose
        orientation = 1
        with suppress(Exception):  # broken EXIF is ignored
            orientation = source.getexif().get(_ORIENTATION, 1)
        turn = {
            2: turns.FLIP_LEFT_RIGHT,
            3: turns.ROTATE_180,
            4: turns.FLIP_TOP_BOTTOM,
            5: turns.TRANSPOSE,
            6: turns.ROTATE_270,
            7: turns.TRANSVERSE,
            8: turns.ROTATE_90,
        }.get(orientation)
        return made if turn is None else made.transpose(turn)


def _mode(image: ImageFile) -> str:
    """The mode to convert a loaded image to. Raises Unreadable."""
    if image.has_transparency_data:
        return "RGBA"
    if image.mode in ("1", "L") and image.format != "GIF":  # a GIF may be grey and the next one not
        return "L"
    if image.mode in _COLOURS:
        return "RGB"
    raise UnreadableError(f"is of mode {image.mode}", "save {} as RGB, RGBA or grey (L)")


def _is_deep(image: ImageFile, content: bytes) -> bool:
    """Whether the image has more than 8 bits per channel."""
    if image.mode[0] in "IF":
        return True
    match image.format:
        case "JPEG2000":
            return _byte_after(content, b"\xff\x51\0", 37) & 0x7F > 7  # SIZ: the depth less one
        case "AVIF":
            return _byte_after(content, b"pixi\0\0\0\0", 1) > 8
        case "ICO" | "CUR" | "ICNS":  # with a PNG inside
            return _byte_after(content, b"IHDR", 8) > 8
        case "SGI":
            return content[_SGI_BYTES] > 1
        case "TIFF":
            tags = image.tag_v2  # type: ignore[attr-defined]
            return bool(np.max(tags.get(_BITS, 1)) > 8)
    return any(_is_deep_tile(tile[0], tile[3]) for tile in image.tile)


def _is_deep_tile(codec: str, said: Any) -> bool:
    """The same of a part of an image, by its decoder and what that is told."""
    words = said if isinstance(said, tuple) else (said,)
    if codec == "bcn":
        return bool(words[0] == _HALF_FLOATS)
    if codec == "dds_rgb":
        return any(mask.bit_count() > 8 for mask in words[1])
    if codec in ("ppm", "ppm_plain"):
        return any(isinstance(most, int) and most > 255 for most in words)
    return any(isinstance(word, str) and _DEEP.fullmatch(word) for word in words)


def _byte_after(content: bytes, marker: bytes, offset: int) -> int:
    """The byte `offset` behind a `marker`; 0 where there is none."""
    at = content.find(marker)
    where = at + len(marker) + offset
    return content[where] if at >= 0 and where < len(content) else 0
