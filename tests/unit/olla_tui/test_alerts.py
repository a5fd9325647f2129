import pytest

from olla_tui.alerts import MAX_WORDS, alert, title
from server.settings import Settings


def test_each_kind_has_its_sequence_and_none_has_none():
    assert alert(("bell",), "done", {}) == "\x07"
    assert alert(("notify",), "done", {}) == "\x1b]9;done\x07"
    assert alert(("title",), "done", {}) == title("* done") == "\x1b]2;* done\x07"
    assert alert((), "done", {}) == ""
    assert alert(("title", "notify", "bell"), "x", {}).endswith("\x07\x07")


def test_words_can_end_no_sequence():
    assert alert(("notify",), "a\x07b\x1b]c", {}) == "\x1b]9;ab]c\x07"
    assert len(alert(("notify",), "x" * 1000, {})) == MAX_WORDS + 5


def test_tmux_is_asked_to_hand_a_notification_on():
    assert alert(("notify",), "x", {"TMUX": "/tmp/t"}) == "\x1bPtmux;\x1b\x1b]9;x\x07\x1b\\"


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("bell, title", ("bell", "title")), ("none", ()), ("", ("bell",)), ("NOTIFY", ("notify",))],
)
def test_the_setting_names_kinds(text, kinds, tmp_path):
    assert Settings.load(environ={"HOME": str(tmp_path), "OLLA_ALERTS": text}).alerts == kinds


def test_a_kind_that_is_none_is_told(tmp_path):
    settings = Settings.load(environ={"HOME": str(tmp_path), "OLLA_ALERTS": "gong"})
    assert settings.alerts == ("bell",) and "bell, notify and title" in settings.warnings[0]
