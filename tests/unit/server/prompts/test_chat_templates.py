"""The chat templates of llama.cpp's own tests, rendered with every kind of conversation."""

from __future__ import annotations

import pytest

from server.errors import InvalidTemplate
from server.prompts.harmony import is_harmony
from server.prompts.recipients import has_recipients
from server.prompts.template import RenderInput
from server.prompts.tool_calls import call_form
from server.types.generation import Think
from server.types.messages import Message, Tool, ToolCall
from tests.support.chat_templates import chat_template_of, template_names

TOOL = Tool(
    name="get_weather",
    description="DESCRIPTION",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
)
SYSTEM = Message(role="system", content="INSTRUCTIONS")
QUESTION = Message(role="user", content="QUESTION")
CALL = Message(role="assistant", tool_calls=(ToolCall("get_weather", {"city": "OSLO"}, "abcdefghi", 0),))
RESULT = Message(role="tool", content="RESULT", tool_name="get_weather", tool_call_id="abcdefghi")
ANSWER = Message(role="assistant", content="ANSWER")
MORE = Message(role="user", content="MORE")

CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "question": (QUESTION,),
    "instructions": (SYSTEM, QUESTION),
    "turns": (SYSTEM, QUESTION, ANSWER, MORE),
}
ROUND_TRIP = (QUESTION, CALL, RESULT)

REFUSING_TOOLS = {
    "google-gemma-2-2b-it": "knows the roles user and assistant only",
}
"""Templates that refuse a round trip of a tool, and why."""
BARE_OBJECTS = frozenset(
    (
        "GigaChat3-10B-A1.8B",
        "fireworks-ai-llama-3-firefunction-v2",
        "ibm-granite-granite-3.3-2B-Instruct",
        "meta-llama-Llama-3.2-3B-Instruct",
    )
)
"""Templates whose models write calls as JSON objects, bare or behind the tag that the template shows."""
NOT_READ = frozenset(("muse-glimmer",))
"""Templates whose form of calls has no parser: calls in messages with a recipient, between control tokens."""
FORGETTING_CALLS = frozenset(
    (
        "HuggingFaceTB-SmolLM3-3B",
        "LFM2-8B-A1B",
        "LFM2.5-Instruct",
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "ibm-granite-granite-3.3-2B-Instruct",
        "llama-cpp-rwkv-world",
        "microsoft-Phi-3.5-mini-instruct",
    )
)
"""Templates that say nothing of earlier calls."""
FORGETTING_RESULTS = frozenset(("llama-cpp-rwkv-world", "microsoft-Phi-3.5-mini-instruct"))


def rendered(name: str, messages: tuple[Message, ...], think: Think, tools: tuple[Tool, ...] = ()) -> str:
    inp = RenderInput(messages=messages, tools=tools, think=think, bos_text="<s>", eos_text="</s>")
    return chat_template_of(name).render(inp)


@pytest.mark.parametrize("think", [None, False, True, "low"])
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", template_names())
def test_every_template_renders_what_was_said(name: str, conversation: str, think: Think) -> None:
    text = rendered(name, CONVERSATIONS[conversation], think)
    places = [text.find(message.content) for message in CONVERSATIONS[conversation]]
    assert -1 not in places
    assert places[-1] == max(places) or name == "CohereForAI-c4ai-command-r-plus-tool_use"


def test_templates_with_tools_choose_a_parser_of_their_form() -> None:
    """All but those that write bare JSON, and those whose form is not read."""
    by_tag = {
        name
        for name in template_names()
        if (template := chat_template_of(name)).supports_tools
        and not (call_form(template.source) or is_harmony(template.source) or has_recipients(template.source))
    }
    assert by_tag == {*BARE_OBJECTS, *NOT_READ}


@pytest.mark.parametrize("name", template_names())
def test_every_template_renders_the_round_trip_of_a_tool_or_says_why_not(name: str) -> None:
    if name in REFUSING_TOOLS:
        with pytest.raises(InvalidTemplate, match=r"not supported|alternate"):
            rendered(name, ROUND_TRIP, None, (TOOL,))
        return
    text = rendered(name, ROUND_TRIP, None, (TOOL,))
    assert "QUESTION" in text
    assert ("OSLO" in text) == (name not in FORGETTING_CALLS)
    assert ("RESULT" in text) == (name not in FORGETTING_RESULTS)
    if chat_template_of(name).supports_tools and name not in FORGETTING_CALLS:
        assert "get_weather" in text
