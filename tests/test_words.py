"""Numbers and sentences as people write them."""

from __future__ import annotations

import pytest

from heldout import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (26345.28, "26,345"),
        (0.50552, "0.5055"),
        (-0.00012, "-0.0001200"),
        (1e-7, "1e-07"),
        (12.345, "12.35"),
        (3.0, "3"),
        (1234567.0, "1,234,567"),
        (0, "0"),
        (None, "–"),
        (3.2e17, "3.2e+17"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_shares_durations_and_openings() -> None:
    assert [words.percent(share) for share in (0.95, 0.975, 0.9833333)] == ["95%", "97.5%", "98.33%"]
    assert [words.seconds(s) for s in (0.00042, 0.5, 12.3, 200)] == ["0.42 ms", "0.5 s", "12 s", "3 min 20 s"]
    assert [words.times_opened(n) for n in (1, 2)] == ["opened once", "opened 2 times"]
