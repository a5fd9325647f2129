import pytest
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from olla_tui.plain_look import OnlyAscii, WithoutColor, ascii_text, without_color

BLACK = Color(0, 0, 0)


def test_without_colour_what_stood_out_is_reversed():
    assert without_color(Style(color="red", bold=True)) == Style(
        color="default", bgcolor="default", bold=True, reverse=False
    )
    assert without_color(Style(color="black", bgcolor="blue")).reverse
    assert not without_color(Style(color="red", bgcolor="default")).reverse
    assert without_color(Style(reverse=True)).reverse
    (segment,) = WithoutColor().apply([Segment("x", Style(color="red"))], BLACK)
    assert segment.style is not None and segment.style.color is not None and segment.style.color.is_default


@pytest.mark.parametrize("first", [0x2500, 0x2580, 0x25A0, 0x2800, 0xA0, 0x370, 0x4E00, 0x1F600])
def test_stand_ins_take_the_cells_of_what_they_stand_for(first):
    text = "".join(chr(first + offset) for offset in range(96))
    shown = ascii_text(text, True)
    assert shown.isascii() and shown.isprintable()
    assert cell_len(shown) == cell_len(text)


def test_boxes_bars_and_graphs_can_be_told_apart():
    assert ascii_text("╭─┬│╎", False) == "+-+||"
    assert ascii_text("█░▓", False) == "#.="
    assert ascii_text("⠁⣿", False) == ".#"
    assert ascii_text("… ❯", False) == "~ >"


def test_letters_stay_where_the_terminal_can_show_them():
    assert ascii_text("ü 字", False) == "ü 字"
    assert ascii_text("é ж字", True) == "e ???"
    filtered = OnlyAscii(letters=True).apply([Segment("plain"), Segment("│字")], BLACK)
    assert "".join(text for text, _, _ in filtered) == "plain|??"
