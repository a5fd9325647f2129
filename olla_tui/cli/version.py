"""`olla --version`."""

from __future__ import annotations

from olla_tui.cli.addressed import client_settings
from olla_tui.client.launch import find_server
from server.version import OLLA_VERSION


def print_version() -> None:
    """Print the version, and how the running server differs from it; without a server that is no error."""
    own = OLLA_VERSION
    found = find_server(client_settings().base_url)
    if found is None:
        print("Warning: could not connect to a running olla instance")
        print(f"Warning: client version is {own}")
        return
    print(f"olla version is {found.version}")
    if found.version != own:
        print(f"Warning: client version is {own}")
