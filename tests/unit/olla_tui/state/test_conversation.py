import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.state.conversation import (
    MAX_QUEUED,
    TEMPERATURES,
    THINK_CHOICES,
    TITLE_CHARS,
    Conversation,
    new_conversation,
    next_choice,
    think_text,
    title_for,
)
from olla_tui.state.drafts import Draft, MediaPart, TextFile
from server.errors import Cancelled, OutOfMemory
from server.types.generation import Chunk, Completed, Timings


@pytest.fixture
def chat():
    return Conversation(id="1", model="spark:latest")


def answered(chat, question="Why?", answer="Because.", now=10.0):
    chat.ask(question, now)
    request = chat.begin_answer(now)
    chat.add(Chunk(content=answer), now + 0.5)
    chat.complete(Completed(reason="stop", timings=Timings(n_prompt_tokens=7, n_output_tokens=3)), now + 1)
    return request


def test_a_question_and_its_answer(chat):
    request = answered(chat)
    assert [(m.role, m.content) for m in request.messages] == [("user", "Why?")]
    assert request.origin.route == "chat"
    assert [(t.role, t.content, t.state) for t in chat.turns] == [
        ("user", "Why?", "done"),
        ("assistant", "Because.", "done"),
    ]
    assert chat.title == "Why?"
    assert chat.n_context_tokens == 10
    assert chat.turns[1].first_token_s == 0.5


def test_the_next_request_carries_what_was_said(chat):
    answered(chat)
    chat.ask("And?", 20)
    assert [m.content for m in chat.begin_answer(20).messages] == ["Why?", "Because.", "And?"]


def test_the_system_prompt_and_temperature_go_along(chat):
    chat.system, chat.temperature, chat.think = "Be brief.", 0.3, "low"
    request = answered(chat)
    assert request.messages[0].role == "system"
    assert request.options == {"temperature": 0.3}
    assert request.think == "low"


def test_pieces_join_and_thinking_is_timed(chat):
    chat.ask("Why?", 0)
    chat.begin_answer(0)
    chat.add(Chunk(thinking="Hm"), 1)
    chat.add(Chunk(thinking=", well"), 3)
    chat.add(Chunk(content="Be"), 4)
    chat.add(Chunk(content="cause"), 5)
    turn = chat.turns[-1]
    assert (turn.thinking, turn.content) == ("Hm, well", "Because")
    assert (turn.first_token_s, turn.thought_s) == (1, 2)
    assert chat.is_answering


@pytest.mark.parametrize("error", [None, Cancelled("stopped")])
def test_a_stopped_answer_keeps_what_came(chat, error):
    chat.ask("Why?", 0)
    chat.begin_answer(0)
    chat.add(Chunk(content="Be"), 1)
    chat.end_with(error, 2)
    assert (chat.turns[-1].state, chat.turns[-1].content) == ("stopped", "Be")
    chat.ask("Go on", 3)
    assert [m.content for m in chat.request().messages] == ["Why?", "Be", "Go on"]


def test_a_failed_answer_says_why_and_is_not_sent_again(chat):
    chat.ask("Why?", 0)
    chat.begin_answer(0)
    chat.add(Chunk(content="Be"), 1)
    chat.end_with(OutOfMemory("no room", hint="Use a smaller context."), 2)
    turn = chat.turns[-1]
    assert (turn.state, turn.error, turn.hint) == ("failed", "no room", "Use a smaller context.")
    assert [m.content for m in chat.request().messages] == ["Why?"]


def test_an_answer_ends_once(chat):
    answered(chat)
    version = chat.version
    chat.end_with(OutOfMemory("late"), 99)
    chat.add(Chunk(content="late"), 99)
    chat.progress(5, 5.0)
    assert chat.version == version
    assert chat.turns[-1].state == "done"


def test_progress_of_the_server_is_taken_while_the_answer_comes(chat):
    chat.ask("Why?", 0)
    chat.begin_answer(0)
    chat.progress(12, 30.5)
    assert (chat.turns[-1].n_output_tokens, chat.turns[-1].tokens_per_s) == (12, 30.5)


def test_the_rate_is_the_servers_own(chat):
    chat.ask("Why?", 0)
    chat.begin_answer(0)
    timings = Timings(n_output_tokens=20, output_duration_ns=500_000_000)
    chat.complete(Completed(reason="length", timings=timings), 9)
    assert chat.turns[-1].tokens_per_s == 40
    assert chat.turns[-1].done_reason == "length"


def test_answering_again_drops_the_answer_alone(chat):
    answered(chat)
    assert chat.drop_answer()
    assert [t.role for t in chat.turns] == ["user"]
    assert not chat.drop_answer()


def test_an_edited_question_keeps_what_it_was_beside_it(chat):
    answered(chat, "First", now=1)
    answered(chat, "Second", now=5)
    question = chat.last_question()
    assert chat.edit(question.key) == "Second"
    assert chat.replace_edited("Third", 9)
    assert [turn.content for turn in chat.turns] == ["First", "Because.", "Third"]
    assert chat.sibling_place(chat.turns[2]) == (2, 2) and not chat.editing
    assert chat.show_sibling(chat.turns[2].key, -1)
    assert [turn.content for turn in chat.turns] == ["First", "Because.", "Second", "Because."]
    assert chat.sibling_place(chat.turns[2]) == (1, 2)
    assert Conversation(id="2").last_question() is None


