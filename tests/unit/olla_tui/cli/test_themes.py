import pytest

from olla_tui.cli.main import run_command
from olla_tui.cli.themes import swatch
from olla_tui.theme_files import BUILTIN, builtin_theme


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("OLLA_CONFIG", raising=False)
    return tmp_path


def test_a_new_theme_is_written_checked_and_listed(home, capsys):
    assert run_command(["theme", "new", "mine"]) == 0
    path = home / "config" / "olla" / "themes" / "mine.toml"
    assert str(path) in capsys.readouterr().out
    assert run_command(["theme", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["truecolor", "256", "16"]
    assert out.count("can be read") == 3
    assert run_command(["theme", "list"]) == 0
    assert capsys.readouterr().out.split("\n")[: len(BUILTIN) + 1] == [*BUILTIN, "mine  (yours)"]


def test_a_theme_that_cannot_be_read_fails_the_check_and_says_what(home, capsys):
    path = home / "pale.toml"
    head = 'schema = 1\nname = "pale"\nextends = "olla-dark"\n'
    path.write_text(head + '[text]\nmuted = "#333333"\nmutd = "red"\n')
    assert run_command(["theme", "check", str(path)]) == 1
    told = capsys.readouterr()
    assert "olla-muted on background: 1." in told.out and "needed 4.5:1" in told.out
    assert f'Warning: {path}:6: text.mutd is not known; did you mean "muted"?' in told.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "/nowhere/x.toml"], "cannot be read"),
        (["new", "My Theme"], "is no name for a theme"),
        (["new", "mono"], "is the name of a theme that ships"),
        (["check"], "arg"),
    ],
)
def test_what_cannot_be_done_is_one_line(words, message, capsys):
    assert run_command(["theme", *words]) == 1
    told = capsys.readouterr()
    assert message in told.err and told.err.startswith("Error: ") and told.err.count("\n") == 1


def test_the_swatch_has_the_colours_of_the_terminal():
    theme = builtin_theme("olla-dark")
    assert "38;2;122;162;247" in swatch(theme, {"COLORTERM": "truecolor"})
    assert "38;5;" in swatch(theme, {"TERM": "xterm-256color"})
    assert "38;" not in swatch(theme, {"TERM": "xterm"})
