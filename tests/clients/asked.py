"""What the clients are asked, and what the models answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

from tests.support.vision_models import picture

CAPITAL = "What is the capital of France?"
CAPITAL_ANSWER = "The capital of France is Paris."
WEATHER = "What is the weather in Paris?"
ENDLESS = "Count without end."
TOO_LONG = "one two three " * 20_000

WEATHER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["city"],
    "properties": {"city": {"type": "string", "description": "City"}},
}
NOW_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["zone"],
    "properties": {"zone": {"type": "string", "enum": ["utc"]}},
}
CITY_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["city", "size"],
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "additionalProperties": False,
}

SKY = ["The sky is blue", "The heaven is azure", "Tax law is dull"]
"""The second is nearer to the first than the third is."""
N_EMBD = 384


def openai_tool(name: str, schema: dict[str, Any]) -> Any:
    """A function in the form of OpenAI's and Ollama's chats."""
    description = {"get_weather": "Weather of a city", "now": "The time"}[name]
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


WEATHER_TOOL = openai_tool("get_weather", WEATHER_SCHEMA)
NOW_TOOL = openai_tool("now", NOW_SCHEMA)


def user(text: str) -> list[Any]:
    """A conversation of one message."""
    return [{"role": "user", "content": text}]


def picture_base64(seed: int) -> str:
    """A small PNG."""
    return base64.b64encode(picture(seed)).decode()


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """How alike two vectors are."""
    dot = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))


def assert_near(vectors: Sequence[Sequence[float]]) -> None:
    """The embeddings of `SKY`."""
    sky, heaven, tax = vectors
    assert len(sky) == N_EMBD
    assert cosine(sky, heaven) > cosine(sky, tax) + 0.1


def assert_city(value: Any) -> None:
    """An object of `CITY_SCHEMA`."""
    assert set(value) == {"city", "size"}
    assert value["city"] in ("Paris", "Rome")
    assert type(value["size"]) is int and 1 <= value["size"] <= 9
