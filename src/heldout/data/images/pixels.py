"""The pixels of many images of one size, (n, height, width, channels): in memory, or in a file where they do not fit.

Such a file lies in the folder for temporary files (TMPDIR), has no name there, and is gone when nothing uses it.
It is written from front to back and then only read.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heldout.errors import InputError, WorkError
from heldout.memory import physical_memory

Pixels = NDArray[Any]  # (n, height, width, channels), uint8 or float32
SHARE = 0.25  # of the memory that the pixels of a table may take; what is larger goes to a file
MOST_SIDE = 2**14  # pixels of a side, or channels
BLOCK = 2**24  # bytes of pixels that are worked on at a time
LUMA = np.array([299, 587, 114], np.float32) / 1000  # grey of red, green and blue (ITU-R BT.601)


def collected(blocks: Iterable[Pixels], most: int, shape: Sequence[int], dtype: Any) -> Pixels:
    """Blocks of images, one after the other, as one array of at most `most` images of this shape.

    In memory where `most` images take up to a quarter of it, else a map of a temporary file. Raises WorkError where
    the disk has no room for that.
    """
    row = math.prod(shape) * np.dtype(dtype).itemsize
    if most * row > SHARE * physical_memory():
        return _in_file(blocks, most * row, shape, dtype)
    made, n = np.empty((most, *shape), dtype), 0
    for block in blocks:
        made[n : n + len(block)] = block
        n += len(block)
    return made[:n]


def _in_file(blocks: Iterable[Pixels], size: int, shape: Sequence[int], dtype: Any) -> Pixels:
    folder = tempfile.gettempdir()
    advice = f"take a smaller --size, or set TMPDIR to a folder with {size / 1e9:,.1f} GB free"
    if shutil.disk_usage(folder).free < size:
        raise WorkError(f"The images do not fit into memory, nor onto the disk of {folder}: {advice}.")
    n = 0
    with tempfile.TemporaryFile() as file:
        try:
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype).data)
                n += len(block)
            file.flush()
        except OSError as error:
            raise WorkError(f"The images could not be kept in {folder} ({error.strerror}): {advice}.") from error
        return np.memmap(file, dtype, "r", shape=(n, *shape)) if n else np.empty((0, *shape), dtype)


def blocks_of(pixels: Pixels) -> Iterator[Pixels]:
    """The images in their order, a few at a time."""
    step = _step(pixels)
    for start in range(0, len(pixels), step):
        yield pixels[start : start + step]


def _step(pixels: Pixels) -> int:
    return max(1, BLOCK // max(1, math.prod(pixels.shape[1:]) * pixels.dtype.itemsize))


def taken(pixels: Pixels, rows: NDArray[np.integer[Any]]) -> Pixels:
    """These images, in this order; the values are copied."""
    step = _step(pixels)
    blocks = (pixels[rows[start : start + step]] for start in range(0, len(rows), step))
    return collected(blocks, len(rows), pixels.shape[1:], pixels.dtype)


def joined(parts: Sequence[Pixels]) -> Pixels:
    """The images of several arrays of one size, one array after the other."""
    first = parts[0]
    blocks = (block for part in parts for block in blocks_of(part))
    return collected(blocks, sum(map(len, parts)), first.shape[1:], first.dtype)


def masked(pixels: Pixels, key: bytes) -> Pixels:
    """The bytes of each image, (n, bytes), changed by a stream that `key` begins; the same again gives them back."""
    row = math.prod(pixels.shape[1:]) * pixels.dtype.itemsize
    flat = pixels.reshape(len(pixels), -1).view(np.uint8)

    def changed() -> Iterator[Pixels]:
        for number, block in enumerate(blocks_of(flat)):
            stream = hashlib.shake_256(key + number.to_bytes(8, "little")).digest(block.size)
            yield block ^ np.frombuffer(stream, np.uint8).reshape(block.shape)

    return collected(changed(), len(pixels), (row,), np.uint8)


def greatest(pixels: Pixels) -> float:
    """The greatest absolute value; 1 where all are 0."""
    return max(float(np.abs(block).max()) for block in blocks_of(pixels)) or 1.0


def sha256(pixels: Pixels) -> str:
    """Over all bytes of all images."""
    digest = hashlib.sha256()
    for block in blocks_of(pixels):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


def fingerprint(image: Pixels) -> str:
    """A hash of one image (height, width, channels): equal where all pixels are, be they stored as grey or colour."""
    if image.shape[2] == 3 and (image == image[:, :, :1]).all():
        image = image[:, :, :1]
    digest = hashlib.blake2b(repr((image.shape, image.dtype.name)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def fingerprints(pixels: Pixels) -> list[str]:
    """The `fingerprint` of each image."""
    return [fingerprint(image) for block in blocks_of(pixels) for image in block]


# Arrays into pixels ----------------------------------------------------------------------------------------


def from_array(array: NDArray[Any], source: str) -> Pixels:
    """An array (n, height, width) or (n, height, width, channels): bytes (uint8) as they are, others as float32.

    Raises InputError for other shapes and types, for channels that do not stand last, and for numbers that are not
    finite.

    >>> pixels = from_array(np.full((2, 8, 8), 16), "an array")
    >>> pixels.shape, pixels.dtype
    ((2, 8, 8, 1), dtype('float32'))
    """
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(
            f"{source}: images have the shape (n, height, width) or (n, height, width, channels), not {array.shape}."
        )
    if array.ndim == 4 and array.shape[3] > 4 >= array.shape[1]:
        raise InputError(
            f"{source}: images of the shape {array.shape} have their channels first; put them last: "
            "X.transpose(0, 2, 3, 1)."
        )
    if array.dtype.kind not in "buif":
        raise InputError(f"{source}: images are arrays of numbers, not of {array.dtype}.")
    pixels = array if array.ndim == 4 else array[..., None]
    if pixels.dtype == np.uint8:
        return pixels
    converted = (_finite(block, source).astype(np.float32) for block in blocks_of(pixels))
    return collected(converted, len(pixels), pixels.shape[1:], np.float32)


def _finite(block: Pixels, source: str) -> Pixels:
    with np.errstate(over="ignore"):
        if not np.isfinite(block.astype(np.float32)).all():
            raise InputError(f"{source}: an image holds a pixel that is missing, infinite or beyond single precision.")
    return block


def fitted_to(pixels: Pixels, shape: Sequence[int], dtype: str, source: str) -> tuple[Pixels, list[str]]:
    """Images in this shape (height, width, channels) and type, and sentences about what was changed for that.

    Raises InputError where the channels or the values cannot be made those.
    """
    said = []
    if dtype == "uint8" and not all(_holds_bytes(block) for block in blocks_of(pixels)):
        raise InputError(
            f"{source}: the pixels should be whole numbers from 0 to 255, as those that were learned from, and are "
            "fractions or others; bring them to that scale."
        )
    if pixels.dtype.name != dtype:
        pixels = collected((block.astype(dtype) for block in blocks_of(pixels)), len(pixels), pixels.shape[1:], dtype)
    if pixels.shape[3] != shape[2]:
        said.append(f"{source}: images of {words(pixels.shape[1:])}, were read as {colours(shape[2])}.")
        pixels = _in_channels(pixels, shape[2], source)
    if tuple(pixels.shape[1:3]) != tuple(shape[:2]):
        said.append(
            f"{source}: images of {pixels.shape[2]} x {pixels.shape[1]} pixels were resized to {shape[1]} x {shape[0]}."
        )
        pixels = resized(pixels, (shape[0], shape[1]))
    return pixels, said


def _holds_bytes(block: Pixels) -> bool:
    return block.dtype == np.uint8 or bool(((block >= 0) & (block <= 255) & (block == np.floor(block))).all())


def _in_channels(pixels: Pixels, channels: int, source: str) -> Pixels:
    have = pixels.shape[3]
    if (have, channels) == (1, 3):
        blocks = (np.repeat(block, 3, axis=3) for block in blocks_of(pixels))
    elif (have, channels) == (3, 1):
        whole = pixels.dtype == np.uint8
        greys = (block.astype(np.float32) @ LUMA[:, None] for block in blocks_of(pixels))
        blocks = ((np.rint(grey) if whole else grey).astype(pixels.dtype) for grey in greys)
    else:
        raise InputError(f"{source}: the images have {have} channels, and {channels} are needed.")
    return collected(blocks, len(pixels), (*pixels.shape[1:3], channels), pixels.dtype)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """The images in another size (height, width), whatever shape they had: bilinear, over all pixels that go in."""
    from PIL import Image

    def one(channel: Pixels) -> Pixels:
        image = Image.fromarray(channel)  # "L", or "F"
        return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))

    def smaller() -> Iterator[Pixels]:
        for block in blocks_of(pixels):
            yield np.stack([np.stack([one(c) for c in np.moveaxis(image, 2, 0)], axis=2) for image in block])

    return collected(smaller(), len(pixels), (*size, pixels.shape[3]), pixels.dtype)


def is_shape(value: Any) -> bool:
    """Whether a value from a file is the shape of an image: a list of height, width and channels."""
    sides = value if isinstance(value, list) and len(value) == 3 else [0]
    return all(type(side) is int and 1 <= side <= MOST_SIDE for side in sides)


def words(shape: Sequence[int]) -> str:
    """A shape (height, width, channels) as people say it: "28 x 28 pixels, grey"."""
    return f"{shape[1]} x {shape[0]} pixels, {colours(shape[2])}"


def colours(channels: int) -> str:
    """What so many channels are: grey, colour, or their number."""
    return {1: "grey", 3: "colour"}.get(channels, f"{channels} channels")
