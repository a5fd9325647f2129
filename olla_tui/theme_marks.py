"""What a theme says besides colours: from which share on a meter is marked, and the characters that draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from rich.cells import cell_len

from olla_tui.state.graphs import ASCII, UNICODE, Glyphs

LEVELS: dict[str, float] = {"warn_at": 75, "high_at": 90}
"""Keys of `[meter]` that are percents, and what a theme that leaves them out gets."""

SETS = ("unicode", "ascii")
DRAWN = (
    "full",
    "empty",
    "weights",
    "kv",
    "other",
    "ok",
    "failed",
    "busy",
    "waiting",
    "half",
    "prompt",
    "rule",
)
"""Keys of `[glyphs]` besides `set`, as in `Glyphs`: each is one character of one cell."""


@dataclass(frozen=True)
class Marks:
    """The tables `[meter]` and `[glyphs]` without their colours.

    Attributes:
        warn_at, high_at: shares, 0 to 1, from which on a meter has the colours `mid` and `high`.
        only_ascii: everything is drawn with ASCII.
        drawn: characters in the place of the set's own.
    """

    warn_at: float = 0.75
    high_at: float = 0.90
    only_ascii: bool = False
    drawn: Mapping[str, str] = field(default_factory=dict)

    def glyphs(self, *, ascii_only: bool) -> Glyphs:
        """What is drawn with; a terminal that shows ASCII only gets nothing else."""
        is_ascii = ascii_only or self.only_ascii
        drawn = {name: char for name, char in self.drawn.items() if char.isascii() or not is_ascii}
        base = replace(ASCII if is_ascii else UNICODE, warn_at=self.warn_at, high_at=self.high_at)
        return replace(base, **drawn)  # type: ignore[arg-type]  # DRAWN names texts alone


class BadMark(ValueError):
    """A value that cannot be meant. `keys`: whose values, of one table; one of them is to be changed."""

    def __init__(self, words: str, *keys: str) -> None:
        super().__init__(words)
        self.keys = keys


def read_levels(table: Mapping[str, object]) -> dict[str, float]:
    """The shares of `[meter]`. Raises: BadMark."""
    shares: dict[str, float] = {}
    for key, default in LEVELS.items():
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 100:
            raise BadMark("must be a percentage above 0, at most 100", key)
        shares[key] = value / 100
    if shares["warn_at"] >= shares["high_at"]:
        raise BadMark("warn_at must be below high_at", "warn_at", "high_at")
    return shares


def read_glyphs(table: Mapping[str, object]) -> tuple[bool, dict[str, str]]:
    """Whether `[glyphs]` wants ASCII alone, and the characters that it names. Raises: BadMark."""
    wanted = table.get("set", "unicode")
    if wanted not in SETS:
        raise BadMark('must be "unicode" or "ascii"', "set")
    drawn: dict[str, str] = {}
    for key, value in table.items():
        if key not in DRAWN:
            continue
        if not isinstance(value, str) or len(value) != 1 or cell_len(value) != 1 or not value.isprintable():
            raise BadMark("must be one character that takes one cell", key)
        drawn[key] = value
    base = ASCII if wanted == "ascii" else UNICODE
    if drawn.get("full", base.full) == drawn.get("empty", base.empty):
        raise BadMark("full and empty must differ", "full", "empty")
    return wanted == "ascii", drawn
