"""Prompt templates of both kinds behind one interface.

Knows messages and text; does not know models, tokens or files.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Protocol

from server.prompts.go_render import GoTemplate
from server.prompts.jinja import JinjaTemplate
from server.prompts.render_input import RenderInput

__all__ = ["PromptTemplate", "RenderInput", "go_template", "jinja_template"]

_N_CACHED = 64
"""Parsed templates to keep; a server uses one or two per model."""


class PromptTemplate(Protocol):
    """A parsed template.

    Attributes:
        kind: language of the source.
        thinking_tags: opening and closing tag of the reasoning, None when the template has none.
        keeps_thinking_blanks: blanks around the tags belong to the reasoning and the answer.
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
    def keeps_thinking_blanks(self) -> bool: ...
    @property
    def tool_call_tag(self) -> str: ...

    def render(self, inp: RenderInput) -> str:
        """The prompt. Raises InvalidTemplate."""
        ...


@lru_cache(maxsize=_N_CACHED)
def go_template(source: str) -> PromptTemplate:
    """Parse a Modelfile TEMPLATE. Cached by source. Raises InvalidTemplate."""
    return GoTemplate(source)


@lru_cache(maxsize=_N_CACHED)
def jinja_template(source: str) -> PromptTemplate:
    """Parse a GGUF's `tokenizer.chat_template`. Cached by source. Raises InvalidTemplate."""
    return JinjaTemplate(source)
