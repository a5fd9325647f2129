"""Formats of an answer as GBNF grammars."""

from __future__ import annotations

from server.types.generation import Format


def grammar_for(format: Format) -> str:
    """GBNF with the root rule "root"; "" for None. Raises InvalidFormat naming what cannot be enforced."""
    raise NotImplementedError
