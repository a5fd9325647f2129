"""Grammars that make a model call a tool, in the form in which its template writes calls."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from server.errors import InvalidFormat, InvalidRequest
from server.prompts.call_syntax import CallSyntax, Marked
from server.prompts.schema.convert import schema_grammar
from server.prompts.schema.gbnf import literal
from server.prompts.tool_calls import call_syntax
from server.types.messages import JsonObject, Tool

MAX_CALLS = 16
"""Most calls in one answer that must call: a model that has no other way out would go on for ever."""

_TEXT = "call-text"
_TEXT_RULE = r'([^<] | "<" [^/<a-zA-Z|｜])*'
"""A value that is text goes on to the next tag."""
_TEXT_LIMITS = ("const", "format", "maxLength", "minLength", "pattern")


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
        body, rules = _one_call(syntax, tools)
    except InvalidFormat as error:
        raise InvalidRequest(f"tool_choice cannot require a call of these tools: {error.message}") from error
    return f"root ::= {_answer(syntax, n_calls)}\ncall ::= {body}\n{rules}"


def _answer(syntax: CallSyntax, n_calls: int) -> str:
    """The rule of the whole answer around the rule "call"."""
    more = f"{{0,{n_calls - 1}}}"
    if syntax.is_list:
        others = f' ("," ws call){more}' if n_calls > 1 else ""
        return _joined(literal(syntax.opening), f'"[" ws call{others} ws "]"', _optional(syntax.closing))
    one = _joined(literal(syntax.opening), "call", _optional(syntax.closing))
    if syntax.repeats and n_calls > 1:
        one = f"{one} ({_joined(_optional(syntax.between), one)}){more}"
    return _joined(_optional(syntax.before), one, _optional(syntax.after))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _optional(text: str) -> str:
    return literal(text) if text else ""


def _one_call(syntax: CallSyntax, tools: tuple[Tool, ...]) -> tuple[str, str]:
    """The body of the rule "call", and the rules that it needs. Raises: InvalidFormat, InvalidRequest."""
    definitions = {f"t{index}": _moved(_parameters(tool), index) for index, tool in enumerate(tools)}
    if syntax.marked is not None:
        return _marked_calls(syntax.marked, tools, definitions)
    places = [f"#/$defs/t{index}" for index in range(len(tools))]
    if syntax.head is None:
        calls = [_object(syntax, tool.name, place) for tool, place in zip(tools, places, strict=True)]
        return _split(schema_grammar({"$defs": definitions, "anyOf": calls}))
    names, rules = _references(places, definitions)
    before, after = syntax.head
    heads = (literal(f"{before}{tool.name}{after}") for tool in tools)
    return " | ".join(f"{head} {names[place]}" for head, place in zip(heads, places, strict=True)), rules


def _object(syntax: CallSyntax, name: str, place: str) -> JsonObject:
    """A schema of a call as an object."""
    arguments = {"$ref": place}
    properties: JsonObject = (
        {name: arguments}
        if syntax.is_keyed
        else {syntax.name_key: {"const": name}, syntax.arguments_key: arguments}
    )
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _references(places: list[str], definitions: JsonObject) -> tuple[dict[str, str], str]:
    """The name of the rule for each place in the definitions, and the rules."""
    distinct = list(dict.fromkeys(places))
    if not distinct:
        return {}, ""
    body, rules = _split(schema_grammar({"$defs": definitions, "anyOf": [{"$ref": at} for at in distinct]}))
    return dict(zip(distinct, body.split(" | "), strict=True)), rules


def _split(grammar: str) -> tuple[str, str]:
    """The body of the root, and the other rules."""
    body, _, rules = grammar.removeprefix("root ::= ").partition("\n")
    return body, rules


def _marked_calls(marked: Marked, tools: tuple[Tool, ...], definitions: JsonObject) -> tuple[str, str]:
    """Calls whose arguments stand between texts, in the order of the schema."""
    values = {
        (index, key): None if _is_text(schema, key) else _place(index, key)
        for index in range(len(tools))
        for key, schema in _properties(definitions[f"t{index}"]).items()
    }
    names, rules = _references([place for place in values.values() if place is not None], definitions)
    calls = []
    for index, tool in enumerate(tools):
        parameters = definitions[f"t{index}"]
        required = parameters.get("required") or ()
        parts = [literal(f"{marked.name[0]}{tool.name}{marked.name[1]}")]
        for key, schema in _properties(parameters).items():
            place = values[index, key]
            mark = marked.text_mark if place is None else marked.json_mark
            value = _texts(schema) if place is None else names[place]
            opening = literal(f"{marked.key[0]}{key}{marked.key[1]}{mark}")
            part = f"{opening} ({value}) {literal(marked.value_end)}"
            parts.append(part if key in required else f"({part})?")
        calls.append(_joined(*parts, _optional(marked.end)))
    return " | ".join(calls), f"{rules}{_TEXT} ::= {_TEXT_RULE}\n"


def _properties(parameters: JsonObject) -> dict[str, Any]:
    properties = parameters.get("properties") or {}
    return properties if isinstance(properties, dict) else {}


def _place(index: int, key: str) -> str:
    """Where the schema of a property stands."""
    return f"#/$defs/t{index}/properties/{quote(key.replace('~', '~0').replace('/', '~1'), safe='')}"


def _is_text(schema: Any, key: str) -> bool:
    """Whether a value may be text, which stands there as it is. Raises: InvalidRequest for limits of it."""
    if not isinstance(schema, dict):
        return schema is True
    types = schema.get("type")
    branches = schema.get("anyOf") or schema.get("oneOf") or ()
    may_be = "string" in ([types] if isinstance(types, str) else types or ())
    may_be = may_be or any(_is_text(branch, key) for branch in branches)
    may_be = may_be or not (types or branches or schema.keys() & {"$ref", "allOf", "enum", "const"})
    values = schema.get("enum")
    may_be = may_be or (isinstance(values, list) and any(isinstance(value, str) for value in values))
    if may_be and (limits := [name for name in _TEXT_LIMITS if name in schema]):
        raise InvalidRequest(
            f"tool_choice cannot require a call of these tools: {limits[0]!r} of {key!r} cannot be enforced "
            "in this model's form of calls"
        )
    return may_be


def _texts(schema: Any) -> str:
    """GBNF of a value that is text: one of a list, or any."""
    values = schema.get("enum") if isinstance(schema, dict) else None
    if not isinstance(values, list):
        return _TEXT
    words = [value if isinstance(value, str) else "null" if value is None else str(value) for value in values]
    return " | ".join(literal(word) for word in words)


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
