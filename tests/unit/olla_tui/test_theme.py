import pytest

from olla_tui.theme import (
    TABLES,
    InvalidTheme,
    default_variables,
    follow,
    parse_theme,
    stand_in,
    variable_name,
)
from olla_tui.theme_files import BASES, BUILTIN, builtin_text, builtin_themes
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


def test_the_themes_that_ship():
    assert set(THEMES) == set(BUILTIN) and len(BUILTIN) == 8
    assert THEMES["olla-dark"].dark and not THEMES["olla-light"].dark


@pytest.mark.parametrize("name", sorted(THEMES))
def test_a_theme_that_ships_is_complete_and_without_warnings(name):
    theme = THEMES[name]
    assert theme.warnings == ()
    for table, keys in TABLES.items():
        for key in keys:
            assert variable_name(table, key) in theme.variables


@pytest.mark.parametrize("name", sorted(THEMES))
def test_every_role_finds_its_colour(name):
    theme = THEMES[name]
    variables = {**theme.to_textual().to_color_system().generate(), **theme.variables}
    styles = RoleStyles(variables)
    for role, look in ROLES.items():
        assert (styles[role].color is not None) == bool(look.foreground), role
        # An ANSI theme leaves the ground of most things to the terminal.
        has_ground = bool(look.background) and not (theme.ansi and look.background == "panel")
        assert (styles[role].bgcolor is not None) == has_ground, role
    has_ground = styles.cursor.bgcolor is not None and not styles.cursor.bgcolor.is_default
    assert has_ground != bool(styles.cursor.reverse) and CURSOR.background


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
        (("schema = 1", "schema = 2"), "mine.toml:2: schema must be 1"),
        (('name = "mine"', ""), "mine.toml: name is missing"),
        (('primary = "#7aa2f7"', ""), "mine.toml:4: colors.primary is missing"),
        (("#7aa2f7", "bluish"), 'mine.toml:5: colors.primary is no colour: "bluish"'),
        (('"#7aa2f7"', "7"), "mine.toml:5: colors.primary must be a colour in quotes"),
        (("schema = 1", "schema = 1\ndark = 1"), "mine.toml:3: dark must be true or false"),
        (("schema = 1", "schema = 1\nchat = 1"), r"mine.toml:3: \[chat\] must be a table"),
        (("schema = 1", "schema ="), "mine.toml is no valid TOML"),
    ],
)
def test_a_bad_theme_names_file_and_key(change, message):
    with pytest.raises(InvalidTheme, match=message):
        parse_theme(MINIMAL.replace(*change), "mine.toml")


def test_unknown_keys_are_warnings_with_the_nearest():
    theme = parse_theme(MINIMAL + '[meter]\nlwo = "$error"\n[chats]\n', "mine.toml")
    assert theme.warnings == (
        'mine.toml:17: chats is not known; did you mean "chat"?',
        'mine.toml:16: meter.lwo is not known; did you mean "low"?',
    )


def test_a_reference_to_nothing_names_the_nearest():
    with pytest.raises(InvalidTheme, match=r'chat.user refers to "\$secondry".*"secondary"'):
        parse_theme(MINIMAL + '[chat]\nuser = "$secondry"\n', "mine.toml")


def test_a_theme_that_extends_another_says_only_what_differs():
    text = 'schema = 1\nname = "mine"\nextends = "olla-light"\n[colors]\naccent = "#123456"\n'
    theme, base = parse_theme(text, "mine.toml", BASES), THEMES["olla-light"]
    assert theme.dark == base.dark and theme.colors["primary"] == base.colors["primary"]
    assert theme.colors["accent"] == theme.variables["olla-key"] == "#123456"
    assert theme.variables["olla-muted"] == base.variables["olla-muted"]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("olla-drak", 'mine.toml:3: extends "olla-drak", which is no theme .*"olla-dark"'),
        ("mine", 'mine.toml:3: extends "mine", which is no theme'),
        ("mono", 'mine.toml:3: extends "mono", which extends another theme itself'),
    ],
)
def test_a_theme_extends_one_that_stands_alone(base, message):
    with pytest.raises(InvalidTheme, match=message):
        parse_theme(f'schema = 1\nname = "mine"\nextends = "{base}"\n', "mine.toml", BASES)


def test_where_there_are_sixteen_colours_a_theme_may_say_what_differs():
    text = MINIMAL + '[sixteen.colors]\nerror = "ansi_magenta"\n'
    shown = stand_in(parse_theme(text, "mine.toml"), builtin_text("ansi-dark"))
    assert shown.name == "mine" and shown.ansi
    assert shown.colors["error"] == shown.variables["olla-meter-high"] == "ansi_magenta"
    assert shown.colors["primary"] == THEMES["ansi-dark"].colors["primary"]


def test_references_are_followed_to_their_end():
    variables = {"a": "$b", "b": "red", "x": "$y", "y": "$x"}
    assert follow("$a", variables) == "red"
    assert follow("blue 30%", variables) == "blue 30%"
    assert follow("$x", variables) in ("$x", "$y"), "a circle ends somewhere"
    assert follow("$none", variables) == "$none"


def test_themes_that_know_nothing_of_us_get_all_variables():
    ours = {variable_name(table, key) for table, keys in TABLES.items() for key in keys}
    assert ours == set(default_variables())
