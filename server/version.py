"""Versions: olla's own, and that of the Ollama whose API it speaks."""

from __future__ import annotations

OLLA_VERSION = "0.1.0"

OLLAMA_VERSION = "0.32.0"
"""What `/api/version` answers; clients compare it with the lowest version that they need."""
