"""JSON as Hugging Face's chat templates write it."""

from __future__ import annotations

import json
from typing import Any

import jinja2


def tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON with blanks after comma and colon and no escapes for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
        default=_listed,
    )


def _listed(value: Any) -> list[Any]:
    """A list of what can only be iterated, as filters make it."""
    if isinstance(value, jinja2.Undefined):
        raise TypeError("an undefined value has no JSON")
    return list(value)
