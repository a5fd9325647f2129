"""Command lines so short that nothing has to read them: no flags, one word or two.

Typer and what it imports take half of the time of `olla list`. What is told here does exactly what
`olla_tui.cli.commands` declares for the same words, and everything else is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence


def run_short(arguments: Sequence[str]) -> int | None:
    """Run a short command line and give its exit code; None for one that needs a parser."""
    match arguments:
        case []:
            from olla_tui.cli.tui import run_workstation
            from server.settings import Settings

            return run_workstation(Settings.load())
        case ["--version" | "-v"]:
            from olla_tui.cli.version import print_version

            print_version()
        case ["list" | "ls" | "ps" as name, *words] if len(words) <= 1 and not "".join(words).startswith("-"):
            from olla_tui.cli.models import list_models, list_running

            (list_running if name == "ps" else list_models)("".join(words))
        case _:
            return None
    return 0
