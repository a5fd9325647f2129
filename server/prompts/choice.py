"""Which of a model's templates renders its chats."""

from __future__ import annotations

import re

from server.prompts.capabilities import template_capabilities
from server.prompts.template import PromptTemplate, go_template, jinja_template

DEFAULT_GO_TEMPLATE = "{{ .Prompt }}"
"""Ollama's template for a model that has none."""

_JINJA_CALLS = ("tool_calls", "assistant_tool_call")
_JINJA_RESULTS = re.compile(r"tool_response|tool_results|ipython|role'?\]? *== *['\"]tool['\"]")
_GO_RESULTS = re.compile(r"eq \.Role \"tool\"|tool_response|TOOL_RESULTS")


def chat_template(
    go_source: str | None, jinja_source: str, *, prefer_go: bool | None, has_renderer: bool
) -> PromptTemplate:
    """The template in force.

    Args:
        go_source: the model's TEMPLATE, None when it has none.
        jinja_source: `tokenizer.chat_template` of its GGUF, "" when it has none.
        prefer_go: OLLAMA_GO_TEMPLATE; None: by what the templates can do.
        has_renderer: the model names one of Ollama's built-in renderers or parsers.

    Raises: InvalidTemplate.
    """
    if not jinja_source:
        return go_template(DEFAULT_GO_TEMPLATE if go_source is None else go_source)
    if go_source is None or has_renderer:
        return jinja_template(jinja_source)
    if prefer_go is not None:
        return go_template(go_source) if prefer_go else jinja_template(jinja_source)
    go, jinja = go_template(go_source), jinja_template(jinja_source)
    return jinja if _jinja_can_more(go, jinja) else go


def _jinja_can_more(go: PromptTemplate, jinja: PromptTemplate) -> bool:
    """Ollama's rule: Jinja wins with strictly more capabilities, or equal ones and a better tool round trip.

    A round trip is a template that renders both the model's calls and their results.
    """
    go_can, jinja_can = frozenset(template_capabilities(go)), frozenset(template_capabilities(jinja))
    go_trip = go.supports_tools and ".ToolCalls" in go.source and bool(_GO_RESULTS.search(go.source))
    renders_calls = any(mark in jinja.source for mark in _JINJA_CALLS)
    jinja_trip = renders_calls and bool(_JINJA_RESULTS.search(jinja.source))
    if jinja_can > go_can:
        return jinja_trip or not go_trip
    return jinja_can == go_can and "tools" in go_can and jinja_trip and not go_trip
