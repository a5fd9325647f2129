"""Settings for commands that call a server."""

from __future__ import annotations

import sys

from server.settings import Settings


def client_settings() -> Settings:
    """All settings; what was wrong with the server's address is told, for another one is called then."""
    settings = Settings.load()
    for warning in settings.warnings:
        if warning.startswith("OLLAMA_HOST="):
            print(f"Warning: {warning}", file=sys.stderr)
    return settings
