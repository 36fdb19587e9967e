"""Importing costs nothing: which modules are loaded by `import heldout` and by `heldout --help`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import heldout

HEAVY = {"jax", "numba", "sklearn", "polars", "scipy", "skrub", "pandas", "altair", "optax", "numpy", "safetensors"}


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_import_heldout_loads_nothing_heavy() -> None:
    assert not loaded_by("import heldout; dir(heldout)") & HEAVY
    assert not loaded_by("import heldout; heldout.Ledger") & (HEAVY - {"numpy"})


def test_help_loads_nothing_heavy() -> None:
    code = "from heldout.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(code) & HEAVY
    assert not loaded_by(code.replace("'--help'", "'run', '--help'")) & HEAVY


def test_every_public_name_is_there() -> None:
    for name in heldout.__all__:
        assert getattr(heldout, name).__module__.startswith("heldout")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        heldout.nothing  # noqa: B018
