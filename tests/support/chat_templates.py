"""The chat templates that llama.cpp is tested with."""

from __future__ import annotations

from pathlib import Path

from server.prompts.template import PromptTemplate, jinja_template

FOLDER = Path(__file__).parents[1] / "data" / "chat_templates"


def template_names() -> list[str]:
    """Names of all templates."""
    return sorted(path.stem for path in FOLDER.glob("*.jinja"))


def template_source(name: str) -> str:
    """The text of a template."""
    return (FOLDER / f"{name}.jinja").read_text()


def chat_template_of(name: str) -> PromptTemplate:
    """A template, compiled."""
    return jinja_template(template_source(name))
