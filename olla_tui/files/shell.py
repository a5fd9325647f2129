"""Runs a line of the shell for a prompt: with a time limit and a bound on what it may say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 30.0
MAX_OUTPUT_BYTES = 64 * 1024
READ_BYTES = 16 * 1024
SEE_OFF_S = 2.0
"""What has left the process group may hold the output open; it is not waited for longer."""


@dataclass(frozen=True)
class ShellResult:
    """What a line said, and how it ended: "" for well."""

    output: str
    problem: str = ""


async def run_line(line: str, folder: Path, *, timeout_s: float = TIMEOUT_S) -> ShellResult:
    """Run a line with the user's rights, without input; it and what it started end with its time.

    Raises: OSError when there is no shell.
    """
    process = await _start(line, folder)
    output, problem = bytearray(), ""
    try:
        async with asyncio.timeout(timeout_s):
            if not await _read(process, output):
                problem = f"cut at {MAX_OUTPUT_BYTES // 1024} kB"
            else:
                status = await process.wait()
                problem = f"ended with status {status}" if status else ""
    except TimeoutError:
        problem = f"ended after {timeout_s:g} s"
    finally:
        if process.returncode is None:
            _end_group(process)
            await _see_off(process)
    return ShellResult(output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace"), problem)


async def _start(line: str, folder: Path) -> asyncio.subprocess.Process:
    """Start the shell. Cancelled meanwhile, it and what it started end first."""
    starting = asyncio.create_task(
        asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            line,
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        # asyncio would kill the shell alone, and wait until all that it started has closed the output.
        process = await starting
        _end_group(process)
        await _see_off(process)
        raise


async def _read(process: asyncio.subprocess.Process, output: bytearray) -> bool:
    """Read to the end; False when that is more than the bound."""
    assert process.stdout is not None
    while piece := await process.stdout.read(READ_BYTES):
        output += piece
        if len(output) > MAX_OUTPUT_BYTES:
            return False
    return True


async def _see_off(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a killed process; its end is only told once its output has been read."""
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SEE_OFF_S):
            while await process.stdout.read(READ_BYTES):
                continue
            await process.wait()


def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the line and all that it started, which has a process group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
