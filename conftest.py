"""Tests and doctests never touch the user's own ledger."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same each time", derandomize=True)
settings.load_profile("same each time")

# Tests compile a thousand small programs and run each a few times: XLA is to hurry, unless told otherwise (Makefile).
HURRIED = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("XLA_FLAGS", " ".join(HURRIED))
# Networks of the same shape are compiled once for all tests and processes.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

collect_ignore_glob = ["docs/*.py", "docs/_build/*", "docs/generated/*", "benchmarks/*"]  # the site's own code


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With HELDOUT_TESTS_SHARE=24 every 24th test, dealt by their names."""
    share = int(os.environ.get("HELDOUT_TESTS_SHARE", "1"))
    dealt = [item for item in items if zlib.crc32(item.nodeid.encode()) % share]
    if dealt:
        config.hook.pytest_deselected(items=dealt)
        items[:] = [item for item in items if zlib.crc32(item.nodeid.encode()) % share == 0]


@pytest.fixture(autouse=True)
def own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("HELDOUT_LEDGER", str(path))
    yield path
