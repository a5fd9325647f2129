"""What a model can do by its templates."""

from __future__ import annotations

from server.prompts.template import PromptTemplate, go_template, jinja_template


def template_capabilities(go_source: str | None, jinja_source: str) -> frozenset[str]:
    """Of "tools", "thinking" and "insert", what the templates support.

    Args:
        go_source: the model's TEMPLATE, None when it has none or when it is not in force.
        jinja_source: the GGUF's chat template, "" when it has none or when it is not in force.

    Raises: InvalidTemplate.
    """
    able: frozenset[str] = frozenset()
    if go_source is not None:
        able |= _abilities(go_template(go_source))
    if jinja_source:
        able |= _abilities(jinja_template(jinja_source))
    return able


def _abilities(template: PromptTemplate) -> frozenset[str]:
    able = {
        "tools": template.supports_tools,
        "thinking": template.supports_thinking,
        "insert": template.supports_insert,
    }
    return frozenset(name for name, can in able.items() if can)
