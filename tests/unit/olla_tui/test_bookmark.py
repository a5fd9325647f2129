import os
import stat

import pytest

from olla_tui.bookmark import Bookmark, read_bookmark, write_bookmark


def test_a_bookmark_comes_back_and_is_its_owners_alone(tmp_path):
    path = tmp_path / "olla" / "screen.json"
    bookmark = Bookmark("c1", "half a th\u00f6ught", True, os.getpid())
    write_bookmark(path, bookmark)
    assert read_bookmark(path) == bookmark
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["screen.json"]


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"chat_id": "x", "draft": "", "answering": true, "pid": "y"}']
)
def test_what_is_no_bookmark_is_none(tmp_path, text):
    path = tmp_path / "screen.json"
    assert read_bookmark(path) is None
    path.write_text(text)
    assert read_bookmark(path) is None


def test_an_answer_is_followed_as_long_as_its_process_lives():
    assert Bookmark("c", "", True, os.getpid()).is_followed
    assert not Bookmark("c", "", False, os.getpid()).is_followed
    assert not Bookmark("c", "", True, 2**22 + 1).is_followed and not Bookmark("c", "", True).is_followed
