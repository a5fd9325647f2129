"""Grammars that make a model call a tool, in the form in which its template writes calls."""

from __future__ import annotations

from typing import Any

from server.errors import InvalidFormat, InvalidRequest
from server.prompts.schema.convert import schema_grammar
from server.prompts.schema.gbnf import literal
from server.prompts.tool_calls import CallSyntax, call_syntax
from server.types.messages import JsonObject, Tool

MAX_CALLS = 16
"""Most calls in one answer that must call: a model that has no other way out would go on for ever."""


def call_grammar(
    source: str, tag: str, tools: tuple[Tool, ...], parser_name: str = "", *, n_calls: int = MAX_CALLS
) -> str:
    """GBNF of an answer that is 1 to `n_calls` calls of these tools; arguments as `call_parser` takes them.

    Raises: InvalidRequest when the model's form of calls has no grammar, or when the parameters of a tool
        have a keyword that no grammar enforces.
    """
    syntax = call_syntax(source, tag, parser_name)
    if syntax is None:
        raise InvalidRequest(
            "tool_choice cannot require a call from this model: its form of calls has no grammar",
            hint='Send tool_choice "auto" or leave it out.',
        )
    try:
        grammar = schema_grammar(_call_schema(tools, syntax))
    except InvalidFormat as error:
        raise InvalidRequest(f"tool_choice cannot require a call of these tools: {error.message}") from error
    _, _, rules = grammar.partition("root ::= ")
    return f"root ::= {_answer(syntax, n_calls)}\ncall ::= {rules}"


def _answer(syntax: CallSyntax, n_calls: int) -> str:
    """The rule of the whole answer around the rule "call"."""
    opening, closing = literal(syntax.opening), literal(syntax.closing)
    more = f"{{0,{n_calls - 1}}}"
    if syntax.is_list:
        others = f' ("," ws call){more}' if n_calls > 1 else ""
        return f'{opening} "[" ws call{others} ws "]"'
    one = f"{opening} call {closing}" if syntax.closing else f"{opening} call"
    return f"{one} ({literal(syntax.between)} {one}){more}" if syntax.between and n_calls > 1 else one


def _call_schema(tools: tuple[Tool, ...], syntax: CallSyntax) -> JsonObject:
    """A schema of one call. Parameters stand under `$defs`, so that their own references can be kept."""
    definitions = {f"t{index}": _moved(_parameters(tool), index) for index, tool in enumerate(tools)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, syntax.arguments_key: {"$ref": f"#/$defs/t{index}"}},
            "required": ["name", syntax.arguments_key],
            "additionalProperties": False,
        }
        for index, tool in enumerate(tools)
    ]
    return {"$defs": definitions, "anyOf": calls}


def _parameters(tool: Tool) -> JsonObject:
    """The schema of a tool's arguments, which are always an object."""
    given = {key: value for key, value in tool.parameters.items() if value not in (None, "")}
    return {**given, "type": "object"}


def _moved(schema: Any, index: int) -> Any:
    """A schema with its references made to what now stands below `$defs`."""
    if isinstance(schema, list):
        return [_moved(item, index) for item in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {key: _moved(value, index) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = f"#/$defs/t{index}{reference[1:]}"
    return moved
