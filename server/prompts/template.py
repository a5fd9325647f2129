"""Prompt templates of both kinds behind one interface.

Knows messages and text; does not know models, tokens or files.
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from server.types.generation import Think
from server.types.messages import Message, Tool


class RenderInput(msgspec.Struct, frozen=True, kw_only=True):
    """What a template turns into a prompt.

    Attributes:
        messages: the conversation, system messages included. A last assistant message is continued.
        think: resolved: None never asked, False off, True or a level on.
        suffix: text after the gap to fill; the gap's prefix is the content of the last user message.
        bos_text, eos_text: for Jinja templates that write them.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    think: Think = None
    suffix: str = ""
    bos_text: str = ""
    eos_text: str = ""


class PromptTemplate(Protocol):
    """A parsed template.

    Attributes:
        kind: language of the source.
        thinking_tags: opening and closing tag of the reasoning, None when the template has none.
        tool_call_tag: text that opens a tool call in the model's output, "" when the template has no tools.
    """

    @property
    def kind(self) -> Literal["go", "jinja"]: ...
    @property
    def source(self) -> str: ...
    @property
    def supports_tools(self) -> bool: ...
    @property
    def supports_thinking(self) -> bool: ...
    @property
    def supports_insert(self) -> bool: ...
    @property
    def thinking_tags(self) -> tuple[str, str] | None: ...
    @property
    def tool_call_tag(self) -> str: ...

    def render(self, inp: RenderInput) -> str:
        """The prompt. Raises InvalidTemplate."""
        ...


def go_template(source: str) -> PromptTemplate:
    """Parse a Modelfile TEMPLATE. Cached by source. Raises InvalidTemplate."""
    raise NotImplementedError


def jinja_template(source: str) -> PromptTemplate:
    """Parse a GGUF's `tokenizer.chat_template`. Cached by source. Raises InvalidTemplate."""
    raise NotImplementedError
