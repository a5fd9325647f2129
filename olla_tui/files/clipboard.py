"""Reads a picture from the clipboard of a local display, by the programs that can."""

from __future__ import annotations

import asyncio
import contextlib
import shutil

from server.errors import InvalidImage

READERS: tuple[tuple[str, ...], ...] = (
    ("wl-paste", "--no-newline", "--type", "image/png"),
    ("xclip", "-selection", "clipboard", "-target", "image/png", "-out"),
    ("pngpaste", "-"),
)
TIMEOUT_S = 5.0
MAX_BYTES = 20 * 1024 * 1024
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


async def read_picture(readers: tuple[tuple[str, ...], ...] = READERS) -> bytes:
    """The PNG on the clipboard. Raises: InvalidImage when there is none, or nothing that reads it."""
    found = [reader for reader in readers if shutil.which(reader[0])]
    for reader in found:
        data = await _output(reader)
        if len(data) > MAX_BYTES:
            raise InvalidImage(f"the picture on the clipboard has more than {MAX_BYTES // 2**20} MB")
        if data.startswith(PNG_MAGIC):
            return data
    if not found:
        names = ", ".join(reader[0] for reader in readers)
        raise InvalidImage(
            "no program here reads pictures from a clipboard",
            hint=f"Name a file by @path, or install one of {names}.",
        )
    raise InvalidImage("there is no picture on the clipboard", hint="A file is named by @path.")


async def _output(command: tuple[str, ...]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            data, _ = await process.communicate()
            return data
    except TimeoutError:
        return b""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
