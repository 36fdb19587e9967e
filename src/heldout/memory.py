"""How much memory the machine has: what is kept in it, and what is read piece by piece, is decided by that."""

from __future__ import annotations

import os


def physical_memory() -> int:
    """Bytes of the machine's memory; 8 GiB where the system does not say."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
