"""What templates tell of a model's abilities."""

from __future__ import annotations

import pytest

from server.prompts.capabilities import template_capabilities
from server.prompts.template import PromptTemplate, go_template, jinja_template

THINKS = "{{ range .Messages }}<think>{{ .Thinking }}</think>{{ end }}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (go_template("{{ .Prompt }}"), ()),
        (go_template("{{ .Suffix }}{{ .Tools }}"), ("tools", "insert")),
        (go_template(THINKS), ("thinking",)),
        (jinja_template("{{ messages }}"), ()),
        (jinja_template("{{ tools }}<think></think>"), ("tools", "thinking")),
    ],
)
def test_capabilities(template: PromptTemplate, expected: tuple[str, ...]) -> None:
    assert template_capabilities(template) == expected
