"""Writes a whole file or none, and never over another."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from server.errors import StoreError


def write_new(path: Path, text: str) -> None:
    """Write a file that only its owner can read. Raises: StoreError when it is there already or cannot be."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _name(partial, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                partial.unlink()
    except FileExistsError:
        raise StoreError(
            f"{path} is there already", hint="Choose another name; nothing was written."
        ) from None
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None


def _name(partial: Path, path: Path) -> None:
    """Give a file its name. Raises: FileExistsError."""
    try:
        os.link(partial, path)  # unlike a rename, a link never replaces
    except PermissionError:
        # A file system without links: the name is taken first, then the file put in its place.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(partial, path)
