import pytest

from olla_tui.settings import TuiSettings, color_depth, read_keys, speaks_utf8
from server.settings import Settings


def test_settings_of_the_screen_come_from_the_servers(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[tui]\ntheme = "olla-light"\nmouse = false\n[keys]\n"app.help" = ["f1", "alt+h"]\n')
    home = {"HOME": str(tmp_path), "OLLA_HOME": str(tmp_path / "o")}
    environ = {**home, "OLLA_CONFIG": str(config), "NO_COLOR": "1"}
    settings = TuiSettings.from_settings(Settings.load(environ=environ))
    assert (settings.theme, settings.mouse, settings.no_color) == ("olla-light", False, True)
    assert settings.keys == {"app.help": ["f1", "alt+h"]}
    assert settings.history_file == tmp_path / "o" / "chats.sqlite"
    assert settings.themes_dir == tmp_path / "themes"
    assert settings.clip_file == tmp_path / ".cache" / "olla" / "clip.txt"


def test_no_history_means_no_file(tmp_path):
    settings = Settings.load(environ={"HOME": str(tmp_path), "OLLAMA_NOHISTORY": "1"})
    assert TuiSettings.from_settings(settings).history_file is None


def test_a_slow_link_is_asked_less_of():
    slow, fast = (TuiSettings().pace(low_bandwidth=low) for low in (True, False))
    assert slow.poll_s > fast.poll_s and slow.frames_per_s < fast.frames_per_s


@pytest.mark.parametrize(
    ("terminal", "utf8"),
    [
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "de_DE@euro"}, False),
        ({}, True),
        ({"LANG": "C"}, True),
    ],
)
def test_the_locale_tells_whether_glyphs_can_be_shown(terminal, utf8):
    assert speaks_utf8(terminal) is utf8


@pytest.mark.parametrize(
    ("terminal", "depth"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm"}, "truecolor"),
        ({"COLORTERM": " 24bit "}, "truecolor"),
        ({"TERM": "xterm-direct"}, "truecolor"),
        ({"TERM": "tmux-256color"}, "256"),
        ({"TERM": "xterm-kitty"}, "256"),
        ({"TERM": "xterm-16color"}, "16"),
        ({"TERM": "linux"}, "16"),
        ({}, "16"),
    ],
)
def test_the_terminal_says_how_many_colours_it_has(terminal, depth):
    assert color_depth(terminal) == depth


def test_bad_keys_are_told_and_the_good_ones_kept(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[keys]\n"app.help" = 7\n"chat.new" = "f5"\n')
    keys, problems = read_keys(config)
    assert keys == {"chat.new": "f5"}
    assert problems == [f'{config}: keys."app.help" must be a key or a list of keys']
    config.write_text("keys = 1")
    assert read_keys(config) == ({}, [f"{config}: [keys] must be a table"])
    config.write_text("keys =")
    assert "cannot be read" in read_keys(config)[1][0]
    assert read_keys(tmp_path / "none.toml") == ({}, [])
