"""Ways to the clipboard: which are tried, and what is said about them."""

from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path

import pytest

from olla_tui.clip import MAX_OSC52_BYTES, SCREEN_CHUNK_BYTES, Copied, copy_text, osc52, tool_commands


@pytest.mark.parametrize(
    ("terminal", "platform", "tools"),
    [
        ({}, "linux", []),
        ({"TMUX": "/tmp/tmux,1,0"}, "linux", ["tmux"]),
        ({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "linux", ["wl-copy", "xclip", "xsel"]),
        ({}, "darwin", ["pbcopy"]),
        ({"SSH_CONNECTION": "1 2 3 4", "DISPLAY": "localhost:10"}, "linux", []),
        ({"SSH_TTY": "/dev/pts/1", "TMUX": "x"}, "darwin", ["tmux"]),
    ],
)
def test_tools_that_fit_the_terminal(terminal: dict[str, str], platform: str, tools: list[str]) -> None:
    assert [command[0] for command in tool_commands(terminal, platform)] == tools


def test_osc52_holds_the_text_and_has_a_limit() -> None:
    sequence = osc52("käse", {})
    assert base64.b64decode(sequence.removeprefix("\x1b]52;c;").removesuffix("\x07")).decode() == "käse"
    assert osc52("x" * MAX_OSC52_BYTES, {})
    assert osc52("x" * (MAX_OSC52_BYTES + 1), {}) == ""


def test_gnu_screen_gets_short_chunks() -> None:
    text = "x" * 2000
    chunks = osc52(text, {"TERM": "screen-256color"}).split("\x1bP")[1:]
    assert all(len(chunk) <= SCREEN_CHUNK_BYTES + 2 for chunk in chunks)
    assert "".join(chunk.removesuffix("\x1b\\") for chunk in chunks) == osc52(text, {})
    assert osc52(text, {"TERM": "screen-256color", "TMUX": "x"}) == osc52(text, {})


async def copied(tmp_path: Path, text: str, terminal: dict[str, str]) -> tuple[Copied, list[str], Path]:
    sent: list[str] = []
    file = tmp_path / "olla" / "clip.txt"
    result = await copy_text(text, terminal=terminal, platform="linux", write=sent.append, file=file)
    return result, sent, file


def put_tool(directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = directory / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


async def test_without_a_tool_the_terminal_is_asked_and_a_file_is_written(tmp_path: Path) -> None:
    result, sent, file = await copied(tmp_path, "text", {})
    assert (result.route, result.confirmed) == ("OSC 52", False)
    assert result.message == f"sent to the terminal, which may refuse it; also in {file}"
    assert sent == [osc52("text", {})]
    assert file.read_text() == "text"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_tool_that_works_is_the_route(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    got = tmp_path / "got"
    put_tool(tmp_path, "tmux", f'echo "$@" > {got}; cat >> {got}', monkeypatch)
    result, sent, _ = await copied(tmp_path, "text", {"TMUX": "x"})
    assert (result.route, result.confirmed, sent) == ("tmux", True, [])
    assert got.read_text() == "load-buffer -w -\ntext"


async def test_a_tool_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_tool(tmp_path, "xclip", "exit 1", monkeypatch)
    put_tool(tmp_path, "xsel", "cat > /dev/null", monkeypatch)
    result, _, _ = await copied(tmp_path, "text", {"DISPLAY": ":0"})
    assert result.route == "xsel"


async def test_a_tool_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("olla_tui.clip.TOOL_TIMEOUT_S", 0.05)
    put_tool(tmp_path, "tmux", f"exec {sys.executable} -c 'import signal; signal.pause()'", monkeypatch)
    result, _, _ = await copied(tmp_path, "text", {"TMUX": "x"})
    assert result.route == "OSC 52"


async def test_a_text_too_long_for_the_terminal_is_in_the_file(tmp_path: Path) -> None:
    result, sent, file = await copied(tmp_path, "x" * (MAX_OSC52_BYTES + 1), {})
    assert (result.route, result.confirmed, sent) == ("file", True, [])
    assert str(file) in result.message


async def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "olla").write_text("in the way")
    result, _, _ = await copied(tmp_path, "x" * (MAX_OSC52_BYTES + 1), {})
    assert not result.confirmed
    assert "cannot be written" in result.message
