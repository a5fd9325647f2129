"""Progress on a terminal and on a file."""

from __future__ import annotations

import io

import pyte
import pytest

from olla_tui.cli.progress import Progress, bar_line
from olla_tui.cli.tables import text_width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def display(self) -> list[str]:
        screen = pyte.Screen(80, 10)
        pyte.Stream(screen).feed(self.getvalue().replace("\n", "\r\n"))
        return [line.rstrip() for line in screen.display if line.strip()]


async def test_a_file_gets_each_step_once_and_no_escapes() -> None:
    out = io.StringIO()
    async with Progress(out) as progress:
        progress.note("d", "copying file d 0%")
        progress.note("d", "copying file d 50%")
        progress.note("d", "copying file d 100%", is_done=True)
        progress.step("parsing GGUF")
        progress.step("parsing GGUF")
        progress.item("q", "quantizing", 1, 10)
        progress.item("q", "quantizing", 10, 10)
        progress.step("success")
    assert out.getvalue() == "copying file d 100%\nparsing GGUF\nquantizing\nsuccess\n"


async def test_a_terminal_shows_the_steps_as_they_stand() -> None:
    out = Terminal()
    async with Progress(out, clock=lambda: 0.0) as progress:
        progress.note("d", "copying file d 50%")
        progress.step("parsing GGUF")
        progress.item("q", "quantizing", 5, 10)
    lines = out.display()
    assert lines[:2] == ["copying file d 50%", "parsing GGUF"]
    assert lines[2].startswith("quantizing  50% ▕█")
    assert out.getvalue().endswith("\n")


async def test_steps_can_be_erased() -> None:
    out = Terminal()
    async with Progress(out) as progress:
        progress.step("one")
        progress.step("two")
        progress._render()
        progress.clear()
    assert out.display() == []


async def test_a_failure_leaves_the_terminal_with_its_cursor() -> None:
    out = Terminal()
    with pytest.raises(ValueError, match="x"):
        async with Progress(out) as progress:
            progress.step("one")
            raise ValueError("x")
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


@pytest.mark.parametrize(("completed", "elapsed_s"), [(0, 0.0), (500_000, 2.0), (1_000_000, 2.0)])
def test_a_bar_leaves_one_column_of_the_terminal(completed: int, elapsed_s: float) -> None:
    line = bar_line("copying", completed, 1_000_000, elapsed_s, 100)
    assert text_width(line) == 99
    assert f"{completed // 10_000:3d}%" in line


def test_rate_and_remaining_time() -> None:
    assert bar_line("x", 250_000, 1_000_000, 1.0, 100).endswith("250 KB/  1 MB  250 KB/s      3s")