@pytest.mark.parametrize(
    ("text", "title"),
    [("Why?", "Why?"), ("\n\n  Spaced \nmore", "Spaced"), ("", "")],
)
def test_titles(text, title):
    assert title_for(text) == title


def test_long_titles_are_cut_at_a_word():
    title = title_for("word " * 40)
    assert title.endswith("word…")
    assert len(title) <= TITLE_CHARS + 1


def test_choices_go_round():
    seen = [THINK_CHOICES[0]]
    for _ in THINK_CHOICES:
        seen.append(next_choice(THINK_CHOICES, seen[-1]))
    assert seen[:-1] == list(THINK_CHOICES) and seen[-1] is THINK_CHOICES[0]
    assert next_choice(TEMPERATURES, 0.55) is None
    assert [think_text(choice) for choice in THINK_CHOICES[:4]] == ["auto", "off", "on", "low"]


def test_a_new_chat_takes_the_settings_of_the_one_before(chat):
    chat.think, chat.temperature = True, 1.0
    fresh = new_conversation(lambda: "2", 5, like=chat)
    assert (fresh.id, fresh.model, fresh.think, fresh.temperature) == ("2", "spark:latest", True, 1.0)
    assert not fresh.turns


def test_answers_made_again_stay_reachable_with_what_followed_them(chat):
    answered(chat, "A", "one", now=1)
    answered(chat, "B", "two", now=2)
    first = chat.turns[1].key
    assert chat.drop_answer(first)
    chat.begin_answer(5)
    chat.add(Chunk(content="uno"), 5)
    chat.complete(Completed(reason="stop"), 6)
    assert [turn.content for turn in chat.turns] == ["A", "uno"]
    assert chat.sibling_place(chat.turns[1]) == (2, 2)
    assert not chat.show_sibling(chat.turns[1].key, 1)
    assert chat.show_sibling(chat.turns[1].key, -1)
    assert [turn.content for turn in chat.turns] == ["A", "one", "B", "two"]
    assert chat.show_sibling(chat.turns[1].key, 1)
    assert [turn.content for turn in chat.turns] == ["A", "uno"]


def test_an_edited_answer_is_not_asked_for_again(chat):
    answered(chat)
    chat.edit(chat.turns[1].key)
    assert not chat.replace_edited("Other.", 20)
    assert (chat.turns[1].content, chat.turns[1].edited, chat.turns[1].role) == ("Other.", True, "assistant")
    assert chat.sibling_place(chat.turns[1]) == (2, 2)


def test_nothing_is_edited_while_an_answer_comes(chat):
    chat.ask("Why?", 1)
    chat.begin_answer(1)
    assert chat.edit(chat.turns[0].key) is None and not chat.show_sibling(chat.turns[0].key, 1)


def test_files_and_pictures_go_along_and_stay_with_an_edit(chat):
    draft = Draft("See @a.py", (TextFile("a.py", "x = 1\n"),), (MediaPart("p.png", b"\x89PNG"),))
    chat.ask(draft.text, 1, draft=draft)
    message = chat.begin_answer(1).messages[0]
    assert message.content == "See @a.py\n\na.py:\n```py\nx = 1\n```" and message.images == (b"\x89PNG",)
    chat.end_with(None, 2)
    chat.edit(chat.turns[0].key)
    chat.replace_edited("Look", 3)
    assert chat.turns[0].files == draft.files and chat.turns[0].media == draft.media


def test_waiting_prompts_have_a_bound_and_can_be_taken_out(chat):
    for number in range(MAX_QUEUED):
        assert chat.enqueue(Draft(str(number)))
    assert not chat.enqueue(Draft("more"))
    assert chat.unqueue(1).text == "1" and chat.unqueue(-1).text == str(MAX_QUEUED - 1)
    assert chat.unqueue(MAX_QUEUED) is None


@given(st.lists(st.tuples(st.sampled_from(["ask", "again", "edit", "left", "right"]), st.integers(0, 9))))
def test_no_turn_is_ever_lost_and_the_shown_ones_follow_each_other(steps):
    chat, made = Conversation(id="1"), set()
    for number, (step, at) in enumerate(steps):
        key = chat.turns[at % len(chat.turns)].key if chat.turns else 0
        if step == "ask" or not chat.turns:
            answered(chat, f"q{number}", f"a{number}")
        elif step == "again":
            if chat.drop_answer(key):
                chat.begin_answer(1)
                chat.add(Chunk(content=f"again{number}"), 1)
                chat.end_with(None, 2)
        elif step == "edit":
            chat.edit(key)
            chat.replace_edited(f"edit{number}", 1)
        else:
            chat.show_sibling(key, 1 if step == "right" else -1)
        shown = [turn.key for turn in chat.turns]
        assert made <= {*shown, *chat.aside} and not {*shown} & {*chat.aside}
        made = {*shown, *chat.aside}
        assert [turn.parent for turn in chat.turns] == [0, *shown[:-1]]
        assert all(turn.parent in {0, *made} for turn in chat.aside.values())
