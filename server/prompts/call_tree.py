"""Tool calls as elements in elements, as MiniMax M3 writes them, each tag behind a mark that no text has:

<invoke name="plan">
  <city>Paris</city>
  <days><item>1</item><item>2</item></days>
</invoke>

A list is an element of `item` elements, an object one of elements by the names of its keys. What stands
between two tags is a text, blanks included, and the schema says whether it is a number.
"""

from __future__ import annotations

import re
from typing import Any, Final

from server.prompts.call_block import Call, ReadBlock
from server.prompts.call_values import Parameters, typed_value
from server.types.messages import JsonObject

MARK: Final = "]<]minimax[>["
MAX_DEPTH: Final = 64
"""Elements in elements; what is deeper is no call."""

_INVOKE = re.compile(r'<invoke name="([^"\n]+)">')
_OPENING = re.compile(r"<([^</>\s][^<>\n]*)>")


class _Element:
    """An open element. `parts`: closed elements in it, by name, in order."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.parts: list[tuple[str, _Element]] = []


def tree_reader(parameters: Parameters) -> ReadBlock:
    """A reader of blocks of such calls."""

    def read(body: str) -> list[Call] | None:
        root = _tree(body)
        if root is None or root.text.strip():
            return None
        calls: list[Call] = []
        for name, element in root.parts:
            if element.text.strip():
                return None
            schema = parameters.get(name, {})
            calls.append((name, _object(element, schema)))
        return calls

    return read


def _tree(body: str) -> _Element | None:
    """The elements of a block below a root; None where tags do not match."""
    before, *tags = body.split(MARK)
    root = _Element("", before)
    stack = [root]
    for tag in tags:
        closing = f"</{'invoke' if len(stack) == 2 else stack[-1].name}>"
        if len(stack) > 1 and tag.startswith(closing):
            closed = stack.pop()
            stack[-1].parts.append((closed.name, closed))
            if tag[len(closing) :].strip():
                return None  # text between elements is nobody's
            continue
        opening = (_INVOKE if len(stack) == 1 else _OPENING).match(tag)
        if opening is None or len(stack) > MAX_DEPTH:
            return None
        stack.append(_Element(opening.group(1), tag[opening.end() :]))
    return root if len(stack) == 1 else None


def _object(element: _Element, schema: Any) -> JsonObject:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    known = properties if isinstance(properties, dict) else {}
    return {name: _value(part, known.get(name)) for name, part in element.parts}


def _value(element: _Element, schema: Any) -> Any:
    if not element.parts:
        return typed_value(element.text, schema)
    if all(name == "item" for name, _ in element.parts):
        items = schema.get("items") if isinstance(schema, dict) else None
        return [_value(part, items) for _, part in element.parts]
    return _object(element, schema)
