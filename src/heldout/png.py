"""Pictures as text: PNG files in data URIs, which stand in pages and charts without a network."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def png(picture: NDArray[np.uint8]) -> str:
    """A picture (height, width, 1 or 3) of bytes as the data URI of a PNG.

    >>> png(np.zeros((2, 2, 3), np.uint8))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    buffer, pixels = io.BytesIO(), picture[..., 0] if picture.shape[2] == 1 else picture
    image: Any = Image.fromarray(pixels)
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
