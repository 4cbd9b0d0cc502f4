"""Decodes one image file into an array of 8-bit pixels.

Pillow decodes. The content of a file, not its name, determines the format. Formats for which Pillow
starts another program, or which it recognises but cannot decode, are never opened.
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
"""The largest number of pixels of an image."""
DECODE_VERSION: Final = 4
"""The version of the conversion from an archive to arrays, notes and class names, here and in
`image_folder`. It is part of the name of cached arrays: increase it with every change."""
_CLOSED: Final = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
_AMBIGUOUS: Final = {"DIB"}
"""Formats whose first bytes occur in other files too."""
_TEXT: Final = re.compile(rb"(?!P[1-7]\s)[\t\n\r -~]*")
"""Matches text that is not a Netpbm image, whose header is text too."""
_DEEP: Final = re.compile(r"(?:L|LA|RGBA?|RGBX|RGBa|CMYK);(?:12|16|32)[A-Z]*")
"""Raw modes with more than 8 bits per channel, which Pillow silently truncates to 8."""
_COLOURS: Final = {"L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ORIENTATION: Final = 0x0112  # an EXIF tag
_BITS: Final = 258  # the TIFF tag of the bits per channel
_SGI_BYTES: Final = 3  # the offset of the bytes per channel in an SGI header
_HALF_FLOATS: Final = 6  # the block compression of DDS files with 16 bits per channel


class ImageType(NamedTuple):
    """The mode and the size in pixels, which all images of a data set must share."""

    mode: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.mode} of {self.width} x {self.height} pixels"


class DecodedImage(NamedTuple):
    """The first of `frames` frames of a file.

    `pixels` is uint8 `(h, w)` in mode L (grey), `(h, w, 3)` in RGB, and `(h, w, 4)` in RGBA.
    """

    type: ImageType
    pixels: NDArray[np.uint8]
    frames: int


class Decoder:
    """Decodes images by Pillow in the allowed formats. Raises DataError without Pillow."""

    def __init__(self, label: str) -> None:
        try:
            # Imported here, because only data sets of images need Pillow.
            from PIL import Image, UnidentifiedImageError
        except ImportError:
            raise DataError(
                f"{label}: images are decoded by Pillow, which is not installed; "
                f"pip install pillow, or install dni with its extra [images]"
            ) from None
        self._pillow, self._unknown = Image, UnidentifiedImageError
        by_suffix = Image.registered_extensions()
        self._formats = tuple(sorted(set(Image.OPEN) - _CLOSED))
        self._suffixes = {end for end, form in by_suffix.items() if form not in _CLOSED}
        known = (Image.OPEN[form][1] for form in self._formats if form not in _AMBIGUOUS)
        self._accepts = [accept for accept in known if accept]

    def is_image(self, member: Member) -> bool:
        """Whether the suffix or the first bytes of the file indicate an image."""
        if PurePosixPath(member.name).suffix.lower() in self._suffixes:
            return True
        with suppress(UnreadableError):
            return self.is_begun(member.head())
        return False

    def is_begun(self, head: bytes) -> bool:
        """Whether `head` begins as an image does. A few formats, such as TGA, have no signature."""
        return not _TEXT.fullmatch(head) and any(self._is_accepted(a, head) for a in self._accepts)

    @staticmethod
    def _is_accepted(accept: Callable[[bytes], bool | str], head: bytes) -> bool:
        with suppress(Exception):  # the file may be shorter than the signature
            return bool(accept(head))
        return False

    def __call__(self, content: bytes) -> DecodedImage:
        """The first frame, rotated by its EXIF orientation. Raises UnreadableError.

        Grey and 1-bit images become L, images with transparency RGBA, and all others RGB.
        """
        if not content:
            raise UnreadableError("is empty")
        try:
            with warnings.catch_warnings():
                # Every relevant fault raises an error, so the warnings of Pillow are dropped.
                warnings.simplefilter("ignore")
                with self._pillow.open(io.BytesIO(content), formats=self._formats) as image:
                    return self._decoded(image, content)
        except UnreadableError:
            raise
        except self._unknown:
            raise UnreadableError("is not an image that Pillow can read") from None
        # Every exception: the errors of Pillow for broken images are not documented.
        except Exception as error:
            reason = textwrap.shorten(str(error), 160)
            raise UnreadableError(f"cannot be decoded: {reason}") from error

    def _decoded(self, image: ImageFile, content: bytes) -> DecodedImage:
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableError(
                f"has {image.width} x {image.height} pixels; at most {MAX_PIXELS:,} are allowed",
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
        """`made`, rotated by the EXIF orientation of `source`."""
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
    """The mode to convert a loaded image to. Raises UnreadableError."""
    if image.has_transparency_data:
        return "RGBA"
    if (
        image.mode in ("1", "L") and image.format != "GIF"
    ):  # one GIF may be grey and the next one coloured
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


def _is_deep_tile(codec: str, parameters: Any) -> bool:
    """Whether a tile has more than 8 bits per channel, by its codec and the codec's parameters."""
    values = parameters if isinstance(parameters, tuple) else (parameters,)
    if codec == "bcn":
        return bool(values[0] == _HALF_FLOATS)
    if codec == "dds_rgb":
        return any(mask.bit_count() > 8 for mask in values[1])
    if codec in ("ppm", "ppm_plain"):
        return any(isinstance(most, int) and most > 255 for most in values)
    return any(isinstance(value, str) and _DEEP.fullmatch(value) for value in values)


def _byte_after(content: bytes, marker: bytes, offset: int) -> int:
    """The byte `offset` bytes after `marker`; 0 if there is none."""
    at = content.find(marker)
    where = at + len(marker) + offset
    return content[where] if at >= 0 and where < len(content) else 0
