"""Several tests judged together."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], among: int | None = None) -> list[float]:
    """p values adjusted so that those at most `level` are wrong anywhere with a chance of at most `level`.

    `among` counts tests that were planned but not made, too: which of them are made may then depend on the data.

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian J. Statistics 6, 1979, 65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    >>> holm([0.01], among=3)
    [0.03]
    """
    adjusted, highest, number = [0.0] * len(p_values), 0.0, max(len(p_values), among or 0)
    for rank, (p, at) in enumerate(sorted((p, at) for at, p in enumerate(p_values))):
        adjusted[at] = highest = max(highest, min(1.0, (number - rank) * p))
    return adjusted
