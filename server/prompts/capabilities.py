"""What a model can do by its template."""

from __future__ import annotations

from server.prompts.template import PromptTemplate


def template_capabilities(template: PromptTemplate) -> tuple[str, ...]:
    """Of "tools", "insert" and "thinking", in this order, what the template supports."""
    able = {
        "tools": template.supports_tools,
        "insert": template.supports_insert,
        "thinking": template.supports_thinking,
    }
    return tuple(name for name, can in able.items() if can)
