"""What declares commands: the program itself, the decorator that adds one, and flags that several have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from olla_tui.cli.usage import OllaGroup, Usage, command_class
from server.errors import InvalidRequest

Words = Annotated[list[str] | None, typer.Argument()]
Interval = Annotated[str, typer.Option("--interval", metavar="seconds", help="Seconds between two looks")]

app = typer.Typer(
    name="olla",
    cls=OllaGroup,
    help="Large language model runner",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(
    usage: Usage, help_text: str, *, group: typer.Typer = app, hidden: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command under its own name and, hidden, under its aliases."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for name in (usage.use.split()[0], *usage.aliases):
            is_alias = name in usage.aliases
            group.command(name, cls=command_class(usage), help=help_text, hidden=hidden or is_alias)(function)
        return function

    return register


def read_int(name: str, text: str) -> int:
    """A flag's number, 0 for "". Raises: InvalidRequest in pflag's words."""
    try:
        return int(text or "0", 0)
    except ValueError:
        raise InvalidRequest(
            f'invalid argument "{text}" for "{name}" flag: strconv.ParseInt: parsing "{text}": invalid syntax'
        ) from None
