"""The program `olla`: runs one command and turns what goes wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from olla_tui.cli.human import with_hint
from olla_tui.cli.short import run_short
from server.errors import InvalidRequest, OllaError

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended, as shells count it."""


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code; errors go to stderr as one line."""
    try:
        return _invoke(arguments)
    except OllaError as error:
        print(f"Error: {sentence(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not raise again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        print(f"Error: {_record_crash(error)}", file=sys.stderr)
    return 1


def sentence(error: OllaError) -> str:
    """What is printed of an error: its message, and what to do where it says so.

    Replies of routes that stream are shown with their status, as Ollama's command line shows them.
    """
    from olla_tui.client.failures import HttpReply

    message, cause = error.message, error.__cause__
    if isinstance(cause, HttpReply) and cause.streaming:
        message = f"{cause}: {message}"
    return with_hint(message, error.hint)


def _invoke(arguments: Sequence[str]) -> int:
    code = run_short(arguments)
    if code is None:
        code = _parse_and_run(arguments)
    sys.stdout.flush()
    return code


def _parse_and_run(arguments: Sequence[str]) -> int:
    import typer

    from olla_tui.cli.commands import app

    try:
        code = typer.main.get_command(app)(args=list(arguments), prog_name="olla", standalone_mode=False)
    except typer.BadParameter as error:
        raise InvalidRequest(str(error)) from error
    except typer.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


def _record_crash(error: Exception) -> str:
    """Write the traceback to a file and give the line for the user."""
    import traceback

    from server.settings import Settings

    trace = "".join(traceback.format_exception(error))
    try:
        log = Settings.load().olla_dir / "logs" / "crash.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(trace, encoding="utf-8")
    except (OSError, OllaError) as log_error:
        return f"{type(error).__name__}: {error} (and no log could be written: {log_error})"
    return f"{type(error).__name__}: {error}. This is a fault of olla; its trace is in {log}."
