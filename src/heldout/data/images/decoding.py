"""Image files into pixels, by Pillow: what can be told before decoding, and the decoding."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from heldout.data.images.pixels import fingerprint

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # none that runs another program
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values for a quarter turn
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F")


class DamagedError(Exception):
    """A file that gives no image; the text is the reason, as the end of "FILE: ..."."""


@dataclass(frozen=True)
class Look:
    """What a file's head says: the upright image's height and width, and whether it is grey."""

    height: int
    width: int
    grey: bool


@dataclass(frozen=True)
class Decoded:
    """An image (height, width, channels) in the size and colours asked for; hashes of all its pixels, of the file."""

    pixels: NDArray[np.uint8]
    fingerprint: str
    sha256: bytes


@contextmanager
def pillow_rules() -> Iterator[None]:
    """Pillow's limit on pixels as an error, its other warnings unsaid; for the whole process, while the block lasts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def look(path: Path) -> Look:
    """The head of an image file; DamagedError where it is none."""
    if path.is_symlink() and not path.exists():
        raise DamagedError("is a link to nothing")
    if not path.is_file():
        raise DamagedError("is not a file")
    with _faults(), Image.open(path, formats=FORMATS) as image:
        width, height = image.size
        if image.getexif().get(ORIENTATION) in TURNED:
            width, height = height, width
        return Look(height, width, _is_grey(image))


def decode(path: Path, size: tuple[int, int], channels: int) -> Decoded:
    """The file's image, upright, in this size (height, width) and in grey (1 channel) or colour (3).

    Transparent pixels are shown on white, 16 bits become 8, of several frames the first is taken.
    """
    with _faults():
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            flat = _flat(ImageOps.exif_transpose(image))
        mark = fingerprint(_pixels(flat))
        flat = flat.convert("L" if channels == 1 else "RGB")
        if flat.size != (size[1], size[0]):
            flat = flat.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return Decoded(_pixels(flat), mark, hashlib.sha256(data).digest())


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "P":
        palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GREY_MODES


def _flat(image: Image.Image) -> Image.Image:
    """As 8 bits of grey or colour, with nothing transparent."""
    grey = _is_grey(image)
    if image.mode == "F":
        raise DamagedError("holds floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        on_top = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, on_top).convert("RGB")
    return image.convert("L" if grey else "RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65_535:
        raise DamagedError("holds pixels of more than 16 bits; save it with 8 or 16")
    return Image.fromarray(((values * 255 + 32_767) // 65_535).astype(np.uint8))


@contextmanager
def _faults() -> Iterator[None]:
    """Whatever Pillow raises, as DamagedError with a reason for people."""
    try:
        yield
    except DamagedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = f" of {Image.MAX_IMAGE_PIXELS:,}" if Image.MAX_IMAGE_PIXELS else ""
        raise DamagedError(f"has more pixels than Pillow's limit{limit} (a decompression bomb?)") from None
    except UnidentifiedImageError:
        raise DamagedError(f"is not an image ({', '.join(FORMATS)} are read)") from None
    except PermissionError:
        raise DamagedError("may not be read (permission denied)") from None
    except Exception as error:  # Pillow and its decoders have many kinds for damaged bytes
        raise DamagedError(f"is damaged or cut short ({_first(error)})") from None


def _first(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:100]
