from olla_tui.state.jump import LETTERS, Place, places_in, targets
from olla_tui.state.rows import Span


def test_panes_have_their_digits_and_widgets_letters():
    goals = ("pane.chat", "pane.logs", "pane.logs", "app.x")
    headings = [Place(9 * at, 1, goal) for at, goal in enumerate(goals)]
    found = targets(["chat", "logs"], headings, [Place(0, 2, "#0"), Place(0, 9, "#1")])
    assert [(target.key, target.place.goal) for target in found] == [
        ("1", "pane.chat"),
        ("2", "pane.logs"),
        ("2", "pane.logs"),
        ("a", "#0"),
        ("s", "#1"),
    ]


def test_more_widgets_than_letters_leave_the_rest_without():
    places = [Place(0, line, f"#{line}") for line in range(100)]
    keys = [target.key for target in targets([], [], places)]
    assert len(keys) == len(set(keys)) == len(LETTERS) == 26


def test_places_are_where_the_words_of_an_action_begin():
    rows = [
        (Span(" "), Span(" 1 Chat ", action="pane.chat"), Span("字", action="x"), Span("y", action="y")),
        (),
    ]
    assert places_in(rows, 10, 3) == [Place(12, 3, "pane.chat"), Place(19, 3, "x"), Place(21, 3, "y")]
    assert places_in([(Span("─", action="p"), Span("─", action="p"))], 0, 0) == [Place(0, 0, "p")]
