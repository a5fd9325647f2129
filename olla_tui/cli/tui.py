"""`olla` without a command: the workstation, on a server of this process or on one that runs already."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import termios
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

from olla_tui.cli.human import with_hint
from olla_tui.cli.type_ahead import kept_for_the_screen
from olla_tui.client.launch import LOCAL_HOSTS, find_server
from olla_tui.term import TerminalGuard
from server.errors import OllaError, ServerUnreachable
from server.settings import ADDRESS_HINT, Settings, SettingsError, parse_address

if TYPE_CHECKING:
    from olla_tui.app import OllaApp, QuitChoice
    from olla_tui.cli.own_server import OwnServer
    from server.services.protocols import Services

log = logging.getLogger("olla.screen")

LOG_NAME = "workstation.log"
COLOR_SYSTEMS = {"truecolor": "truecolor", "256": "256", "16": "standard"}
"""Names that Rich has for the numbers of colours."""
MAX_CRASHES = 1
"""Times that the screen starts again after a fault of its own; the server never notices."""


@dataclass(frozen=True)
class Connection:
    """The server that the screen shows.

    Attributes:
        settings: those of the start, with the port that the server listens on.
        open_services: makes the services for one run of the screen, whose loop they belong to.
        own: the server of this process; None when the screen is attached to another one.
        note: a sentence about the connection, "" when there is nothing to say.
        is_olla: the server has olla's own routes; a real Ollama has none.
    """

    settings: Settings
    open_services: Callable[[], Awaitable[Services]]
    own: OwnServer | None
    note: str = ""
    is_olla: bool = True

    def close(self) -> None:
        """End the server, if it is ours."""
        if self.own is not None:
            self.own.stop()


def run_workstation(
    settings: Settings, open_connection: Callable[[Settings], Connection] | None = None, *, web: bool = False
) -> int:
    """Run the workstation until the user leaves; returns the exit status.

    The server goes on when the user says so, and when the terminal hangs up.

    Args:
        open_connection: finds the server or starts one; `connect` where nothing else is said.
        web: standard input and output lead to a browser, by way of `olla web`.
    """
    if not web and not (sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())):
        return fail(OllaError("the workstation needs a terminal", hint="`olla serve` serves without one."))
    if not web and settings.terminal.get("TERM") == "dumb":
        hint = "Set TERM to what the terminal is, or use `olla run`, which needs lines alone."
        return fail(OllaError("the workstation needs a terminal that can place its cursor", hint=hint))
    guard = TerminalGuard(settings.olla_dir / "logs" / LOG_NAME, web=web)
    gc.disable()  # until the screen is there: what is made on the way stays, and is much to look through
    try:
        with nullcontext() if web else kept_for_the_screen(), guard, log_to_file():
            connection = (open_connection or connect)(settings)
            try:
                choice = run_screen(connection, guard)
            except BaseException:
                connection.close()
                raise
    except OllaError as error:
        return fail(error)
    finally:
        gc.enable()
    if choice == "keep" and connection.own is not None:
        serve_on(connection.own)
    connection.close()
    if choice is None:
        log_file = settings.olla_dir / "logs" / LOG_NAME
        return fail(OllaError("the screen failed twice, so olla ended", hint=f"The log is {log_file}."))
    return 0


def fail(error: OllaError) -> int:
    """Print an error and what to do about it in one line; returns the exit status."""
    print(f"Error: {with_hint(error.message, error.hint)}", file=sys.stderr)
    return 1


def attach_to(host: str, settings: Settings) -> Connection:
    """A connection to a server that runs already, an olla or an Ollama.

    Args:
        host: where it is, in the form of OLLAMA_HOST; "" for where the settings say.
    Raises: SettingsError, ServerUnreachable.
    """
    if host:
        try:
            settings = settings._replace(address=parse_address(host))
        except ValueError as error:
            raise SettingsError(f"{host!r} is no address of a server: {error}", hint=ADDRESS_HINT) from None
    found = find_server(settings.base_url)
    if found is None:
        raise ServerUnreachable(
            f"no olla or Ollama server answers at {settings.base_url}",
            hint="Check host and port, and that it listens there: OLLAMA_HOST=0.0.0.0 olla serve.",
        )
    return attach(settings, is_olla=found.is_olla)


def connect(settings: Settings) -> Connection:
    """Take the address that the settings say for a server, or attach to the one that is there.

    Raises: OllaError when the address can neither be bound nor answers like a server of ours.
    """
    if settings.host not in LOCAL_HOSTS:
        return attach_to("", settings)

    from server.serve import AddressInUse, bind

    try:
        sock = bind(settings)
    except AddressInUse as error:
        found = find_server(settings.base_url)
        if found is None:
            raise OllaError(
                f"port {settings.port} is taken by a program that is no olla or Ollama server",
                hint=error.hint,
            ) from None
        return attach(settings, is_olla=found.is_olla)

    from olla_tui.cli.own_server import OwnServer

    own = OwnServer(settings, sock)
    return Connection(own.settings, own.services, own)


def attach(settings: Settings, *, is_olla: bool) -> Connection:
    """A connection to the server that answers at the settings' address."""
    from olla_tui.client.remote import RemoteServices

    note = f"attached to the server at {settings.base_url}"
    if not is_olla:
        note += "; it is an Ollama, which tells nothing of its requests, devices and log"

    async def services() -> Services:
        return RemoteServices.at(settings.base_url)

    return Connection(settings, services, None, note, is_olla)


