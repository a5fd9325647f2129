"""Find the server that the settings name, or start one in the background."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from server.errors import OllaError, ServerUnreachable
from server.settings import Settings
from server.wire.headers import VERSION_HEADER

if TYPE_CHECKING:
    import subprocess

PROBE_TIMEOUT_S = 2.0
"""For one question whether a server is there; a local one answers in milliseconds."""

START_TIMEOUT_S = 30.0
"""From the start of a server until it must answer; a cold disk makes its imports slow."""

POLL_S = 0.05

SERVE_COMMAND = (sys.executable, "-P", "-m", "olla_tui", "serve")
"""`-P` keeps a `server.py` of the user's working directory from being taken for ours."""

LOCAL_HOSTS = frozenset({"", "127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})


class FoundServer(NamedTuple):
    """A server that answers.

    Attributes:
        version: olla's own version, or Ollama's when it is no olla.
        is_olla: whether it has olla's own routes.
    """

    version: str
    is_olla: bool


def find_server(base_url: str, *, timeout_s: float = PROBE_TIMEOUT_S) -> FoundServer | None:
    """Ask for the version of the server at an address; None when nothing that speaks this API answers."""
    from olla_tui.client.plain import PlainClient  # HTTP, which a free port needs none of

    try:
        reply, headers = PlainClient(base_url, timeout_s=timeout_s).call_for("GET", "/api/version")
    except OllaError:
        return None
    if not isinstance(reply, dict) or "version" not in reply:
        return None
    own = headers.get(VERSION_HEADER)
    return FoundServer(str(own or reply["version"]), own is not None)


def ensure_server(settings: Settings) -> FoundServer:
    """Find the server, or start one and wait until it answers.

    Raises: ServerUnreachable when the address is not on this machine, or the server does not come up.
    """
    found = find_server(settings.base_url)
    if found is not None:
        return found
    if settings.host not in LOCAL_HOSTS:
        raise ServerUnreachable(
            f"no server answers at {settings.base_url}", hint="Check OLLAMA_HOST, or start one there."
        )
    return start_server(settings.base_url, settings.olla_dir / "logs")


def start_server(
    base_url: str,
    log_dir: Path,
    *,
    command: Sequence[str] = SERVE_COMMAND,
    timeout_s: float = START_TIMEOUT_S,
    probe: Callable[[str], FoundServer | None] = find_server,
) -> FoundServer:
    """Start a server that outlives this process, its output in `log_dir/serve.log`.

    A process that ends because another one took the port meanwhile is no failure: that one answers.

    Raises: ServerUnreachable with the last line of the log.
    """
    log_path = log_dir / "serve.log"
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        with log_path.open("wb") as log:
            process = _spawn(command, log)
    except OSError as error:
        raise ServerUnreachable(
            f"no server can be started: {error.filename or log_path}: {error.strerror}",
            hint="Set OLLA_HOME to a folder that can be written to.",
        ) from error
    deadline = time.monotonic() + timeout_s
    while True:
        has_ended = process.poll() is not None
        found = probe(base_url)
        if found is not None:
            # Whoever waits for the process keeps its end from leaving a zombie while this one lives.
            threading.Thread(target=process.wait, daemon=True).start()
            return found
        if has_ended or time.monotonic() > deadline:
            break
        time.sleep(POLL_S)
    if not has_ended:
        process.terminate()
        process.wait()
    what = f"ended with exit code {process.returncode}" if has_ended else f"did not answer in {timeout_s:g} s"
    raise ServerUnreachable(
        f"the server {what}: {last_line(log_path) or 'it wrote nothing'}", hint=f"Its log is {log_path}."
    )


def _spawn(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    import subprocess

    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )


def last_line(path: Path) -> str:
    """The last line of a file that is not blank, "" when there is none."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
