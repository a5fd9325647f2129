"""What a template turns into a prompt."""

from __future__ import annotations

import msgspec

from server.types.generation import Think
from server.types.messages import Message, Tool


class RenderInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input of `PromptTemplate.render`.

    Attributes:
        messages: the conversation, system messages included. A last assistant message is continued.
        think: resolved: None never asked, False off, True or a level on.
        suffix: text after the gap to fill; the gap's prefix is the content of the last user message.
        bos_text, eos_text: for Jinja templates that write them.
        image_key: part of the marks that images get (`server.prompts.conversation`).
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    think: Think = None
    suffix: str = ""
    bos_text: str = ""
    eos_text: str = ""
    image_key: str = ""
