"""Tool calls as an element with the name of the tool and a JSON object in it, as functionary 3.1 writes them:

<function=get_weather>{"city": "Paris"}</function>
"""

from __future__ import annotations

from server.prompts.call_block import Call
from server.prompts.call_values import json_object


def read_named(body: str) -> list[Call] | None:
    """The call between `<function=` and `</function>`; None when it is none."""
    name, _, text = body.partition(">")
    arguments = json_object(text)
    return None if arguments is None or not name.strip() else [(name.strip(), arguments)]
