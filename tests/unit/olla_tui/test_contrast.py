import pytest

from olla_tui.contrast import DEPTHS, MIN_METER, MIN_TEXT, contrast_ratio, contrasts, shown_rgb
from olla_tui.theme_files import BUILTIN, builtin_theme, check, in_depth


def test_contrast_by_the_standard():
    assert contrast_ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast_ratio("#777777", "#777777") == 1


@pytest.mark.parametrize("name", BUILTIN)
def test_a_theme_that_ships_can_be_read_in_every_depth(name):
    found = check(builtin_theme(name))
    assert {entry.depth for entry in found} == set(DEPTHS)
    assert [entry for entry in found if not entry.is_enough] == []


@pytest.mark.parametrize("name", BUILTIN)
@pytest.mark.parametrize("depth", DEPTHS)
def test_the_line_under_the_cursor_stands_out(name, depth):
    theme = in_depth(builtin_theme(name), depth)
    cursor, ground = (
        shown_rgb(theme.values[key], depth, dark=theme.dark, is_background=True)
        for key in ("olla-cursor", "background")
    )
    assert cursor != ground or theme.ansi, "an ANSI theme's cursor is reverse video"


def test_text_and_meters_are_held_to_their_own_measures():
    values = dict(builtin_theme("olla-dark").values)
    values["olla-meter-low"] = values["olla-muted"] = "#5f6680"
    found = {
        entry.name: entry
        for entry in contrasts(values, dark=True, depth="truecolor")
        if entry.background == "background"
    }
    meter, text = found["olla-meter-low"], found["olla-muted"]
    assert (meter.needed, text.needed) == (MIN_METER, MIN_TEXT)
    assert meter.ratio == text.ratio and meter.is_enough and not text.is_enough


def test_colours_are_those_that_the_terminal_can_show():
    assert shown_rgb("#123456", "truecolor", dark=True) == (0x12, 0x34, 0x56)
    assert shown_rgb("#0000f0", "256", dark=True) == (0, 0, 0xFF)
    assert shown_rgb("#fe0101", "16", dark=True) == (0xCD, 0, 0)
    assert shown_rgb("ansi_default", "16", dark=True) == (0xE5, 0xE5, 0xE5)
    assert shown_rgb("ansi_default", "16", dark=True, is_background=True) == (0, 0, 0)
    assert shown_rgb("ansi_default", "16", dark=False, is_background=True) == (0xFF, 0xFF, 0xFF)
