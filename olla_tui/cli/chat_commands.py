"""Commands about the chats that the workstation keeps."""

from __future__ import annotations

import typer

from olla_tui.cli.declare import Words, app, command
from olla_tui.cli.usage import OllaGroup, Usage

chats = typer.Typer(cls=OllaGroup, help="List, export and import chats", rich_markup_mode=None)
app.add_typer(chats, name="chats")


@command(Usage("list [WORDS...]", 0, 50, ()), "List chats, or those in which words were said", group=chats)
def chats_list(words: Words = None) -> None:
    """List the chats that the workstation keeps, the latest first."""
    from olla_tui.cli.chats import list_chats

    list_chats(" ".join(words or ()))


@command(Usage("export CHAT FILE", 2, 2, ()), "Write a chat as .md, .html or .json", group=chats)
def chats_export(chat: str, file: str) -> None:
    """Write a chat, named by the beginning of its id or by its title, to a new file."""
    from olla_tui.cli.chats import export_chat

    export_chat(chat, file)


@command(Usage("import FILE...", 1, 50, ()), "Read chats from .json files", group=chats)
def chats_import(words: Words = None) -> None:
    """Read chats that were exported as JSON."""
    from olla_tui.cli.chats import import_chats

    import_chats(words or ())
