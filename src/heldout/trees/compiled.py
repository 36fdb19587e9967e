"""How the code that grows trees is compiled: no array is made in it, so that none need be counted.

Counting references to the arrays of named tuples took half of the time.
"""

from __future__ import annotations

from typing import Any

CALLED: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "no_cfunc_wrapper": True}
WITHIN: dict[str, Any] = {**CALLED, "no_cpython_wrapper": True}  # only ever called by compiled code
