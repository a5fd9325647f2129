"""What a model can do by its templates."""

from __future__ import annotations


def template_capabilities(go_source: str | None, jinja_source: str) -> frozenset[str]:
    """Of "tools", "thinking" and "insert", what the template in force supports."""
    raise NotImplementedError