def run_screen(connection: Connection, guard: TerminalGuard) -> QuitChoice | None:
    """Run the screen, once more after a fault of its own; None when it failed again.

    Raises: what kept the server of this process from starting.
    """
    for attempt in range(MAX_CRASHES + 1):
        app = make_app(connection, guard, restarted=attempt > 0)
        choice = app.run(mouse=connection.settings.mouse)
        # Textual leaves its handlers in place, and they would start the screen of a driver that has ended.
        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
            signal.signal(number, signal.SIG_DFL)
        if app.failure is not None:
            raise app.failure
        if choice is not None or app.return_code == 0:
            return choice or "quit"
        if terminal_is_gone():
            return "keep"
        # Textual has written the traceback to standard error, which is the log here.
        log.error("the screen failed, attempt %d of %d", attempt + 1, MAX_CRASHES + 1)
    return None


def terminal_is_gone() -> bool:
    """Whether standard input is no terminal any more: its other end has hung up."""
    try:
        termios.tcgetattr(0)
    except (termios.error, OSError):
        return True
    return False


def make_app(connection: Connection, guard: TerminalGuard, *, restarted: bool = False) -> OllaApp:
    """The application on a connection."""
    settings = connection.settings
    from textual import constants

    from olla_tui.settings import TuiSettings

    own = replace(TuiSettings.from_settings(settings), shell=not guard.web)
    # Before the application is made, which reads it.
    setattr(constants, "COLOR_SYSTEM", COLOR_SYSTEMS[own.depth])  # noqa: B010 (declared final)

    from olla_tui.app import OllaApp
    from olla_tui.history.store import HistoryStore

    notes = [connection.note] if connection.note else []
    if restarted:
        notes.append("the screen failed and was started again; the log has the details")
    return OllaApp(
        connection.open_services,
        own,
        serving=connection.own.answering if connection.own else None,
        attached=connection.own is None,
        is_olla=connection.is_olla,
        address=f"{settings.host or '127.0.0.1'}:{settings.port}",
        history=HistoryStore(own.history_file) if own.history_file else None,
        link=guard.output,
        hang_up=guard.hang_up,
        watch=guard.watch,
        notes=notes,
        settled=keep_what_is_there,
    )


def keep_what_is_there() -> None:
    """Collect garbage from now on, but never look again through what the start has made.

    That is modules, classes and style sheets, some hundred thousand objects; to go through them stops the
    screen for the time of several frames.
    """
    gc.freeze()
    gc.enable()


def serve_on(own: OwnServer) -> None:
    """Go on serving without a screen until a signal ends it."""
    try:
        # Where the terminal has hung up, the words disappear and the signal is no reason to end.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _interrupt)
        print(f"olla serves at {own.settings.base_url}; ctrl+c ends it, `olla` opens the workstation again.")
        own.join()
    except KeyboardInterrupt:
        return


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def log_to_file() -> ExitStack:
    """Send the log to standard error, which the terminal guard has made a file, for the time of the block."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("olla")
    logger.addHandler(handler)
    stack = ExitStack()
    stack.callback(logger.removeHandler, handler)
    return stack
