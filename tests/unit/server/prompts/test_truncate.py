"""Which messages stay when a conversation does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidTemplate
from server.prompts.truncate import IMAGE_TOKENS, Fitted, fit
from server.types.messages import Message
from tests.support.conversations import assistant, system, user


def render(messages: tuple[Message, ...]) -> str:
    return " ".join(message.content for message in messages)


class Counter:
    """Counts words, and how often it was asked."""

    def __init__(self) -> None:
        self.n_calls = 0

    async def __call__(self, texts: list[str]) -> list[int]:
        self.n_calls += 1
        return [len(text.split()) for text in texts]


async def fitted(messages: tuple[Message, ...], n_ctx: int, **options: int) -> Fitted:
    return await fit(messages, render, Counter(), n_ctx, truncate=True, **options)


CHAT = (system("s"), user("a b c"), assistant("d e f"), system("t"), user("g h"))


@pytest.mark.parametrize(
    ("n_ctx", "prompt", "n_dropped"),
    [
        (10, "s a b c d e f t g h", 0),
        (9, "s d e f t g h", 1),
        (7, "s d e f t g h", 1),
        (6, "s t g h", 2),
        (4, "s t g h", 2),
        (1, "s t g h", 2),
    ],
)
async def test_oldest_messages_go_system_and_last_stay(n_ctx: int, prompt: str, n_dropped: int) -> None:
    result = await fitted(CHAT, n_ctx)
    assert (result.prompt, result.n_dropped) == (prompt, n_dropped)
    assert result.n_dropped_tokens == 10 - len(prompt.split())
    assert result.n_tokens == len(prompt.split())


@given(st.text(max_size=40), st.integers(0, 60))
async def test_a_prompt_that_must_fit_is_not_counted(text: str, n_ctx: int) -> None:
    """A token of its own stands for a byte at least."""
    counter = Counter()
    result = await fit((user(text),), render, counter, n_ctx, truncate=True)
    assert (result.prompt, result.n_dropped, result.n_dropped_tokens) == (text, 0, 0)
    assert counter.n_calls == (len(text.encode()) + 4 > n_ctx)
    if not counter.n_calls:
        assert len(text.encode()) < n_ctx


async def test_without_truncation_nothing_is_counted_or_dropped() -> None:
    counter = Counter()
    result = await fit(CHAT, render, counter, 1, truncate=False)
    assert (result.messages, result.n_dropped, counter.n_calls) == (CHAT, 0, 0)


async def test_no_messages() -> None:
    assert (await fitted((), 1)).prompt == ""


async def test_images_count() -> None:
    messages = (user("a", b"1"), user("b", b"2"))
    both = await fitted(messages, 2 * IMAGE_TOKENS + 2, n_tokens_per_image=IMAGE_TOKENS)
    one = await fitted(messages, 2 * IMAGE_TOKENS + 1, n_tokens_per_image=IMAGE_TOKENS)
    assert (both.n_dropped, one.n_dropped) == (0, 1)
    assert one.n_tokens == IMAGE_TOKENS + 1


async def test_a_long_conversation_takes_few_counts() -> None:
    counter = Counter()
    messages = tuple(user("word") for _ in range(1000))
    result = await fit(messages, render, counter, 100, truncate=True)
    assert len(result.messages) == 100
    assert counter.n_calls <= 12


async def test_errors_of_the_template_are_passed_on() -> None:
    def broken(_messages: tuple[Message, ...]) -> str:
        raise InvalidTemplate("broken")

    with pytest.raises(InvalidTemplate, match="broken"):
        await fit(CHAT, broken, Counter(), 1, truncate=True)


def one_at_a_time(messages: tuple[Message, ...], n_ctx: int) -> tuple[Message, ...]:
    """The rule in its plain form."""
    for at in range(len(messages)):
        kept = tuple(m for m in messages[:at] if m.role == "system") + messages[at:]
        if len(render(kept).split()) <= n_ctx or at == len(messages) - 1:
            return kept
    return messages


MESSAGE = st.builds(
    lambda role, n: Message(role=role, content=" ".join("w" * n)),
    st.sampled_from(["system", "user", "assistant", "tool"]),
    st.integers(0, 5),
)


@given(st.lists(MESSAGE, max_size=12).map(tuple), st.integers(1, 40))
async def test_the_same_as_dropping_one_at_a_time(messages: tuple[Message, ...], n_ctx: int) -> None:
    result = await fitted(messages, n_ctx)
    assert result.messages == one_at_a_time(messages, n_ctx)
    assert result.n_dropped == len(messages) - len(result.messages)
