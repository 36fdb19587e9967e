"""What is asked of images when they are read: their size, their colours, what becomes of damaged ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heldout.errors import InputError

DAMAGED = ("refuse", "skip")
MOST_SIDE = 4096


@dataclass(frozen=True)
class Wanted:
    """Height and width, or None: as they are; channels, or None; "refuse" or "skip" for what cannot be read."""

    size: tuple[int, int] | None = None
    channels: int | None = None
    damaged: str = "refuse"

    @classmethod
    def of(cls, size: Any = None, grey: bool = False, damaged: str = "refuse") -> Wanted:
        """From what a user says: "32x32" (width x height), 32 or (width, height); InputError for anything else.

        >>> Wanted.of("48x32")
        Wanted(size=(32, 48), channels=None, damaged='refuse')
        """
        if damaged not in DAMAGED:
            raise InputError(f"damaged is {damaged!r} and must be 'refuse' or 'skip'.")
        return cls(None if size is None else _size(size), 1 if grey else None, damaged)


def _size(given: Any) -> tuple[int, int]:
    try:
        sides = str(given).lower().replace("×", "x").split("x") if isinstance(given, str | int) else list(given)
        width, height = (int(str(side)) for side in (sides * 2 if len(sides) == 1 else sides))
    except (TypeError, ValueError):
        raise InputError(f"The size {given!r} is not WIDTHxHEIGHT, like 32x32.") from None
    if not (1 <= width <= MOST_SIDE and 1 <= height <= MOST_SIDE):
        raise InputError(f"The size {given!r} must have sides from 1 to {MOST_SIDE:,} pixels.")
    return height, width
