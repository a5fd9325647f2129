"""The functions that Ollama adds to a template's own."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from server.prompts.gotemplate.builtins import BUILTINS, Builtin
from server.prompts.gotemplate.evaluate import SHORT_CIRCUIT
from server.prompts.gotemplate.json_text import go_json
from server.prompts.gotemplate.values import Struct, Value

_TYPESCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}

FUNCTION_NAMES = frozenset(
    {*BUILTINS, *SHORT_CIRCUIT, "json", "currentDate", "yesterdayDate", "toTypeScriptType"}
)


def functions(today: Callable[[], datetime.date]) -> dict[str, Builtin]:
    """All functions by name; `today` is the local date."""

    def yesterday() -> datetime.date:
        return today() - datetime.timedelta(days=1)

    return {
        **BUILTINS,
        "json": Builtin(go_json, 1, 1),
        "currentDate": Builtin(lambda *_format: today().isoformat(), 0, None, ("string",)),
        "yesterdayDate": Builtin(lambda *_format: yesterday().isoformat(), 0, None, ("string",)),
        "toTypeScriptType": Builtin(typescript_type, 1, 1),
    }


def typescript_type(value: Value) -> str:
    """The TypeScript type of a tool's property; "any" for what is no property."""
    if not isinstance(value, Struct) or value.type_name != "api.ToolProperty":
        return "any"
    if value.fields["AnyOf"]:
        return " | ".join(typescript_type(item) for item in value.fields["AnyOf"])
    return " | ".join(_TYPESCRIPT.get(name, "any") for name in value.fields["Type"]) or "any"
