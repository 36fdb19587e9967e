"""Which kernels of our own layers call."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest


def calls(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *names: str) -> list[str]:
    """The names of a module's functions, in the order in which they will be called."""
    called: list[str] = []

    def noted(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            called.append(name)
            return own(*given, **named)

        return call

    for name in names:
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    return called
