"""What is sent in the place of a frame leaves the terminal as the frame would."""

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olla_tui.cell_diff import MAX_STYLES, SYNC_BEGIN, SYNC_END, CellDiff, has_plain_cells

COLUMNS, ROWS = 24, 5
SIZE = (COLUMNS, ROWS)

STYLES = (
    "0",
    "1",
    "38;5;9",
    "38;5;9;48;5;17",
    "1;38;5;9;48;5;17",
    "4",
    "7;31;44",
    "38;2;1;2;3;48;2;4;5;6",
    "48;5;17",
)


def run(column: int, row: int, style: str, text: str) -> str:
    """A piece of a frame as Textual writes it, which ends no last line."""
    newline = "\n" if row < ROWS else ""
    return f"\x1b[{row};{column}H\x1b[{style}m{text}\x1b[0m{newline}"


@st.composite
def runs(draw):
    column, row = draw(st.integers(1, COLUMNS - 2)), draw(st.integers(1, ROWS))
    text = draw(st.text("ab █·é", min_size=1, max_size=COLUMNS + 1 - column))
    return run(column, row, draw(st.sampled_from(STYLES)), text)


@st.composite
def wide_runs(draw):
    """With characters of two cells, on rows of their own: half of one is nowhere overwritten."""
    text = draw(st.text("a日 語", min_size=1, max_size=COLUMNS // 2))
    return run(
        1,
        draw(st.integers(1, ROWS)),
        draw(st.sampled_from(STYLES)),
        text.ljust(COLUMNS - text.count("日") - text.count("語")),
    )


frames = st.lists(st.lists(runs(), max_size=4), max_size=6)


class Terminal:
    """What a terminal shows after all that was sent to it."""

    def __init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.Stream(self.screen)

    def take(self, text: str) -> None:
        self._stream.feed(text)

    def cells(self):
        """What can be seen: of a blank neither the colour of letters nor boldness."""
        return [[seen(self.screen.buffer[row][column]) for column in range(COLUMNS)] for row in range(ROWS)]

    @property
    def cursor(self) -> tuple[int, int]:
        return self.screen.cursor.y + 1, self.screen.cursor.x + 1


def seen(cell):
    if cell.data == " " and not (cell.reverse or cell.underscore or cell.strikethrough):
        return cell._replace(fg="default", bold=False, italics=False)
    return cell


def finished(pieces: list[str]) -> str:
    return "".join(pieces) + "\x1b[1;2H"


@settings(max_examples=300, deadline=None)
@given(frames)
def test_any_frames_show_what_they_would(drawn):
    diff, direct, spared = CellDiff(), Terminal(), Terminal()
    for pieces in drawn:
        frame = finished(pieces)
        direct.take(frame)
        spared.take(diff.feed(frame, *SIZE))
        assert spared.cells() == direct.cells()
        assert spared.cursor == direct.cursor


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(wide_runs(), max_size=3), max_size=5))
def test_characters_of_two_cells_are_sent_in_whole(drawn):
    diff, direct, spared = CellDiff(), Terminal(), Terminal()
    for pieces in drawn:
        direct.take(finished(pieces))
        spared.take(diff.feed(finished(pieces), *SIZE))
        assert spared.cells() == direct.cells()


@settings(max_examples=100, deadline=None)
@given(frames, st.sampled_from(("\x1b[?1049h", "\x1b[2J", "\x1bPq\x1b\\", "\x1b[3A", "\x1b]8;;x\x1b\\")))
def test_what_is_not_understood_goes_on_as_it_came_and_all_is_sent_again(drawn, control):
    diff = CellDiff()
    frame = finished([run(1, 1, "1", "abc")])
    first = diff.feed(frame, *SIZE)
    for pieces in drawn:
        diff.feed(finished(pieces), *SIZE)
    assert diff.feed(control, *SIZE) == control
    assert diff.feed(frame, *SIZE) == first


def test_a_frame_twice_sends_nothing_the_second_time():
    diff = CellDiff()
    frame = SYNC_BEGIN, finished([run(1, 1, "1;31", "one two"), run(10, 3, "48;5;17", "   ")]), SYNC_END
    assert "one two" in "".join(diff.feed(part, *SIZE) for part in frame)
    assert [diff.feed(part, *SIZE) for part in frame] == ["", "", ""]


def test_only_what_changes_is_sent_with_what_changes_of_its_style():
    diff = CellDiff()
    diff.feed(finished([run(1, 2, "38;5;7;48;5;17", "count 10 of 20" + " " * 10)]), *SIZE)
    sent = diff.feed(finished([run(1, 2, "38;5;7;48;5;17", "count 11 of 20" + " " * 10)]), *SIZE)
    assert sent == "\x1b[2;8H\x1b[38;5;7;48;5;17m1\x1b[m\x1b[1;2H"


def test_blanks_do_not_switch_the_colour_of_letters():
    diff = CellDiff()
    diff.feed(finished([run(1, 1, "48;5;17", "x" * COLUMNS)]), *SIZE)
    words = (("31", "ab"), ("32", "  "), ("33", " "), ("34", "c"))
    frame = "\x1b[1;1H" + "".join(f"\x1b[{color};48;5;17m{text}\x1b[0m" for color, text in words)
    assert diff.feed(frame, *SIZE) == "\x1b[1G\x1b[31;48;5;17mab   \x1b[34mc\x1b[m"


def test_updates_in_which_something_changes_stay_updates():
    diff = CellDiff()
    parts = [diff.feed(part, *SIZE) for part in (SYNC_BEGIN, run(1, 1, "0", "a"), SYNC_END)]
    assert parts[0] == "" and parts[1].startswith(SYNC_BEGIN) and parts[2] == SYNC_END


@pytest.mark.parametrize(
    "control", ["\x1b[?25l", "\x1b[?1003l", "\x1b[>1u", "\x1b]0;olla\x07", "\x1b]52;c;YQ==\x07"]
)
def test_modes_titles_and_copies_change_nothing_on_the_screen(control):
    diff = CellDiff()
    frame = finished([run(1, 1, "1", "abc")])
    diff.feed(frame, *SIZE)
    assert diff.feed(control, *SIZE) == control
    assert diff.feed(frame, *SIZE) == ""


def test_a_frame_for_a_larger_terminal_goes_on_as_it_came():
    diff = CellDiff()
    frame = finished([run(1, 1, "1", "abc")])
    first = diff.feed(frame, *SIZE)
    for larger in (run(COLUMNS - 1, 1, "0", "abc"), run(1, ROWS + 1, "0", "abc")):
        assert diff.feed(larger, *SIZE) == larger
        assert diff.feed(frame, *SIZE) == first


def test_many_styles_do_not_pile_up():
    diff = CellDiff()
    for number in range(MAX_STYLES + 10):
        diff.feed(run(1, 1, f"38;2;{number % 256};{number // 256};7", "x"), *SIZE)
    assert len(diff._styles._texts) < 100


@pytest.mark.parametrize("text", ["abc", "é·…–", "─│█▏⣿", "●◌▸▾✓✗⏎", "αβ ая"])
def test_characters_that_every_terminal_gives_one_cell(text):
    assert has_plain_cells(text)


@pytest.mark.parametrize(
    "text", ["日", "e\u0301", "👍", "☔", "⌚", "✅", "\u200b", "a\u00ad", "क्ष", "\ufe0f"]
)
def test_characters_on_whose_width_terminals_differ(text):
    assert not has_plain_cells(text)
