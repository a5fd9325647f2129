import pytest

from olla_tui.state.graphs import ASCII, UNICODE
from olla_tui.theme import InvalidTheme, parse_theme, stand_in
from olla_tui.theme_files import BASES, builtin_text, builtin_themes
from olla_tui.theme_marks import Marks

SHORT = 'schema = 1\nname = "mine"\nextends = "olla-dark"\n'


def theme(text):
    return parse_theme(SHORT + text, "mine.toml", BASES)


def test_the_themes_that_ship_draw_as_the_screen_does_by_itself():
    assert all(shipped.marks == Marks() for shipped in builtin_themes())
    assert Marks().glyphs(ascii_only=False) == UNICODE
    assert Marks().glyphs(ascii_only=True) == ASCII


def test_levels_are_percents_in_the_file_and_shares_behind_it():
    glyphs = theme("[meter]\nwarn_at = 10\nhigh_at = 62.5\n").marks.glyphs(ascii_only=False)
    assert (glyphs.warn_at, glyphs.high_at) == (0.10, 0.625)
    assert theme("[meter]\nhigh_at = 80\n").marks == Marks(high_at=0.80)


def test_characters_replace_those_of_their_set():
    marks = theme('[glyphs]\nset = "ascii"\nfull = "%"\nempty = "·"\n').marks
    glyphs = marks.glyphs(ascii_only=False)
    assert (glyphs.full, glyphs.empty, glyphs.busy) == ("%", ASCII.empty, ASCII.busy)
    marks = theme('[glyphs]\nfull = "■"\nrule = "="\n').marks
    assert marks.glyphs(ascii_only=False).full == "■"
    plain = marks.glyphs(ascii_only=True)
    assert (plain.full, plain.rule) == (ASCII.full, "="), "a terminal without UTF-8 gets ASCII in any theme"


def test_sixteen_colours_change_no_mark():
    text = theme("[meter]\nwarn_at = 10\n")
    assert stand_in(text, builtin_text("ansi-dark")).marks == text.marks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[meter]\nwarn_at = 95\n", "mine.toml:5: meter.warn_at: warn_at must be below high_at"),
        ("[meter]\nhigh_at = 75\n", "mine.toml:5: meter.high_at: warn_at must be below high_at"),
        ('[meter]\nwarn_at = "9"\n', "mine.toml:5: meter.warn_at: must be a percentage"),
        ("[meter]\nhigh_at = 101\n", "mine.toml:5: meter.high_at: must be a percentage"),
        ("[meter]\nhigh_at = true\n", "meter.high_at: must be a percentage"),
        ('[glyphs]\nset = "nerd"\n', 'mine.toml:5: glyphs.set: must be "unicode" or "ascii"'),
        ('[glyphs]\nfull = "██"\n', "mine.toml:5: glyphs.full: must be one character"),
        ('[glyphs]\nok = "漢"\n', "glyphs.ok: must be one character that takes one cell"),
        ("[glyphs]\nok = 1\n", "glyphs.ok: must be one character"),
        ('[glyphs]\nfull = "░"\n', "glyphs.full: full and empty must differ"),
    ],
)
def test_what_cannot_be_meant_names_file_and_key(text, message):
    with pytest.raises(InvalidTheme, match=message):
        theme(text)


def test_unknown_characters_are_warnings():
    assert theme('[glyphs]\nfll = "x"\n').warnings == (
        'mine.toml:5: glyphs.fll is not known; did you mean "full"?',
    )
