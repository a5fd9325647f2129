"""Prompts by a Modelfile's TEMPLATE, as Ollama renders them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from server.prompts.conversation import collate, number_images
from server.prompts.gotemplate.data import message_value, tools_value
from server.prompts.gotemplate.evaluate import execute
from server.prompts.gotemplate.extras import FUNCTION_NAMES, functions
from server.prompts.gotemplate.inspect import cut_after_response, identifiers, thinking_tags, tool_call_tag
from server.prompts.gotemplate.nodes import ActionNode, CommandNode, FieldNode, ListNode, PipeNode, Tree
from server.prompts.gotemplate.parser import parse
from server.prompts.gotemplate.values import Value
from server.prompts.render_input import RenderInput
from server.types.generation import Think
from server.types.messages import Message


class GoTemplate:
    """A parsed Go template. Raises InvalidTemplate when made of a source that does not parse."""

    kind: Literal["go", "jinja"] = "go"
    keeps_thinking_blanks = False

    def __init__(self, source: str, today: Callable[[], datetime.date] = datetime.date.today) -> None:
        self.source = source
        self._functions = functions(today)
        tree = parse(source, FUNCTION_NAMES)
        names = identifiers(tree)
        self._has_messages = "messages" in names
        if not self._has_messages and "response" not in names:
            tree = _with_response(tree)
        self._tree = tree
        self._open_tree = cut_after_response(tree)
        self.supports_tools = "tools" in names
        self.supports_insert = "suffix" in names
        self.thinking_tags = thinking_tags(tree)
        self.supports_thinking = self.thinking_tags is not None
        self.tool_call_tag = tool_call_tag(tree) if self.supports_tools else ""

    def render(self, inp: RenderInput) -> str:
        """The prompt. Raises InvalidTemplate."""
        messages = number_images(inp.messages, inp.image_key)
        prompt = next((m.content for m in reversed(messages) if m.role == "user"), "")
        shared = _thinking_values(inp.think)
        if inp.suffix and prompt:
            return self._execute({"Prompt": prompt, "Suffix": inp.suffix, "Response": "", **shared})
        system, merged = collate(messages)
        if self._has_messages:
            data: dict[str, Value] = {
                "System": system,
                "Messages": [message_value(message) for message in merged],
                "Tools": tools_value(inp.tools),
                "Response": "",
                **shared,
            }
            return self._execute(data)
        return self._render_turns(merged, shared)

    def _execute(self, data: dict[str, Value], *, open_end: bool = False) -> str:
        return execute(self._open_tree if open_end else self._tree, data, self._functions)

    def _render_turns(self, messages: list[Message], shared: dict[str, Value]) -> str:
        """A template that knows one turn: rendered per turn, the last one left open after its response."""
        out: list[str] = []
        turn = _Turn()
        for message in messages:
            if message.role == "system":
                if turn.prompt or turn.response:
                    out.append(self._execute({**turn.values(), **shared}))
                    turn = _Turn()
                turn = msgspec.structs.replace(turn, system=message.content)
            elif message.role == "user":
                if turn.response:
                    out.append(self._execute({**turn.values(), **shared}))
                    turn = _Turn()
                turn = msgspec.structs.replace(turn, prompt=message.content)
            elif message.role == "assistant":
                turn = msgspec.structs.replace(turn, response=message.content)
        out.append(self._execute({**turn.values(), **shared}, open_end=True))
        return "".join(out)


class _Turn(msgspec.Struct, frozen=True):
    system: str = ""
    prompt: str = ""
    response: str = ""

    def values(self) -> dict[str, Value]:
        return {"System": self.system, "Prompt": self.prompt, "Response": self.response}


def _thinking_values(think: Think) -> dict[str, Value]:
    level = think if isinstance(think, str) else "medium" if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


def _with_response(tree: Tree) -> Tree:
    """The tree with `{{ .Response }}` at its end, which Ollama adds to a template that prints no answer."""
    end = len(tree.source)
    field = FieldNode(end, ("Response",))
    action = ActionNode(end, PipeNode(end, False, (), (CommandNode(end, (field,)),)))
    return replace(tree, root=ListNode(tree.root.pos, (*tree.root.nodes, action)))
