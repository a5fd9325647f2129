"""What a mouse selects in a transcript, in terms that heights which become known do not move.

Textual tells a selection in lines and columns of the widget. Ours counts a line as its turn's position times
`LINES_PER_TURN` plus its place in the turn.
"""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset
from textual.selection import Selection
from textual.strip import Strip

from olla_tui.widgets.transcript_model import Place, TranscriptModel
from olla_tui.widgets.transcript_turns import INDENT

LINES_PER_TURN = 1 << 20


def selection_line(place: Place) -> int:
    """The line of a place in a selection."""
    return place.position * LINES_PER_TURN + place.line


def with_selection(strip: Strip, span: tuple[int, int], style: Style) -> Strip:
    """A line with a span of its characters marked; one that ends at -1 goes to the end of the text."""
    text = strip.text
    start, end = span[0], len(text.rstrip()) if span[1] == -1 else span[1]
    if start >= end:
        return strip
    cut = [cell_len(text[:start]), cell_len(text[:end]), strip.cell_length]
    before, inside, after = strip.divide(cut)
    marked = [Segment(segment.text, (segment.style or style) + style) for segment in inside]
    return Strip.join([before, Strip(marked, inside.cell_length), after])


def selected_text(model: TranscriptModel, selection: Selection) -> str:
    """The selected text as it is on the screen, without indents; of the whole transcript the Markdown.

    The whole is selected by a double click, and laying all of it out would hold up the screen.
    """
    if selection.start is None and selection.end is None:
        return "\n\n".join(model.turns.view(at).content for at in range(len(model.turns)))
    first, last = _position(selection.start, 0), _position(selection.end, len(model.turns) - 1)
    pieces = []
    for position in range(max(first, 0), min(last + 1, len(model.turns))):
        for at, line in enumerate(model.layout(position).lines):
            span = selection.get_span(selection_line(Place(position, at)))
            if span is None:
                continue
            text = "".join(segment.text for segment in line).rstrip()
            text = text[: span[1]] if span[1] != -1 else text
            lead = len(INDENT) if text.startswith(INDENT) else len(text) - len(text.lstrip(" "))
            pieces.append(text[max(span[0], lead) :].rstrip())
    return "\n".join(pieces)


def _position(offset: Offset | None, otherwise: int) -> int:
    """Position of the turn in which a selection begins or ends."""
    return otherwise if offset is None else offset.y // LINES_PER_TURN
