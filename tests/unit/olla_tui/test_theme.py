import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from olla_tui.theme import (
    TABLES,
    InvalidTheme,
    WithoutColor,
    builtin_themes,
    contrast_ratio,
    default_variables,
    follow,
    parse_theme,
    user_themes,
    variable_name,
    without_color,
)
from olla_tui.widgets.roles import CURSOR, ROLES, RoleStyles

THEMES = {theme.name: theme for theme in builtin_themes()}

MINIMAL = """
schema = 1
name = "mine"
[colors]
primary = "#7aa2f7"
secondary = "#73c7c2"
accent = "#e0af68"
success = "#8fc573"
warning = "#e5a455"
error = "#f7768e"
foreground = "#d3d9ec"
background = "#12141c"
surface = "#191c27"
panel = "#262b3b"
"""

BACKGROUNDS = {"background", "surface", "panel", "boost"}
NO_TEXT = {"olla-faint", "olla-tab-text", "olla-cursor", "olla-cursor-dim", "olla-chat-code-background"}
"""Variables of ours that are lines and backgrounds, or text on a background of its own."""


def test_the_themes_that_ship():
    assert {"olla-dark", "olla-light", "high-contrast"} <= set(THEMES)
    assert THEMES["olla-dark"].dark and not THEMES["olla-light"].dark


@pytest.mark.parametrize("name", sorted(THEMES))
def test_a_theme_that_ships_is_complete_and_without_warnings(name):
    theme = THEMES[name]
    assert theme.warnings == ()
    for table, keys in TABLES.items():
        for key in keys:
            assert variable_name(table, key) in theme.variables


@pytest.mark.parametrize("name", sorted(THEMES))
def test_text_can_be_read(name):
    theme = THEMES[name]
    texts = {key: value for key, value in theme.colors.items() if key not in BACKGROUNDS}
    texts |= {
        key: value for key, value in theme.variables.items() if key.startswith("olla-") and key not in NO_TEXT
    }
    for key, color in texts.items():
        for background in ("background", "surface"):
            assert contrast_ratio(color, theme.colors[background]) >= 4.5, (key, background)
    assert contrast_ratio(theme.colors["foreground"], theme.colors["panel"]) >= 4.5
    assert contrast_ratio(theme.colors["foreground"], theme.variables["olla-cursor"]) >= 4.5
    assert contrast_ratio(theme.variables["olla-muted"], theme.variables["olla-cursor"]) >= 4.5
    assert contrast_ratio(theme.variables["olla-muted"], theme.colors["panel"]) >= 4.5
    assert contrast_ratio(theme.variables["olla-tab-text"], theme.variables["olla-tab"]) >= 4.5


@pytest.mark.parametrize("name", sorted(THEMES))
def test_every_role_finds_its_colour(name):
    theme = THEMES[name]
    variables = {**theme.to_textual().to_color_system().generate(), **theme.variables}
    styles = RoleStyles(variables)
    for role, look in ROLES.items():
        assert (styles[role].color is not None) == bool(look.foreground), role
        assert (styles[role].bgcolor is not None) == bool(look.background), role
    assert styles.cursor.bgcolor is not None and CURSOR.background


def test_contrast_by_the_standard():
    assert contrast_ratio("#000000", "#ffffff") == pytest.approx(21)
    assert contrast_ratio("#777777", "#777777") == 1


def test_a_short_theme_gets_the_rest_from_its_own_colours():
    theme = parse_theme(MINIMAL, "mine.toml")
    assert theme.variables["olla-chat-user"] == "#73c7c2"
    assert theme.dark and not theme.ansi


def test_references_are_filled_in_and_keep_what_follows():
    text = MINIMAL + '[variables]\ninput-selection-background = "$primary 35%"\n[chat]\nuser = "$error"\n'
    theme = parse_theme(text, "mine.toml")
    assert theme.variables["input-selection-background"] == "#7aa2f7 35%"
    assert theme.variables["olla-chat-user"] == "#f7768e"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("schema = 1", "schema = 2"), "mine.toml: schema must be 1"),
        (('name = "mine"', ""), "mine.toml: name is missing"),
        (('primary = "#7aa2f7"', ""), "mine.toml: colors.primary is missing"),
        (("#7aa2f7", "bluish"), 'mine.toml: colors.primary is no colour: "bluish"'),
        (('"#7aa2f7"', "7"), "mine.toml: colors.primary must be a colour in quotes"),
        (("schema = 1", "schema = 1\ndark = 1"), "mine.toml: dark must be true or false"),
        (("schema = 1", "schema = 1\nchat = 1"), r"mine.toml: \[chat\] must be a table"),
        (("schema = 1", "schema ="), "mine.toml is no valid TOML"),
    ],
)
def test_a_bad_theme_names_file_and_key(change, message):
    with pytest.raises(InvalidTheme, match=message):
        parse_theme(MINIMAL.replace(*change), "mine.toml")


def test_unknown_keys_are_warnings_with_the_nearest():
    theme = parse_theme(MINIMAL + '[meter]\nlwo = "$error"\n[chats]\n', "mine.toml")
    assert theme.warnings == (
        'mine.toml: chats is not known; did you mean "chat"?',
        'mine.toml: meter.lwo is not known; did you mean "low"?',
    )


def test_a_reference_to_nothing_names_the_nearest():
    with pytest.raises(InvalidTheme, match=r'chat.user refers to "\$secondry".*"secondary"'):
        parse_theme(MINIMAL + '[chat]\nuser = "$secondry"\n', "mine.toml")


def test_the_users_themes_load_around_those_that_fail(tmp_path):
    (tmp_path / "a.toml").write_text(MINIMAL)
    (tmp_path / "b.toml").write_text("schema = 7")
    (tmp_path / "c.toml").write_text("#" * 100_000)
    loaded, failed = user_themes(tmp_path)
    assert [theme.name for theme in loaded] == ["mine"]
    assert "b.toml" in failed[0].message and "larger" in failed[1].message
    assert user_themes(tmp_path / "none") == ([], [])


def test_references_are_followed_to_their_end():
    variables = {"a": "$b", "b": "red", "x": "$y", "y": "$x"}
    assert follow("$a", variables) == "red"
    assert follow("blue 30%", variables) == "blue 30%"
    assert follow("$x", variables) in ("$x", "$y"), "a circle ends somewhere"
    assert follow("$none", variables) == "$none"


def test_without_colour_what_stood_out_is_reversed():
    assert without_color(Style(color="red", bold=True)) == Style(
        color="default", bgcolor="default", bold=True, reverse=False
    )
    assert without_color(Style(color="black", bgcolor="blue")).reverse
    assert not without_color(Style(color="red", bgcolor="default")).reverse
    assert without_color(Style(reverse=True)).reverse
    (segment,) = WithoutColor().apply([Segment("x", Style(color="red"))], Color(0, 0, 0))
    assert segment.style is not None and segment.style.color is not None and segment.style.color.is_default


def test_themes_that_know_nothing_of_us_get_all_variables():
    ours = {variable_name(table, key) for table, keys in TABLES.items() for key in keys}
    assert ours == set(default_variables())
