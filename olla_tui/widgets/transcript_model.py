"""All turns of a transcript: their heights, the lines of those that were seen, and places that survive.

Heights of turns that nobody has seen are estimates, and in a conversation that was just loaded or got another
width they are the mean of a few of them until `estimate_some` has come by. A turn is laid out when it comes
into view. The lines of turns are a cache with a bound. No Textual in here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

from olla_tui.text.heights import HeightIndex
from olla_tui.text.wrap import Line
from olla_tui.widgets.transcript_layout import TranscriptStyles, Turn, TurnLayout
from olla_tui.widgets.transcript_turn_list import TurnList
from olla_tui.widgets.transcript_turns import TurnView

MAX_CACHED_LINES = 2000
"""Drawn lines that are kept, at about 900 bytes each."""
MIN_CACHED_TURNS = 4
"""Turns whose lines are kept however many they are: those of one view, should each of them be long."""

N_SAMPLES = 32
"""Turns whose estimates stand in for all others' at first."""

GOLDEN_RATIO = (1 + 5**0.5) / 2


class Place(NamedTuple):
    """A line of a turn: `position` of the turn, `line` in it from 0."""

    position: int
    line: int


class FirmPlace(NamedTuple):
    """A line of a turn in terms that no width changes: a block, and how far down in it (0 to 1)."""

    position: int
    block: int
    share: float


