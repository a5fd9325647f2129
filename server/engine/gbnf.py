"""Faults in a GBNF text that llama.cpp's parser does not survive. Pure.

Everything else that is wrong with a grammar the parser itself reports. A repetition whose upper bound is
below its lower one makes it allocate without end, deep nesting overflows its stack, and of a token that ends
in the middle of a character rule before a token rule its two halves disagree, which ends the process.
"""

from __future__ import annotations

import re
from typing import Final

from server.engine.failures import BadGrammar

MAX_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 256
"""Open parentheses; the parser's stack overflows at some thousands."""

_TOKEN: Final = re.compile(
    r"""
      "(?:\\.|[^"\\])*("|\Z)          # a literal
    | \[(?:\\.|[^\]\\])*(\]|\Z)       # a class of characters
    | \#[^\n]*                        # a comment
    | \{\s*(?P<low>\d+)\s*,\s*(?P<high>\d+)\s*\}
    | (?P<bracket>[()])
    | (?P<token>[<!])                 # a token by its number or name, or any other
    """,
    re.VERBOSE | re.DOTALL,
)


def check_gbnf(gbnf: str) -> None:
    """Raises `BadGrammar` for a text that must not reach the parser."""
    if not gbnf.strip():
        raise BadGrammar("the grammar is empty")
    if "\0" in gbnf:
        raise BadGrammar("the grammar contains a NUL character")
    if len(gbnf.encode("utf-8", "replace")) > MAX_BYTES:
        raise BadGrammar(f"the grammar is longer than {MAX_BYTES} bytes")
    depth = 0
    for match in _TOKEN.finditer(gbnf):
        if match["low"] is not None and _exceeds(match["low"], match["high"]):
            raise BadGrammar(f"the repetition {match[0]} has its upper bound below its lower one")
        if match["token"] is not None:
            raise BadGrammar("the grammar speaks of tokens, but only characters can be constrained")
        if match["bracket"] is not None:
            depth += 1 if match["bracket"] == "(" else -1
            if depth > MAX_DEPTH:
                raise BadGrammar(f"the grammar is nested deeper than {MAX_DEPTH} groups")


def _exceeds(low: str, high: str) -> bool:
    """Compares digits of any number without converting them, which is slow for thousands of digits."""
    low, high = low.lstrip("0"), high.lstrip("0")
    return (len(low), low) > (len(high), high)
