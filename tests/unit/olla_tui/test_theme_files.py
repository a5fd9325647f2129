import pytest

from olla_tui.theme_files import folder_state, load_theme, new_theme, user_themes
from olla_tui.theme_shelf import ThemeShelf
from server.errors import OllaError

SHORT = 'schema = 1\nname = "mine"\nextends = "olla-dark"\n'


def test_the_users_themes_load_around_those_that_fail(tmp_path):
    (tmp_path / "a.toml").write_text(SHORT)
    (tmp_path / "b.toml").write_text("schema = 7")
    (tmp_path / "c.toml").write_text("#" * 100_000)
    (tmp_path / "d.toml").write_bytes(b"\xff")
    loaded, failed = user_themes(tmp_path)
    assert [theme.name for theme in loaded] == ["mine"]
    assert [word in error.message for word, error in zip(("b.toml:1", "larger", "read"), failed, strict=True)]
    assert user_themes(tmp_path / "none") == ([], [])


def test_a_variable_that_textual_does_not_know_is_told(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(SHORT + '[variables]\nborder = "red"\nbroder = "red"\n')
    assert load_theme(path).warnings == (f"{path}: variables.broder is no variable of Textual's",)


def test_a_new_theme_loads_as_its_base_and_is_never_written_over(tmp_path):
    path = new_theme(tmp_path / "themes", "mine")
    theme = load_theme(path)
    assert (theme.name, theme.warnings) == ("mine", ())
    assert '# primary = "#7aa2f7"' in path.read_text()
    with pytest.raises(OllaError, match="is there already"):
        new_theme(tmp_path / "themes", "mine")
    (tmp_path / "file").touch()
    with pytest.raises(OllaError, match="cannot be written"):
        new_theme(tmp_path / "file", "mine")


class TestShelf:
    def shelf(self, directory, wanted="olla-dark", depth="truecolor", **flags):
        return ThemeShelf(directory, wanted, depth, **{"without_color": False, **flags})

    def test_the_first_frame_needs_one_theme_and_the_rest_follow(self):
        shelf = self.shelf(None, "high-contrast")
        assert [theme.name for theme in shelf.first()] == ["high-contrast"]
        assert "olla-dark" in [theme.name for theme in shelf.rest()]
        assert len(shelf.names()) == 8

    def test_a_theme_that_is_not_there_leaves_the_default(self, tmp_path):
        assert [theme.name for theme in self.shelf(tmp_path, "nothing").first()] == ["olla-dark"]

    def test_a_theme_that_was_changed_is_read_again_and_a_fault_leaves_the_old_one(self, tmp_path):
        path = tmp_path / "mine.toml"
        path.write_text(SHORT)
        shelf = self.shelf(tmp_path, "mine")
        assert [theme.name for theme in shelf.first()] == ["mine"]
        assert shelf.changed() == []
        path.write_text(SHORT + '[colors]\naccent = "#123456"\n')
        (theme,) = shelf.changed()
        assert theme.colors["accent"] == "#123456" and shelf.problems == []
        path.write_text(SHORT + '[colors]\naccent = "bluish, or so"\n')
        assert shelf.changed() == [] and "mine.toml:5: colors.accent" in shelf.problems[0]
        assert "mine" in shelf.names()
        path.unlink()
        assert shelf.changed() == [] and folder_state(tmp_path) == ()

    def test_without_colours_there_is_one_theme(self, tmp_path):
        (tmp_path / "mine.toml").write_text(SHORT)
        shelf = self.shelf(tmp_path, "mine", without_color=True)
        assert [theme.name for theme in shelf.first()] == ["mono"] == shelf.names()
        assert shelf.rest() == [] == shelf.changed() and shelf.is_mono("mono")

    def test_in_sixteen_colours_every_theme_is_made_of_them(self):
        shelf = self.shelf(None, "olla-light", "16")
        themes = [*shelf.first(), *shelf.rest()]
        assert all(theme.ansi for theme in themes)
        assert themes[0].name == "olla-light" and not themes[0].dark
        assert shelf.is_mono("mono") and not shelf.is_mono("olla-dark")
