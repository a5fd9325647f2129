"""What is read from a template's tree before it runs."""

from __future__ import annotations

import pytest

from server.errors import InvalidTemplate
from server.prompts.gotemplate.extras import FUNCTION_NAMES
from server.prompts.gotemplate.inspect import identifiers, thinking_tags, tool_call_tag
from server.prompts.gotemplate.nodes import Tree
from server.prompts.gotemplate.parser import parse


def tree(source: str) -> Tree:
    return parse(source, FUNCTION_NAMES)


def test_identifiers_are_all_fields_and_variables_in_lower_case() -> None:
    source = (
        "{{ if .Tools }}{{ range $m := $.Messages }}{{ $m.Role }}{{ end }}{{ else }}{{ .suffix }}{{ end }}"
    )
    assert identifiers(tree(source)) >= {"tools", "messages", "role", "suffix"}
    assert "content" not in identifiers(tree(source))


def test_a_template_call_without_data_is_refused() -> None:
    with pytest.raises(InvalidTemplate, match="undefined template specified"):
        identifiers(tree('{{ define "x" }}a{{ end }}{{ template "x" }}'))


@pytest.mark.parametrize(
    ("source", "tags"),
    [
        (
            "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ end }}",
            ("<think>", "</think>"),
        ),
        (
            "{{ range $i, $m := .Messages }}{{ if .Thinking }}[T]\n{{ .Thinking }}\n[/T]\n{{ end }}{{ end }}",
            ("[T]", "[/T]"),
        ),
        ("{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}", None),
        ("{{ range .Others }}<think>{{ .Thinking }}</think>{{ end }}", None),
        ("{{ range .Messages }}{{ .Thinking }}</think>{{ end }}", None),
        ("{{ range $m := .Messages }}<think>{{ $m.Thinking }}</think>{{ end }}", None),
        ("plain", None),
    ],
)
def test_thinking_tags(source: str, tags: tuple[str, str] | None) -> None:
    assert thinking_tags(tree(source)) == tags


@pytest.mark.parametrize(
    ("source", "tag"),
    [
        ("plain", "{"),
        ("{{ if .ToolCalls }}{{ end }}", "{"),
        ("{{ if .ToolCalls }}{{ .Name }}<x>{{ end }}", "{"),
        ('{{ if .ToolCalls }}\n{"name": {{ .Name }}}{{ end }}', "{"),
        ("{{ if .ToolCalls }}  {{ range .ToolCalls }}<tool_call>\n{{ . }}{{ end }}{{ end }}", "<tool_call>"),
        (
            '{{ range .M }}{{ if .Role }}{{ if .ToolCalls }}[TOOL_CALLS] [{"n"{{ end }}{{ end }}{{ end }}',
            "[TOOL_CALLS] [",
        ),
        (
            "{{ range .M }}{{ if .A }}x{{ else if .ToolCalls }}Action: ```json\n{{ . }}{{ end }}{{ end }}",
            "Action: ```json",
        ),
        ("{{ with .X }}{{ if not .ToolCalls }}a{{ end }}{{ end }}", "a"),
    ],
)
def test_tool_call_tag(source: str, tag: str) -> None:
    assert tool_call_tag(tree(source)) == tag