class TranscriptModel:
    """Turns in order, and their lines at the present width."""

    def __init__(self, styles: TranscriptStyles, width: int = 80) -> None:
        self._styles = styles
        self._width = width
        self._heights = HeightIndex()
        self._layouts: OrderedDict[int, TurnLayout] = OrderedDict()  # by turn id, least recently used first
        self._n_cached_lines = 0
        self._exact: set[int] = set()  # ids of turns whose height is known
        self._n_guessed = 0  # turns from the first on of which not even an estimate is known
        self._next_id = 1
        self.turns = TurnList()

    # --- turns ---

    def add(self, turn: Turn) -> None:
        """Put a turn at the end."""
        self.turns.append(turn)
        self._heights.append(self.turns.estimate(len(self.turns) - 1, self._width))

    def replace_all(self, views: Sequence[TurnView]) -> None:
        """Take turns of these views in the place of all others; see `TurnList`."""
        self.turns = TurnList(views, first_id=self._next_id)
        self._next_id += len(views)
        self._forget_lines()

    def truncate(self, position: int) -> None:
        """Keep the turns before a position."""
        for turn_id in self.turns.ids[position:]:
            self._exact.discard(turn_id)
            self._drop(turn_id)
        self.turns.truncate(position)
        self._heights.truncate(position)
        self._n_guessed = min(self._n_guessed, position)

    def new_id(self) -> int:
        """An id that no turn has had."""
        self._next_id += 1
        return self._next_id - 1

    def position(self, turn_id: int) -> int:
        """Where a turn stands. Raises: KeyError."""
        return self.turns.position(turn_id)

    # --- appearance ---

    @property
    def width(self) -> int:
        """Cells per line."""
        return self._width

    @property
    def styles(self) -> TranscriptStyles:
        """What the lines are drawn with."""
        return self._styles

    def restyle(self, styles: TranscriptStyles) -> None:
        """Draw with other styles; heights stay."""
        self._styles = styles
        self._layouts.clear()
        self._n_cached_lines = 0

    def set_width(self, width: int) -> None:
        """Lay everything out for another width; no height is known any more."""
        self._width = max(width, 1)
        self._forget_lines()

    def _forget_lines(self) -> None:
        self._layouts.clear()
        self._n_cached_lines = 0
        self._exact.clear()
        n_turns = self._n_guessed = len(self.turns)
        # Multiples of the golden ratio lie evenly and fall in with no rhythm of questions and answers.
        samples = (int(n_turns * (at * GOLDEN_RATIO % 1)) for at in range(min(N_SAMPLES, n_turns)))
        guess = round(fmean(self.turns.estimate(at, self._width) for at in samples)) if n_turns else 0
        self._heights = HeightIndex([guess] * n_turns)

    def estimate_some(self, go_on: Callable[[], bool]) -> bool:
        """Estimate guessed heights, the last turn's first, as long as `go_on`; whether any are left."""
        while self._n_guessed and go_on():
            self._n_guessed -= 1
            if not self.is_exact(self._n_guessed):
                self._heights.set(self._n_guessed, self.turns.estimate(self._n_guessed, self._width))
        return self._n_guessed > 0

    # --- lines ---

    @property
    def n_lines(self) -> int:
        """Lines of all turns, as far as they are known."""
        return self._heights.total

    def height(self, position: int) -> int:
        """Lines of a turn, as far as they are known."""
        return self._heights[position]

    def is_exact(self, position: int) -> bool:
        """Whether a turn's height is no estimate."""
        return self.turns.ids[position] in self._exact

    def top(self, position: int) -> int:
        """The line at which a turn begins."""
        return self._heights.top(position)

    def find(self, line: int) -> Place:
        """The place of a line. Raises: IndexError when there are no turns."""
        return Place(*self._heights.find(line))

    def line_at(self, line: int) -> tuple[Place, Line] | None:
        """The place and the content of a line; None past the end."""
        if not 0 <= line < self.n_lines:
            return None
        place = self.find(line)
        lines = self.layout(place.position).lines
        return place, lines[place.line] if place.line < len(lines) else []

    def layout(self, position: int) -> TurnLayout:
        """The lines of a turn, made when they are not there."""
        turn = self.turns[position]
        layout = self._layouts.get(turn.id)
        if layout is None:
            layout = TurnLayout(turn, self._width, self._styles)
            self._layouts[turn.id] = layout
            self._n_cached_lines += len(layout.lines)
            turn.forget_blocks()
            self._settle_height(position, layout)
            self._evict(turn.id)
        else:
            self._layouts.move_to_end(turn.id)
        return layout

    def update(self, position: int) -> list[int]:
        """Catch up with a turn that changed; returns the lines of it that look different."""
        turn = self.turns[position]
        layout = self._layouts.get(turn.id)
        if layout is None:
            return list(range(len(self.layout(position).lines)))
        before = len(layout.lines)
        changed = layout.update()
        self._n_cached_lines += len(layout.lines) - before
        self._settle_height(position, layout)
        return changed

    def measure_down(self, place: Place, n_lines: int) -> None:
        """Know the heights of all turns from a place down for a number of lines."""
        position, wanted = place.position, n_lines + place.line
        while position < len(self.turns) and wanted > 0:
            wanted -= self._exact_height(position)
            position += 1

    def measure_up(self, position: int, n_lines: int) -> None:
        """Know the heights of all turns from one upwards for a number of lines."""
        while position >= 0 and n_lines > 0:
            n_lines -= self._exact_height(position)
            position -= 1

    def walk(self, place: Place, delta: int) -> Place:
        """The place `delta` lines further down (up when negative) in known heights; stops at either end."""
        position, line = place.position, place.line + delta
        while line < 0 and position > 0:
            position -= 1
            line += self._exact_height(position)
        while position < len(self.turns) - 1 and line >= self._exact_height(position):
            line -= self._exact_height(position)
            position += 1
        return Place(position, min(max(line, 0), max(self._exact_height(position) - 1, 0)))

    def firm(self, place: Place) -> FirmPlace:
        """A place that survives a change of width."""
        spans = self.layout(place.position).spans
        for at in range(len(spans) - 1, -1, -1):
            span = spans[at]
            if span.start <= place.line:
                share = (place.line - span.start) / (span.end - span.start)
                return FirmPlace(place.position, at, min(share, 1.0))
        return FirmPlace(place.position, -1, 0.0)

    def resolve(self, firm: FirmPlace) -> Place:
        """Where a firm place is now."""
        layout = self.layout(firm.position)
        if not 0 <= firm.block < len(layout.spans):
            return Place(firm.position, 0)
        span = layout.spans[firm.block]
        line = span.start + int(firm.share * (span.end - span.start))
        return Place(firm.position, min(line, len(layout.lines) - 1))

    def _exact_height(self, position: int) -> int:
        if not self.is_exact(position):
            self.layout(position)
        return self._heights[position]

    def _settle_height(self, position: int, layout: TurnLayout) -> None:
        self._heights.set(position, len(layout.lines))
        self._exact.add(self.turns[position].id)

    def _evict(self, keep: int) -> None:
        """Forget lines that were not used for longest; those of open turns and of `keep` stay."""
        for turn_id in list(self._layouts)[:-MIN_CACHED_TURNS]:
            if self._n_cached_lines <= MAX_CACHED_LINES:
                return
            if turn_id != keep and not self.turns[self.position(turn_id)].streaming:
                self._drop(turn_id)

    def _drop(self, turn_id: int) -> None:
        layout = self._layouts.pop(turn_id, None)
        if layout is not None:
            self._n_cached_lines -= len(layout.lines)
