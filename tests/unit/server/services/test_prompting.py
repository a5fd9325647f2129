"""Parts of prompting that decide without a model."""

from __future__ import annotations

import pytest

from server.services.load_plan import context_length
from server.services.prompting import kept_tokens, with_tool_names
from server.types.messages import Message, ToolCall


def test_a_tool_result_finds_the_name_of_its_call() -> None:
    messages = (
        Message(role="assistant", tool_calls=(ToolCall("get_weather", {}, id="call_1"),)),
        Message(role="tool", content="sunny", tool_call_id="call_1"),
        Message(role="tool", content="?", tool_call_id="call_2"),
        Message(role="tool", content="!", tool_call_id="call_1", tool_name="own"),
    )
    assert [message.tool_name for message in with_tool_names(messages)] == ["", "get_weather", "", "own"]


@pytest.mark.parametrize(
    ("num_keep", "n_ctx", "has_bos", "kept"),
    [
        (4, 128, False, 4),
        (4, 128, True, 5),
        (-1, 128, False, 127),
        (500, 128, False, 127),
        (0, 128, False, 0),
    ],
)
def test_tokens_that_truncation_keeps(num_keep: int, n_ctx: int, has_bos: bool, kept: int) -> None:
    assert kept_tokens(num_keep, 1000, n_ctx, has_bos=has_bos) == kept


@pytest.mark.parametrize(
    ("asked", "n_ctx_train", "vision", "n_ctx"),
    [
        (4096, 2048, False, 2048),
        (128, 2048, False, 128),
        (1, 2048, False, 4),
        (128, 8192, True, 2048),
        (4096, 0, False, 4096),
    ],
)
def test_context_length(asked: int, n_ctx_train: int, vision: bool, n_ctx: int) -> None:
    assert context_length(asked, n_ctx_train=n_ctx_train, vision=vision) == n_ctx
