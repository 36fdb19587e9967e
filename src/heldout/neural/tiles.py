"""Images side by side in a chart: arrays of pixels become PNG files inside of it."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from heldout.png import png

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TILE = 72  # pixels of an image in a chart
HOT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]) / 255.0  # dark to bright


def unit(images: Array) -> Array:
    """Pixels from 0 to 1: bytes as shares of 255, other numbers from the least to the largest of all."""
    if images.dtype == np.uint8:
        return images / 255.0
    low, high = float(images.min()), float(images.max())
    return np.asarray((images - low) / max(high - low, 1e-30))


def visible(images: Array) -> Array:
    """One channel or three; of another number their mean."""
    return images if images.shape[-1] in (1, 3) else images.mean(axis=-1, keepdims=True)


def coloured(shares: Array) -> Array:
    """Numbers from 0 to 1 as colours (..., 3)."""
    at = np.linspace(0.0, 1.0, len(HOT))
    return np.stack([np.interp(shares, at, HOT[:, channel]) for channel in range(3)], axis=-1)


def grid(tiles: list[list[Array]], columns: list[str], rows: list[str], title: str, across: str | None = None) -> Any:
    """Images from 0 to 1 in lines and columns, as an Altair chart; `across` says what the columns are."""
    import altair as alt

    placed = [
        {"row": row, "column": column, "url": _url(image)}
        for row, line in zip(rows, tiles, strict=True)
        for column, image in zip(columns, line, strict=False)
    ]
    return (
        alt.Chart(alt.Data(values=placed), title=title)
        .mark_image(width=TILE, height=TILE)
        .encode(
            x=alt.X("column:N", sort=columns, title=across, axis=alt.Axis(labelAngle=0, orient="top", labelLimit=TILE)),
            y=alt.Y("row:N", sort=rows, title=None),
            url="url:N",
        )
        .properties(width=(TILE + 8) * len(columns), height=(TILE + 8) * len(rows))
    )


def _url(image: Array) -> str:
    """An image of numbers from 0 to 1; a small one's pixels are made larger."""
    times = max(1, 2 * TILE // max(image.shape[:2]))
    pixels = np.clip(np.rint(image * 255.0), 0, 255).astype(np.uint8)
    return png(pixels.repeat(times, axis=0).repeat(times, axis=1))
