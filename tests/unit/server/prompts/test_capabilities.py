"""What templates tell of a model's abilities."""

from __future__ import annotations

import pytest

from server.errors import InvalidTemplate
from server.prompts.capabilities import template_capabilities

THINKS = "{{ range .Messages }}<think>{{ .Thinking }}</think>{{ end }}"


@pytest.mark.parametrize(
    ("go_source", "jinja_source", "expected"),
    [
        (None, "", set()),
        ("{{ .Prompt }}", "", set()),
        ("{{ .Tools }}{{ .Suffix }}", "", {"tools", "insert"}),
        (THINKS, "", {"thinking"}),
        (None, "{{ tools }}<think></think>", {"tools", "thinking"}),
        ("{{ .Suffix }}", "{{ tools }}", {"tools", "insert"}),
    ],
)
def test_capabilities(go_source: str | None, jinja_source: str, expected: set[str]) -> None:
    assert template_capabilities(go_source, jinja_source) == expected


def test_a_broken_template_is_refused() -> None:
    with pytest.raises(InvalidTemplate):
        template_capabilities("{{ .Prompt", "")
