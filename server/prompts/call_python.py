"""Tool calls as Python, as LFM2 writes them: `<|tool_call_start|>[get(city="Oslo")]<|tool_call_end|>`.

The text is parsed and never run: only calls by name with literal arguments count.
"""

from __future__ import annotations

import ast
import math
from typing import Any

from server.prompts.call_block import Call
from server.prompts.call_values import json_value
from server.types.messages import JsonObject

MAX_CHARS = 200_000
"""Python's parser needs some hundred bytes for each character."""
_CONSTANTS = {"true": True, "false": False, "null": None}


def read_python(body: str) -> list[Call] | None:
    """The calls of a block: a list of Python calls, or JSON objects, which these models write as well."""
    text = body.strip()
    if len(text) > MAX_CHARS:
        return None
    return _of_json(text) or _of_python(text)


def _of_json(text: str) -> list[Call] | None:
    try:
        value = json_value(text)
    except ValueError:
        return None
    items = value if isinstance(value, list) else [value]
    calls: list[Call] = []
    for item in items:
        if not (isinstance(item, dict) and isinstance(item.get("name"), str)):
            return None
        arguments = item.get("arguments", item.get("parameters", {}))
        if not isinstance(arguments, dict):
            return None
        calls.append((item["name"], arguments))
    return calls


def _of_python(text: str) -> list[Call] | None:
    try:
        tree = ast.parse(text, mode="eval").body
        items = tree.elts if isinstance(tree, ast.List | ast.Tuple) else [tree]
        return [_call(item) for item in items]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call by keywords")
    arguments: JsonObject = {}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("no name of an argument")
        arguments[keyword.arg] = _value(keyword.value)
    return _name(node.func), arguments


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    if not isinstance(node, ast.Name):
        raise ValueError("no name")
    return node.id


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    value = ast.literal_eval(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("no JSON number")
    if not isinstance(value, str | int | float | bool | None):
        raise ValueError("no JSON value")
    return value


def _key(node: ast.expr | None) -> str:
    key = None if node is None else ast.literal_eval(node)
    if not isinstance(key, str):
        raise ValueError("no text as a key")
    return key
