import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.comparison import (
    MAX_MODELS,
    MIN_COLUMN_CELLS,
    begin,
    columns_that_fit,
    diff_rows,
    tally_text,
)
from olla_tui.state.conversation import Conversation
from olla_tui.state.drafts import Draft
from olla_tui.state.rows import plain, width_of


def test_each_model_is_asked_the_same_after_the_same_turns():
    like = Conversation(id="0", model="a", system="Be brief.", options={"top_k": 5})
    like.ask("One", 1)
    made = begin(Draft("Two"), ["a", "b"], like, iter("12").__next__, 2.0)
    assert [chat.model for chat in made.chats] == ["a", "b"]
    for chat in made.chats:
        assert [turn.content for turn in chat.turns] == ["One", "Two"]
        assert (chat.system, chat.options, chat.is_kept) == ("Be brief.", {"top_k": 5}, False)
    made.chats[0].options["top_k"] = 9
    assert [turn.content for turn in like.turns] == ["One"] and like.options == {"top_k": 5}
    assert made.chats[1].options == {"top_k": 5}


def test_the_number_of_models_has_a_bound():
    like, ids = Conversation(id="0"), iter("123456789")
    assert len(begin(Draft("?"), list("abcdefghi"), like, ids.__next__, 1).chats) == MAX_MODELS


def test_answers_stand_side_by_side_only_where_there_is_room():
    assert columns_that_fit(2, 2 * MIN_COLUMN_CELLS) == 2
    assert columns_that_fit(2, 2 * MIN_COLUMN_CELLS - 1) == 1
    assert columns_that_fit(3, 80) == 1


def lines(left: str, right: str, width: int = 60) -> list[str]:
    return [plain(line) for line in diff_rows(left, right, width, names=("a", "b"))]


def test_what_differs_is_marked_by_signs_as_well_as_colours():
    head, share, _, line = lines("The sky is blue", "The sky is red")
    assert head == "[-a-] {+b+}" and share.endswith("% the same")
    assert line == "The sky is [-blue-]{+red+}"
    roles = [(span.text, span.role) for span in diff_rows("a", "b", 60)[3]]
    assert roles == [("[-a-]", "bad"), ("{+b+}", "good")]


def test_the_same_is_all_the_same():
    assert lines("One\ntwo", "One\ntwo")[1:] == ["100% the same", "", "One", "two"]
    assert lines("", "")[1] == "0% the same"


WORDS = st.text(alphabet="ab \n", max_size=30)


@given(WORDS, WORDS)
def test_both_texts_can_be_read_out_of_the_differences(left, right):
    text = "\n".join(plain(row) for row in diff_rows(left, right, 1000)[3:])

    def reading(gone: str, come: str) -> list[str]:
        kept = re.sub(r"\[-(.*?)-\]", gone, text)
        return re.sub(r"\{\+(.*?)\+\}", come, kept).split()

    assert reading(r"\1", "") == left.split()
    assert reading("", r"\1") == right.split()


@given(st.text(max_size=40), st.text(max_size=40), st.integers(2, 60))
def test_no_line_is_wider_than_the_screen(left, right, width):
    assert all(width_of(line) <= width for line in diff_rows(left, right, width)[3:])


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ([], ""),
        ([("x", "y", 3)], ""),
        ([("a", "b", 2), ("b", "a", 3), ("a", "z", 9)], "b 3, a 2"),
    ],
)
def test_votes_among_the_models_that_are_compared(votes, words):
    assert tally_text(votes, ["a", "b"]) == words
