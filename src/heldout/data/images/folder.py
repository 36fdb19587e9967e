"""A folder of images, a subfolder for each class, as a table: the files' names, their classes, their pixels."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from heldout.data.images import pixels
from heldout.data.images.decoding import DamagedError, Look, decode, look, pillow_rules
from heldout.data.images.wanted import Wanted
from heldout.data.raw import IMAGE, LABEL, Raw, image_column
from heldout.data.table import Column, Source
from heldout.errors import InputError

FILE = "file"
LARGEST_SIDE = 64  # of images in the size that they get unless told otherwise
IGNORED = ("thumbs.db", "desktop.ini")  # and every name that begins with a dot
PARTS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing")
TOGETHER = 256  # files looked at together
SHOWN = 4

Result = TypeVar("Result")


@dataclass(frozen=True)
class Listed:
    """A file that should be an image: where it is, its name below the folder, its class where it lies in one."""

    path: Path
    name: str
    label: str | None


@dataclass
class Faults:
    """What cannot be read, and whether that is refused or left out."""

    source: str
    damaged: str
    found: list[str] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        self.found.append(f"{name} {reason}")

    def settle(self) -> None:
        """InputError where something cannot be read and nothing is to be left out."""
        if self.found and self.damaged == "refuse":
            raise InputError(
                f"{self.source}: {self.listed()}. Remove {'it' if len(self.found) == 1 else 'them'}, or say --damaged "
                "skip to leave out what cannot be read."
            )

    def notices(self) -> tuple[str, ...]:
        return (f"{self.source}: left out as asked: {self.listed()}.",) if self.found else ()

    def listed(self) -> str:
        """The first few of what cannot be read, with reasons."""
        more = len(self.found) - SHOWN
        return "; ".join(self.found[:SHOWN]) + (f"; and {more:,} more" if more > 0 else "")


def load_images(path: Path, wanted: Wanted) -> Raw:
    """The images of a folder (a subfolder a class, or none), or the image of one file.

    Raises InputError where nothing or something else is there, and where a file cannot be read unless such files are
    to be skipped.
    """
    source = _text(path.resolve().name)
    if wanted.channels not in (None, 1, 3):
        raise InputError(
            f"{source}: image files are grey or colour, and images of {wanted.channels} channels are needed."
        )
    faults = Faults(source, wanted.damaged)
    listed = list(_files_of(path, faults)) if path.is_dir() else [Listed(path, source, None)]
    listed, looks = _looked_at(listed, faults)
    if not listed and path.is_dir():
        raise InputError(f"{path} is a directory without images; name a table's file, or a folder of images.")
    faults.settle()
    if not listed:
        raise InputError(f"{faults.listed()}.")
    shape = _shape(looks, wanted)
    images, marks, kept, sha256 = _decoded(listed, shape, faults)
    faults.settle()
    if not kept:
        raise InputError(f"{source} holds no image that can be read: {faults.listed()}.")
    columns = {FILE: [item.name for item in kept]}
    if any(item.label is not None for item in kept):
        columns[LABEL] = [str(item.label) for item in kept]
    known = {name: Column(name, "category", {"missing": []}) for name in columns}
    target = LABEL if LABEL in columns else None
    lacks = f"{source} has no subfolder for each class; put the images of each class into one of its own."
    return Raw(
        pl.DataFrame({**columns, IMAGE: marks}),
        Source(source, str(path), sha256, target=target, lacks=lacks),
        known={**known, IMAGE: image_column(shape, "uint8")},
        pixels=images,
        notices=(*_resizing(looks, shape, source), *faults.notices()),
    )


# Which files -----------------------------------------------------------------------------------------------


def _files_of(folder: Path, faults: Faults) -> Iterator[Listed]:
    try:
        entries = sorted((entry for entry in os.scandir(folder) if not _ignored(entry.name)), key=lambda e: e.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}.") from error
    classes = [entry for entry in entries if entry.is_dir()]
    _require_classes(folder, [entry.name for entry in classes])
    for entry in entries:
        path, name = Path(entry.path), _text(entry.name)
        if not entry.is_dir():
            if classes:
                faults.add(name, "lies in no class folder")
            else:
                yield Listed(path, name, None)
            continue
        below = list(_below(path, folder))
        if not below:
            faults.add(f"{name}/", "is empty")
        yield from (Listed(file, _text(str(file.relative_to(folder))), name) for file in below)


def _require_classes(folder: Path, names: Sequence[str]) -> None:
    """InputError where the subfolders are parts of a split, not classes."""
    if len(names) > 1 and all(name.lower() in PARTS for name in names):
        train = next((name for name in names if "train" in name.lower()), names[0])
        test = next((name for name in names if "test" in name.lower()), names[-1])
        raise InputError(
            f"{folder} holds parts ({', '.join(names)}), not classes; name each: heldout run {folder / train} --test "
            f"{folder / test} (and --validation)."
        )


def _below(folder: Path, root: Path) -> Iterator[Path]:
    """All files below a class folder, in order; links to folders are not followed."""

    def fail(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not _ignored(name))
        yield from (Path(place, name) for name in sorted(files) if not _ignored(name))


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in IGNORED


def _text(name: str) -> str:
    """A file's name as text that can be written, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "replace")


