"""Prompts by a GGUF's Jinja chat template, with the variables and filters of Hugging Face."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable
from typing import Any, Literal

import jinja2

from server.errors import InvalidTemplate
from server.prompts.conversation import number_images
from server.prompts.harmony import is_harmony
from server.prompts.jinja_adapted import adapted
from server.prompts.jinja_data import message_dicts, tool_dict
from server.prompts.jinja_sandbox import MAX_TEXT_CHARS, Sandbox
from server.prompts.render_input import RenderInput

MAX_SOURCE_CHARS = 1 << 20

_THINKING = ("<think>", "</think>")
_OTHER_THINKING = (
    ("<seed:think>", ("<seed:think>", "</seed:think>")),
    ("<mm:think>", ("<mm:think>", "</mm:think>")),
    ("open_tag('think')", ("<|open|>think<|sep|>", "<|close|>think<|sep|>")),
    ("<think:opensource>", ("<think:opensource>", "</think:opensource>")),
    ("'<think{}>'", ("<think:opensource>", "</think:opensource>")),  # names are made with the suffix
    ("[THINK]", ("[THINK]", "[/THINK]")),
    ("<|START_THINKING|>", ("<|START_THINKING|>", "<|END_THINKING|>")),
    ("<|channel>thought", ("<|channel>thought", "<channel|>")),
    ("<|inner_prefix|>", ("<|inner_prefix|>", "<|inner_suffix|>")),
)
"""Tags of reasoning of other families, by a text of their templates."""
_SPLIT_THINKING = re.compile(r"""content\.split\(\s*['"]</think>['"]\s*\)""")
_BLANK_AFTER_TAG = re.compile(r"<think>(?:\\n|\n)")
_CALL_TAGS = (
    "<tool_call>",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "<|tool_call|>",
    "<function_call>",
    "functools[",
)
_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What a template's own code can raise; anything else is a fault of ours."""


class JinjaTemplate:
    """A compiled chat template. Raises InvalidTemplate when made of a source that does not compile."""

    kind: Literal["go", "jinja"] = "jinja"
    supports_insert = False

    def __init__(self, source: str, now: Callable[[], datetime.datetime] = datetime.datetime.now) -> None:
        if len(source) > MAX_SOURCE_CHARS:
            raise InvalidTemplate(f"chat template is longer than {MAX_SOURCE_CHARS} characters")
        self.source = source
        self._now = now
        self._sandbox = Sandbox(now)
        try:
            self._template = self._sandbox.from_string(source)
        except (*_FAULTS, SyntaxError) as exc:
            raise _failure(exc) from exc
        self.supports_tools = "tools" in source or "tool_call" in source
        self.thinking_tags = _thinking_tags(source)
        self.supports_thinking = self.thinking_tags is not None or is_harmony(source)
        self.keeps_thinking_blanks = self.thinking_tags == _THINKING and not _BLANK_AFTER_TAG.search(source)
        self.tool_call_tag = _call_tag(source) if self.supports_tools else ""

    def render(self, inp: RenderInput) -> str:
        """The prompt. Raises InvalidTemplate."""
        messages = number_images(inp.messages, inp.image_key)
        continued = ""
        if messages and messages[-1].role == "assistant" and not messages[-1].tool_calls:
            continued = messages[-1].content
            messages = messages[:-1]
        variables: dict[str, Any] = {
            "messages": message_dicts(messages),
            "tools": [tool_dict(tool) for tool in inp.tools] or None,
            "documents": None,
            "add_generation_prompt": True,
            "bos_token": inp.bos_text,
            "eos_token": inp.eos_text,
        }
        if inp.think is not None:
            variables["enable_thinking"] = bool(inp.think)
            if isinstance(inp.think, str):
                variables["reasoning_effort"] = inp.think
        try:
            return self._run(variables) + continued
        except InvalidTemplate:
            for other in adapted(variables, self._now()):
                with contextlib.suppress(InvalidTemplate):
                    return self._run(other) + continued
            raise

    def _run(self, variables: dict[str, Any]) -> str:
        out: list[str] = []
        n_chars = 0
        try:
            for piece in self._template.generate(self._sandbox.begin(variables)):
                n_chars += len(piece)
                if n_chars > MAX_TEXT_CHARS:
                    raise InvalidTemplate(f"chat template makes more than {MAX_TEXT_CHARS} characters")
                out.append(piece)
        except _FAULTS as exc:
            raise _failure(exc) from exc
        return "".join(out)


def _thinking_tags(source: str) -> tuple[str, str] | None:
    if _can_think(source):
        return _THINKING
    found = (tags for mark, tags in _OTHER_THINKING if mark in source)
    return next(found, None)


def _can_think(source: str) -> bool:
    """Whether a chat template has the marks of a model that thinks (Ollama's rule)."""
    if all(tag in source for tag in _THINKING):
        return True
    if "reasoning_content" in source or "<SPECIAL_12>" in source:
        return False
    return bool(_SPLIT_THINKING.search(source))


def _call_tag(source: str) -> str:
    return next((tag for tag in _CALL_TAGS if tag in source), "{")


def _failure(exc: BaseException) -> InvalidTemplate:
    line = getattr(exc, "lineno", None)
    where = f" in line {line}" if isinstance(line, int) else ""
    return InvalidTemplate(
        f"chat template{where}: {str(exc) or type(exc).__name__}",
        hint="The model's own chat template refuses this conversation or is at fault.",
    )
