"""Which of a model's templates renders its conversations."""

from __future__ import annotations

import pytest

from server.prompts.choice import chat_template

GO = "{{ .Tools }}{{ .Prompt }}"
JINJA = "{{ messages }}"


@pytest.mark.parametrize(
    ("go_source", "jinja_source", "prefer_go", "has_renderer", "kind"),
    [
        (GO, "", None, True, "go"),
        (None, JINJA, None, False, "jinja"),
        (GO, JINJA, None, False, "go"),
        (GO, JINJA, True, False, "go"),
        (GO, JINJA, False, False, "jinja"),
        # Ollama has the same format built in.
        (GO, JINJA, None, True, "jinja"),
        (GO, JINJA, True, True, "jinja"),
    ],
)
def test_the_template_in_force(
    go_source: str | None, jinja_source: str, prefer_go: bool | None, has_renderer: bool, kind: str
) -> None:
    chosen = chat_template(go_source, jinja_source, prefer_go=prefer_go, has_renderer=has_renderer)
    assert chosen.kind == kind
