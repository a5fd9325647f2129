"""`olla` alone: the workstation with the server in it, or attached to the server that already runs."""

from __future__ import annotations

import logging
import signal
import socket
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from olla_tui.client.launch import find_server
from olla_tui.term import TerminalGuard
from server.errors import OllaError
from server.settings import Settings

if TYPE_CHECKING:
    from olla_tui.app import OllaApp
    from server.serve import ServerThread
    from server.services.protocols import Services

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MAX_UI_STARTS = 2
"""A screen that fails is started once more; the server does not notice."""

log = logging.getLogger("olla.screen")


def run_workstation(settings: Settings) -> int:
    """Open the workstation; its exit code.

    The terminal is guarded first, so that nothing native can write on the screen. Raises: OllaError without a
    terminal, or when the address is taken by something that is no olla and no Ollama.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise OllaError("the workstation needs a terminal", hint="`olla serve` runs the server alone.")
    log_path = settings.olla_dir / "logs" / "olla.log"
    with TerminalGuard(log_path) as guard:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        logging.getLogger("olla").addHandler(handler)
        thread = _start_server(settings)
        ending = _Ending(guard, thread)
        result = _show(settings, thread, guard, ending)
        if thread is not None and result == "quit":
            thread.stop()
    if thread is not None and result != "quit":
        _serve_on(settings, thread, ending)
    if result == "failed":
        print(f"Error: the screen failed; {log_path} says why", file=sys.stderr)
        return 1
    return 0


class _Ending:
    """What signals do: a hang-up ends the screen and leaves the server, an end from outside ends both."""

    def __init__(self, guard: TerminalGuard, thread: ServerThread | None) -> None:
        self._guard = guard
        self._thread = thread
        self.app: OllaApp | None = None
        self.hung_up = False
        self.stopped = threading.Event()
        signal.signal(signal.SIGHUP, self._hang_up)
        signal.signal(signal.SIGTERM, self._terminate)

    def _hang_up(self, _number: int, _frame: FrameType | None) -> None:
        if not self.hung_up:
            self.hung_up = True
            self._guard.hang_up()
            self._exit_screen("keep")

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped.set()
        self._exit_screen("quit")

    def _exit_screen(self, result: str) -> None:
        app = self.app
        loop = getattr(app, "_loop", None)
        if app is not None and loop is not None and loop.is_running():
            loop.call_soon_threadsafe(app.exit, result)


def _start_server(settings: Settings) -> ServerThread | None:
    """The server on a thread of its own, not waited for; None when one runs at the address already.

    Raises: OllaError.
    """
    from server.serve import AddressInUse, ServerThread, bind

    try:
        sock: socket.socket = bind(settings)
    except AddressInUse as error:
        if find_server(settings.base_url) is None:
            raise OllaError(
                f"port {settings.port} is taken by a program that is neither olla nor Ollama",
                hint="Stop it, or set OLLAMA_HOST to a free port.",
            ) from error
        return None
    thread = ServerThread(settings, sock)
    thread.launch()
    return thread


def _show(settings: Settings, thread: ServerThread | None, guard: TerminalGuard, ending: _Ending) -> str:
    """Run the screen until it ends: "quit", "keep", or "failed"."""
    from olla_tui.app import OllaApp
    from olla_tui.history.store import HistoryStore
    from olla_tui.settings import TuiSettings

    tui_settings = TuiSettings.from_settings(settings)
    for _ in range(MAX_UI_STARTS):
        history = None if tui_settings.history_file is None else HistoryStore(tui_settings.history_file)
        app = OllaApp(
            _services(settings, thread),
            tui_settings,
            attached=thread is None,
            address=f"{settings.host or '0.0.0.0'}:{settings.port}",
            history=history,
            link=guard.output,
        )
        ending.app = app
        if thread is not None:
            thread.wait_until_started()
        result = app.run(mouse=tui_settings.mouse)
        if ending.hung_up:
            return "keep"
        if ending.stopped.is_set():
            return "quit"
        if not app.return_code:
            return result or "quit"
        log.error("the screen failed and is started again")
    return "failed"


def _services(settings: Settings, thread: ServerThread | None) -> Services:
    if thread is None:
        from olla_tui.client.remote import RemoteServices

        return RemoteServices.at(settings.base_url)
    from olla_tui.client.crossloop import CrossLoopServices

    return CrossLoopServices(thread.services, thread.loop)


def _serve_on(settings: Settings, thread: ServerThread, ending: _Ending) -> None:
    """Serve without a screen until a signal ends it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: ending.stopped.set())
    if not ending.hung_up:
        print(f"olla goes on serving at {settings.base_url}; Ctrl-C ends it", flush=True)
    ending.stopped.wait()
    thread.stop()
