"""Put a text on the clipboard, by every way that may work, and say which one did.

Over SSH and inside tmux the usual way, an OSC 52 sequence to the terminal, is often dropped without a word.
So tmux's own buffer comes first where tmux runs, then the tools of a local display, then OSC 52; a file is
written in any case.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_OSC52_BYTES = 74_994
"""Longest text that xterm takes: base64 of it fills its buffer of 100,000 bytes."""

SCREEN_CHUNK_BYTES = 250
"""GNU screen passes device control strings of 256 bytes at most."""

TOOL_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Copied:
    """What became of a copy.

    Attributes:
        route: "tmux", the name of a tool, "OSC 52", or "file".
        confirmed: the route reports success; OSC 52 cannot.
        message: a sentence for a toast.
    """

    route: str
    confirmed: bool
    message: str


def tool_commands(terminal: Mapping[str, str], platform: str) -> list[tuple[str, ...]]:
    """Commands that take the text on their standard input, the surest first.

    Args:
        terminal: the environment's variables about the terminal.
        platform: as `sys.platform`.
    """
    commands: list[tuple[str, ...]] = []
    if terminal.get("TMUX"):
        commands.append(("tmux", "load-buffer", "-w", "-"))
    if terminal.get("SSH_CONNECTION") or terminal.get("SSH_TTY"):
        return commands  # a display that is reached from here is not the one the user sits at
    if platform == "darwin":
        commands.append(("pbcopy",))
    if terminal.get("WAYLAND_DISPLAY"):
        commands.append(("wl-copy",))
    if terminal.get("DISPLAY"):
        commands += [("xclip", "-selection", "clipboard"), ("xsel", "--clipboard", "--input")]
    return commands


def osc52(text: str, terminal: Mapping[str, str]) -> str:
    """The sequence that asks a terminal to copy a text; "" when the text is too long for one."""
    data = text.encode("utf-8", "replace")
    if len(data) > MAX_OSC52_BYTES:
        return ""
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode('ascii')}\x07"
    in_screen = terminal.get("TERM", "").startswith("screen") and not terminal.get("TMUX")
    return "".join(_screen_chunks(sequence)) if in_screen else sequence


def _screen_chunks(sequence: str) -> Iterator[str]:
    """The sequence in the device control strings that GNU screen hands on to its terminal."""
    for start in range(0, len(sequence), SCREEN_CHUNK_BYTES):
        yield f"\x1bP{sequence[start : start + SCREEN_CHUNK_BYTES]}\x1b\\"


async def copy_text(
    text: str, *, terminal: Mapping[str, str], platform: str, write: Callable[[str], None], file: Path
) -> Copied:
    """Copy a text.

    Args:
        terminal, platform: as in `tool_commands`.
        write: sends a sequence to the terminal.
        file: always written, for its owner alone.
    """
    saved = await asyncio.to_thread(_save, file, text)
    also = f"; also in {file}" if saved else ""
    for command in tool_commands(terminal, platform):
        if await _run(command, text):
            return Copied(command[0], True, f"copied with {command[0]}{also}")
    if sequence := osc52(text, terminal):
        write(sequence)
        return Copied("OSC 52", False, f"sent to the terminal, which may refuse it{also}")
    if saved:
        return Copied("file", True, f"too long for the terminal's clipboard; it is in {file}")
    return Copied("file", False, f"too long for the terminal's clipboard, and {file} cannot be written")


def _save(file: Path, text: str) -> bool:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as out:
            out.write(text)
    except OSError:
        return False
    return True


async def _run(command: tuple[str, ...], text: str) -> bool:
    """Whether a tool took the text. One that does not come to an end in time is killed."""
    if shutil.which(command[0]) is None:
        return False
    nowhere = asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=nowhere, stderr=nowhere
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(TOOL_TIMEOUT_S):
            await process.communicate(text.encode("utf-8", "replace"))
    except TimeoutError:
        process.kill()
        await process.wait()
    return process.returncode == 0
