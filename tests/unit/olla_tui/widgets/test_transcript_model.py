"""The transcript's lines and places, without a screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.style import Style
from textual.geometry import Offset
from textual.selection import Selection

from olla_tui.text.lexers import Lexers
from olla_tui.text.styles import UNICODE_GLYPHS
from olla_tui.text.wrap import Line, cells
from olla_tui.widgets.transcript_layout import TranscriptStyles, Turn, call_text
from olla_tui.widgets.transcript_model import Place, TranscriptModel
from olla_tui.widgets.transcript_selection import selected_text, selection_line
from olla_tui.widgets.transcript_styles import transcript_styles
from olla_tui.widgets.transcript_turns import TurnView
from server.types.messages import ToolCall
from tests.support.markdown_text import markdown


def styles_under(variables: dict[str, str]) -> TranscriptStyles:
    return transcript_styles(variables, Style(), UNICODE_GLYPHS, Lexers())


STYLES = styles_under({"primary": "#ff0000"})

views = st.builds(
    TurnView,
    role=st.sampled_from(["user", "assistant", "tool"]),
    title=st.sampled_from(["you", "a-model-with-a-very-long-name:70b-instruct-q4_K_M", "漢字"]),
    content=markdown,
    thinking=st.one_of(st.just(""), markdown),
    stats=st.sampled_from(["", "412 tok · 41.3/s · first 0.38 s"]),
    error=st.sampled_from(["", "The model\nis gone."]),
    tool_calls=st.sampled_from([(), (ToolCall("f", {"a": [1, "\x1b[2J"]}), ToolCall("g", {}))]),
    attachments=st.sampled_from([(), ("a.png (48 kB)", "b.jpg")]),
)


def model_of(turns: list[TurnView], width: int = 40) -> TranscriptModel:
    model = TranscriptModel(STYLES, width)
    model.replace_all(turns)
    return model


class Watched(list[TurnView]):
    """Views that count how often one is asked for."""

    n_asked = 0

    def __getitem__(self, position: Any) -> Any:
        self.n_asked += 1
        return super().__getitem__(position)


def text(line: Line) -> str:
    return "".join(segment.text for segment in line)


@given(views, st.integers(10, 100))
def test_no_line_of_a_turn_is_wider_than_the_view(view: TurnView, width: int) -> None:
    layout = model_of([view], width).layout(0)
    assert all(cells(line) <= width for line in layout.lines)
    assert all(0 <= span.start < span.end <= len(layout.lines) for span in layout.spans)
    assert "\x1b" not in "".join(map(text, layout.lines))


@given(st.lists(views, max_size=6), st.integers(12, 60))
def test_known_heights_make_every_line_reachable_once(turns: list[TurnView], width: int) -> None:
    model = model_of(turns, width)
    model.measure_down(Place(0, 0), 10**6)
    expected = [text(line) for at in range(len(turns)) for line in model.layout(at).lines]
    assert model.n_lines == len(expected)
    found = [model.line_at(at) for at in range(model.n_lines)]
    assert [text(line) for line in (pair[1] for pair in found if pair)] == expected
    assert model.line_at(model.n_lines) is None


@given(st.lists(views, min_size=1, max_size=6), st.integers(0, 400), st.integers(-400, 400))
def test_walking_agrees_with_counting_lines(turns: list[TurnView], start: int, delta: int) -> None:
    counted, walked = model_of(turns), model_of(turns)
    counted.measure_down(Place(0, 0), 10**6)
    start = min(start, counted.n_lines - 1)
    goal = min(max(start + delta, 0), counted.n_lines - 1)
    assert walked.walk(counted.find(start), delta) == counted.find(goal)


@given(st.lists(views, min_size=1, max_size=4), st.integers(0, 200), st.integers(12, 100))
def test_a_firm_place_stays_in_its_block(turns: list[TurnView], line: int, width: int) -> None:
    model = model_of(turns)
    model.measure_down(Place(0, 0), 10**6)
    place = model.find(min(line, model.n_lines - 1))
    firm = model.firm(place)
    assert model.resolve(firm).position == place.position
    model.set_width(width)
    resolved = model.resolve(firm)
    assert 0 <= resolved.line < len(model.layout(resolved.position).lines)
    if firm.block >= 0:
        span = model.layout(firm.position).spans[firm.block]
        assert span.start <= resolved.line <= span.end


@settings(max_examples=50)
@example([("c", "#")])
@given(st.lists(st.tuples(st.sampled_from("ctnsfe"), st.text("ab \n`#-|漢", max_size=8)), max_size=25))
def test_painting_what_changed_shows_what_is_there(steps: list[tuple[str, str]]) -> None:
    model = TranscriptModel(STYLES, 30)
    model.add(Turn(model.new_id(), TurnView(role="assistant", title="m"), streaming=True))
    turn = model.turns[0]
    screen = {at: text(line) for at, line in enumerate(model.layout(0).lines)}
    for step, piece in steps:
        match step:
            case "c" if turn.streaming:
                turn.content.feed(piece)
            case "t" if turn.streaming:
                turn.thinking.feed(piece)
            case "n":
                turn.thinking_note = piece
            case "s":
                turn.stats = piece
            case "f":
                turn.unfolded = not turn.unfolded
            case "e":
                turn.end()
            case _:
                continue
        changed = model.update(0)
        lines = model.layout(0).lines
        for at in changed:
            if at < len(lines):
                screen[at] = text(lines[at])
            else:
                del screen[at]
        assert screen == {at: text(line) for at, line in enumerate(lines)}
        assert model.height(0) == len(lines) == model.n_lines


def test_removing_turns_forgets_their_lines() -> None:
    view = TurnView(role="user", title="you", content="text")
    model = model_of([view] * 5)
    model.measure_down(Place(0, 0), 100)
    model.truncate(2)
    assert model.n_lines == 2 * len(model.layout(0).lines)
    model.add(Turn(model.new_id(), replace(view, content="other")))
    assert text(model.layout(2).lines[1]).strip() == "other"


def test_a_long_conversation_is_looked_at_only_where_it_is_shown() -> None:
    views = Watched(TurnView(role="user", title="you", content="line\n" * (at % 7)) for at in range(2000))
    model = TranscriptModel(STYLES)
    model.replace_all(views)
    model.measure_up(1999, 60)
    assert views.n_asked < 100
    guessed = model.n_lines
    while model.estimate_some(iter([True] * 500 + [False]).__next__):
        assert views.n_asked <= 2100
    assert guessed * 0.8 < model.n_lines < guessed * 1.25
    assert model.n_lines == sum(
        model.turns.estimate(at, 80) if not model.is_exact(at) else model.height(at) for at in range(2000)
    )


@given(st.lists(views, max_size=40), st.integers(0, 40), st.integers(0, 40))
def test_estimating_leaves_known_heights_alone(turns: list[TurnView], seen: int, kept: int) -> None:
    model = model_of(turns)
    if seen < len(turns):
        model.layout(seen)
    model.truncate(kept)
    while model.estimate_some(lambda: True):
        pass
    for at in range(len(model.turns)):
        estimated = model.turns.estimate(at, model.width)
        assert model.height(at) == (len(model.layout(at).lines) if at == seen else estimated)


def test_a_turn_is_found_by_its_id_until_it_is_removed() -> None:
    model = model_of([TurnView(role="user", title="you")] * 3)
    first = list(model.turns.ids)
    assert [model.turns[at].id for at in (-1, 0, 1)] == [first[2], first[0], first[1]]
    model.truncate(1)
    model.add(Turn(model.new_id(), TurnView(role="tool", title="f")))
    assert model.position(first[0]) == 0 and model.position(model.turns[1].id) == 1
    for gone in (first[1], first[2], 99):
        with pytest.raises(KeyError):
            model.position(gone)
    assert model.turns.latest(lambda view: view.role == "user") == first[0]


def test_a_tool_call_is_one_line_of_bounded_length() -> None:
    assert call_text(ToolCall("get", {"city": "Köln", "n": 2})) == 'get(city="Köln", n=2)'
    long = call_text(ToolCall("get", {"text": "x" * 10_000}))
    assert len(long) == 500 and long.endswith("…")


def test_the_selection_of_everything_is_the_markdown_of_all_turns() -> None:
    views = Watched(TurnView(role="user", title="you", content=f"- *{at}*") for at in range(500))
    model = model_of(views)
    assert selected_text(model, Selection(None, None)) == "\n\n".join(view.content for view in views)
    assert not any(map(model.is_exact, range(500)))
    within = Selection(Offset(5, selection_line(Place(3, 1))), Offset(6, selection_line(Place(4, 1))))
    assert selected_text(model, within) == "3\n\nyou\n• 4"


def test_styles_stand_in_for_a_theme_that_does_not_know_ours() -> None:
    ours = transcript_styles(
        {"olla-chat-user": "$accent", "accent": "#00ff00"}, Style(), UNICODE_GLYPHS, Lexers()
    )
    theirs = styles_under({"secondary": "#0000ff"})
    circle = transcript_styles(
        {"olla-chat-user": "$a", "a": "$b", "b": "$a"}, Style(), UNICODE_GLYPHS, Lexers()
    )
    assert ours.user.color is not None and ours.user.color.triplet == (0, 255, 0)
    assert theirs.user.color is not None and theirs.user.color.triplet == (0, 0, 255)
    assert circle.user.color is None
