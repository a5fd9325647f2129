"""An answer on stdout while it is generated, behind a spinner until there is something to see."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing

from olla_tui.cli.answer import AnswerPrinter
from olla_tui.cli.progress import Progress
from olla_tui.cli.session import Session
from server.types.generation import Chunk, Completed, GenerationEvent


def new_printer(session: Session) -> AnswerPrinter:
    """A printer for one answer on stdout."""
    return AnswerPrinter(
        sys.stdout,
        width=lambda: shutil.get_terminal_size().columns if session.word_wrap else 0,
        colour=sys.stdout.isatty(),
        hide_thinking=session.hide_thinking,
    )


async def show_answer(
    stream: AsyncGenerator[GenerationEvent, None], printer: AnswerPrinter
) -> Completed | None:
    """Print a stream as it comes, behind a spinner until there is something to see; its end is returned."""
    completed = None
    async with Progress(sys.stderr) as progress, aclosing(stream):
        progress.step("")
        try:
            async for event in stream:
                if isinstance(event, Completed):
                    completed = event
                    event = Chunk(tool_calls=event.tool_calls)
                if isinstance(event, Chunk):
                    if printer.shows(event):
                        progress.clear()
                    printer.add(event)
        finally:
            progress.clear()
            printer.reset()
    return completed
