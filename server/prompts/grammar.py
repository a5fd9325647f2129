"""Formats of an answer as GBNF grammars."""

from __future__ import annotations

import json
from functools import lru_cache

from server.errors import InvalidFormat
from server.prompts.schema.convert import schema_grammar
from server.prompts.schema.gbnf import with_dependencies
from server.types.generation import Format

_N_CACHED = 128


def grammar_for(format: Format) -> str:
    """GBNF with the root rule "root"; "" for None. Cached by content.

    Raises: InvalidFormat naming the keyword of a schema that cannot be enforced.
    """
    if format is None:
        return ""
    if format == "json":
        return _any_object()
    try:
        text = json.dumps(format, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidFormat('format is neither "json" nor a JSON schema') from exc
    return _of_schema(text)


@lru_cache(maxsize=1)
def _any_object() -> str:
    rules = {"root": "object", **with_dependencies({"object"})}
    return "".join(f"{name} ::= {rule}\n" for name, rule in rules.items())


@lru_cache(maxsize=_N_CACHED)
def _of_schema(text: str) -> str:
    schema = json.loads(text)
    if not isinstance(schema, dict):
        raise InvalidFormat('format is neither "json" nor a JSON schema')
    return schema_grammar(schema)
