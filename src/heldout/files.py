"""Files written whole or not at all: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from heldout.errors import WorkError

if TYPE_CHECKING:
    from typing_extensions import Buffer


def write_whole(path: str | os.PathLike[str], content: bytes | str | Iterable[Buffer]) -> Path:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    Text is written as UTF-8; what is too large for memory may come in pieces, one after the other. Raises WorkError
    with the reason (disk full, no permission, no folder); the old file, if there was one, is then untouched and no
    temporary file is left.

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_whole(folder / "a.txt", "whole").read_text()
    'whole'
    """
    path = Path(path)
    whole = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o666)
        with os.fdopen(handle, "wb") as file:
            file.writelines([whole] if isinstance(whole, bytes) else whole)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise WorkError(f"Could not write {path}: {error.strerror or error}; nothing was changed.") from error
    except BaseException:  # Ctrl-C: leave no half-written file behind
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return path


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder for fsync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
