import pytest

from olla_tui.actions import ACTIONS, DEFAULT_KEYS, PLACES, bindings_for, key_text
from olla_tui.state.keymap import Clash, clashes, merge_keys
from olla_tui.state.layout import choose_layout


@pytest.mark.parametrize(
    ("columns", "rows", "size"),
    [
        (39, 24, "none"),
        (80, 9, "none"),
        (40, 10, "tiny"),
        (59, 24, "tiny"),
        (60, 24, "narrow"),
        (99, 50, "narrow"),
        (100, 30, "wide"),
        (159, 30, "wide"),
        (160, 30, "huge"),
    ],
)
def test_layouts(columns, rows, size):
    layout = choose_layout(columns, rows)
    assert layout.size == size
    assert (layout.rail > 0) == (size in ("wide", "huge"))
    assert (layout.library > 0) == (size == "huge")
    assert layout.tall == (rows >= 30)


def test_a_user_may_move_and_remove_keys():
    merged, problems = merge_keys(
        {"app.help": "f1", "chat.new": "ctrl+n"}, {"app.help": ["f1", "alt+h"], "chat.new": "none"}
    )
    assert merged == {"app.help": "f1,alt+h", "chat.new": ""}
    assert not problems


def test_an_unknown_action_is_named_with_the_nearest():
    _, problems = merge_keys({"app.help": "f1"}, {"app.halp": "f2"})
    assert problems == ['[keys] "app.halp" is no action; did you mean "app.help"?']


def test_clashes_name_both_actions():
    found = clashes({"a.x": "f1", "b.x": "f1", "c.x": "f1"}, {"a.x": "", "b.x": "chat", "c.x": "logs"})
    assert found == [Clash("f1", "a.x", "b.x"), Clash("f1", "a.x", "c.x")]
    assert str(found[0]) == 'key "f1" is wanted by "a.x" and by "b.x"'
    assert not clashes({"a.x": "f1", "b.x": "f1"}, {"a.x": "chat", "b.x": "logs"})


def test_no_default_key_clashes():
    assert clashes(DEFAULT_KEYS, PLACES) == []


def test_ids_are_unique_and_every_key_becomes_a_binding():
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    places = {action.place for action in ACTIONS}
    bound = {binding.id for place in places for binding in bindings_for(place)}
    assert bound == {action.id for action in ACTIONS if action.keys}


def test_every_global_has_two_routes():
    list_routes = {action.call.removeprefix("screen.") for action in ACTIONS if action.place == "list"}
    for action in ACTIONS:
        if action.place == "":
            n_routes = len(action.keys.split(",")) + (action.call in list_routes) + action.palette
            assert n_routes >= 2 or action.id == "app.stop", action.id


@pytest.mark.parametrize(
    ("key", "text"),
    [("ctrl+p", "^P"), ("f1", "F1"), ("alt+1", "alt+1"), ("slash", "/"), ("enter", "⏎"), ("G", "G")],
)
def test_keys_as_people_write_them(key, text):
    assert key_text(key) == text
