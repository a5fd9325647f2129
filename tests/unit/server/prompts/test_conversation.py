"""Merged turns, numbered images, stripped reasoning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.prompts.conversation import collate, image_mark, number_images, split_at_images
from server.prompts.history import strip_history_thinking
from server.types.messages import ToolCall
from tests.support.conversations import assistant, system, tool_result, user


def test_collate_keeps_what_merged_messages_carry() -> None:
    call = ToolCall("f", {})
    joined, merged = collate(
        (
            system("a"),
            system("b"),
            user("c", b"1"),
            user("d", b"2"),
            assistant("e", thinking="t"),
            assistant("f", call),
        )
    )
    assert joined == "a\n\nb"
    assert [message.content for message in merged] == ["a\n\nb", "c\n\nd", "e\n\nf"]
    assert merged[1].images == (b"1", b"2")
    assert (merged[2].thinking, merged[2].tool_calls) == ("t", (call,))


def test_collate_leaves_tool_results_apart() -> None:
    _, merged = collate((tool_result("a"), tool_result("b")))
    assert [message.content for message in merged] == ["a", "b"]


def test_images_take_their_places() -> None:
    numbered = number_images((user("[img] and [img]", b"1", b"2", b"3"), user("x"), user("", b"4")))
    assert [message.content for message in numbered] == ["[img-2][img-0] and [img-1]", "x", "[img-3]"]


MESSAGES = (
    user("a"),
    assistant("<think>\nb\n</think>\n\nc"),
    assistant(" <think>never closed"),
    assistant("no <think>tag</think>"),
    user("d"),
    assistant("<think>e</think>f"),
)


def test_reasoning_before_the_last_user_turn_is_stripped() -> None:
    stripped = strip_history_thinking(MESSAGES, family="qwen3", model_name="x")
    assert [message.content for message in stripped] == [
        "a",
        "c",
        "",
        "no <think>tag</think>",
        "d",
        "<think>e</think>f",
    ]
    assert strip_history_thinking(MESSAGES, family="", model_name="deepseek-r1") == stripped


def test_other_models_keep_their_history() -> None:
    assert strip_history_thinking(MESSAGES, family="llama", model_name="x") == MESSAGES


@given(st.lists(st.one_of(st.integers(0, 3), st.text("img-[]0123a", max_size=12)), max_size=8))
def test_a_prompt_comes_apart_at_its_marks(parts: list[int | str]) -> None:
    key = "5ecre7-"
    prompt = "".join(part if isinstance(part, str) else image_mark(part, key) for part in parts)
    found = split_at_images(prompt, 4, key)
    assert [part for part in found if isinstance(part, int)] == [p for p in parts if isinstance(p, int)]
    assert "".join(part if isinstance(part, str) else image_mark(part, key) for part in found) == prompt
    assert "" not in found


def test_a_mark_without_an_image_is_text() -> None:
    assert split_at_images("a[img-0]b[img-1]c", 1) == ("a", 0, "b[img-1]c")
    assert split_at_images("[img-0]", 0) == ("[img-0]",)
    assert split_at_images("", 3) == ()


def test_numbered_with_a_key() -> None:
    (message,) = number_images((user("see [img]", b"1"),), "k-")
    assert message.content == "see [img-k-0]"
