"""Jump mode: a letter or digit on every place that one can go to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from olla_tui.state.rows import Row, width_of

LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""In the order in which fingers find them; digits belong to the panes."""


class Place(NamedTuple):
    """Where a key stands on the screen, in cells, and what it leads to: the id of an action or a widget."""

    x: int
    y: int
    goal: str


class Target(NamedTuple):
    """A key and its place."""

    key: str
    place: Place


def targets(panes: Sequence[str], headings: Iterable[Place], widgets: Iterable[Place]) -> list[Target]:
    """Keys for all places: a pane's digit on each of its headings, then letters as far as they go.

    Args:
        panes: ids in the order of their digits.
        headings: places whose goal is "pane.ID".
    """
    digits = {f"pane.{pane}": str(number) for number, pane in enumerate(panes[:9], start=1)}
    found = [Target(digits[place.goal], place) for place in headings if place.goal in digits]
    found += [Target(key, place) for key, place in zip(LETTERS, widgets, strict=False)]
    return found


def places_in(rows: Sequence[Row], x: int, y: int) -> list[Place]:
    """The first span of each row's actions, for a board of rows at that place."""
    found: list[Place] = []
    for line, spans in enumerate(rows):
        known: set[str] = set()
        for index, span in enumerate(spans):
            if span.action and span.action not in known and span.text.strip():
                known.add(span.action)
                indent = len(span.text) - len(span.text.lstrip())
                found.append(Place(x + width_of(spans[:index]) + indent, y + line, span.action))
    return found