# Reading them ----------------------------------------------------------------------------------------------


def _each(listed: Sequence[Listed], work: Callable[[Path], Result], faults: Faults) -> Iterator[tuple[Listed, Result]]:
    """What `work` makes of each file, in order, side by side in threads; faults are noted."""

    def tried(item: Listed) -> Result | DamagedError:
        try:
            return work(item.path)
        except DamagedError as fault:
            return fault

    with pillow_rules(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(listed), TOGETHER):
            some = listed[start : start + TOGETHER]
            for item, result in zip(some, pool.map(tried, some), strict=True):
                if isinstance(result, DamagedError):
                    faults.add(item.name, str(result))
                else:
                    yield item, result


def _looked_at(listed: Sequence[Listed], faults: Faults) -> tuple[list[Listed], list[Look]]:
    found = list(_each(listed, look, faults))
    return [item for item, _ in found], [result for _, result in found]


def _shape(looks: Sequence[Look], wanted: Wanted) -> tuple[int, int, int]:
    """Height, width and channels: as asked; else the medians, made smaller where they are large."""
    channels = wanted.channels or (1 if all(item.grey for item in looks) else 3)
    if wanted.size is not None:
        return (*wanted.size, channels)
    height, width = statistics.median_low(i.height for i in looks), statistics.median_low(i.width for i in looks)
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale)), channels


def _resizing(looks: Sequence[Look], shape: tuple[int, int, int], source: str) -> list[str]:
    """What a person should know of sizes that changed."""
    sizes = Counter((item.width, item.height) for item in looks)
    if set(sizes) == {(shape[1], shape[0])}:
        return []
    (width, height), _ = sizes.most_common(1)[0]
    others = "" if len(sizes) == 1 else f" and of {len(sizes) - 1:,} other size{'s' * (len(sizes) > 2)}"
    return [f"{source}: images of {width} x {height} pixels{others} were resized to {shape[1]} x {shape[0]} (--size)."]


def _decoded(
    listed: Sequence[Listed], shape: tuple[int, int, int], faults: Faults
) -> tuple[pixels.Pixels, list[str], list[Listed], str]:
    """The pixels, a hash of each image, the files that gave one, and a hash of all files with their names."""
    marks, kept, whole = [], [], hashlib.sha256()

    def blocks() -> Iterator[pixels.Pixels]:
        for item, made in _each(listed, lambda path: decode(path, shape[:2], shape[2]), faults):
            marks.append(made.fingerprint)
            kept.append(item)
            whole.update(item.name.encode() + b"\0" + made.sha256)
            yield made.pixels[None]

    images = pixels.collected(blocks(), len(listed), shape, np.uint8)
    return images, marks, kept, whole.hexdigest()
