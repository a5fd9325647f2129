"""Commands about what is shown: the workstation on other servers and in browsers, figures, themes."""

from __future__ import annotations

from typing import Annotated

import typer

from olla_tui.cli.declare import Interval, Words, app, command, read_int
from olla_tui.cli.usage import OllaGroup, Usage

theme = typer.Typer(cls=OllaGroup, help="Check and make themes", rich_markup_mode=None)


@command(Usage("attach [HOST]", 0, 1, ("OLLAMA_HOST",)), "Open the workstation on a running server")
def attach(words: Words = None) -> None:
    """Show a server that runs already, here or elsewhere; it is never ended from here."""
    from functools import partial

    from olla_tui.cli.tui import attach_to, run_workstation
    from server.settings import Settings

    host = (words or [""])[0]
    raise typer.Exit(run_workstation(Settings.load(), partial(attach_to, host)))


@command(Usage("web-visitor HOST", 1, 1, ()), "Be the process of a visitor of `olla web`", hidden=True)
def web_visitor(host: str) -> None:
    """Attach with a browser at standard input and output."""
    from functools import partial

    from olla_tui.cli.tui import attach_to, run_workstation
    from server.settings import Settings

    raise typer.Exit(run_workstation(Settings.load(), partial(attach_to, host), web=True))


@command(Usage("web", 0, 0), "Serve the workstation to a browser")
def web(
    host: Annotated[str, typer.Option("--host", help="Address to listen on")] = "127.0.0.1",
    port: Annotated[str, typer.Option("--port", metavar="int", help="Port to listen on")] = "11480",
    token: Annotated[
        str, typer.Option("--token", help="What the first visit must bring (default: made up)")
    ] = "",
) -> None:
    """Serve the screen as a client of the running server."""
    from olla_tui.cli.web import serve_web

    serve_web(host, read_int("--port", port), token)


@command(Usage("top", 0, 0), "Show what the server does")
def top(
    interval: Interval = "2",
    once: Annotated[bool, typer.Option("--once", help="Show it once and end")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON for each look")] = False,
) -> None:
    """Show models, requests and devices until q."""
    from olla_tui.cli.top import show_top

    show_top(interval, once=once, as_json=json)


app.add_typer(theme, name="theme")


@command(Usage("check FILE", 1, 1, ()), "Check whether a theme can be read", group=theme)
def theme_check(file: str) -> None:
    """Check a theme's contrast; exit code 1 when something cannot be read."""
    from olla_tui.cli.themes import check_theme

    if not check_theme(file):
        raise typer.Exit(1)


@command(Usage("new NAME", 1, 1, ()), "Write a new theme to begin with", group=theme)
def theme_new(name: str) -> None:
    """Begin a theme."""
    from olla_tui.cli.themes import make_theme

    make_theme(name)


@command(Usage("list", 0, 0, ()), "List themes", group=theme)
def theme_list() -> None:
    """List the themes there are."""
    from olla_tui.cli.themes import list_themes

    list_themes()
