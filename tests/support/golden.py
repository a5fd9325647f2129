"""Comparing a reply with one recorded from a real Ollama.

Equal are: status, the listed headers, key sets, types and every value, except
- what differs from one moment or machine to the next (`VOLATILE`), of which only the type must agree;
- digests within texts, and the path of the model store;
- vectors, which must have the same length and point the same way;
- log probabilities, which differ in their last digits between builds;
- the order of models in a list and of lines with parameters;
- `olla`, which replies have beyond Ollama's when a prompt was shortened.
A stream is compared as the keys of its first item, the sets of keys in its middle, its whole last items, its
sequence of event names and its joined texts: in how many pieces a text comes is free.
"""

from __future__ import annotations

import base64
import json
import math
import re
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

VOLATILE = frozenset(
    "created_at modified_at expires_at created completed_at version id request_id item_id call_id "
    "tool_use_id message_id digest size size_vram obfuscation".split()
)
ADDED = frozenset(("olla",))
_DIGEST = re.compile(r"sha256[:-][0-9a-f]{64}")
_MIN_COSINE = 0.999
_LOGPROB_TOLERANCE = 0.05
"""A logprob of an unlikely token moves by some hundredths between builds of llama.cpp."""
_MIN_VECTOR = 8


class Response(NamedTuple):
    """A reply: status, headers (the first of each name) and the body in the form of the recordings."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]


def parse_body(content_type: str, text: str) -> dict[str, Any]:
    """A body in the form of the recordings: `json`, `ndjson`, `sse` or `text`."""
    if content_type.startswith("application/x-ndjson"):
        return {"ndjson": [json.loads(line) for line in text.splitlines()]}
    if content_type.startswith("text/event-stream"):
        return {"sse": [_event(block) for block in text.split("\n\n") if block]}
    if content_type.startswith("application/json") and text:
        return {"json": json.loads(text)}
    return {"text": text}


def _event(block: str) -> dict[str, Any]:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    data = fields["data"]
    event = {} if "event" not in fields else {"event": fields["event"]}
    return {**event, "data": data if data == "[DONE]" else json.loads(data)}


def differences(recorded: dict[str, Any], got: Response, store: str = "") -> list[str]:
    """What differs, each as "path: recorded -> got". `store`: path of the model store, as texts show it."""
    found = []
    if recorded["status"] != got.status:
        found.append(f"status: {recorded['status']} -> {got.status}")
    for name, value in recorded["headers"].items():
        if got.headers.get(name) != value:
            found.append(f"headers.{name}: {value!r} -> {got.headers.get(name)!r}")
    return found + body_differences(recorded["body"], got.body, store)


def body_differences(recorded: dict[str, Any], got: dict[str, Any], store: str = "") -> list[str]:
    """What differs between two bodies in the form of the recordings."""
    (kind,) = recorded
    if kind not in got:
        return [f"body: {kind} -> {_short(got)}"]
    if kind in ("ndjson", "sse"):
        return list(_stream_differences(kind, recorded[kind], got[kind], store))
    return list(_differences(f"body.{kind}", recorded[kind], got[kind], store))


def _stream_differences(kind: str, recorded: list[Any], got: list[Any], store: str) -> Iterator[str]:
    path = f"body.{kind}"
    if not got:
        yield f"{path}: {len(recorded)} items -> none"
        return
    n_last = 2 if recorded[-1].get("data") == "[DONE]" and len(recorded) > 1 else 1
    if shape(recorded[0]) != shape(got[0]):
        yield f"{path}.first: {sorted(shape(recorded[0]))} -> {sorted(shape(got[0]))}"
    middle = {shape(item) for item in recorded[1:-n_last]}
    if strange := {shape(item) for item in got[1:-n_last]} - middle - {shape(recorded[0])}:
        yield f"{path}.middle: {sorted(map(sorted, middle))} -> {sorted(map(sorted, strange))}"
    yield from _differences(f"{path}.last", recorded[-n_last:], got[-n_last:], store)
    yield from _differences(f"{path}.events", _folded_names(recorded), _folded_names(got), store)
    yield from _differences(f"{path}.joined", joined(recorded), joined(got), store)


def shape(item: Any) -> frozenset[str]:
    """Paths of all keys, with the items of a list taken together."""
    paths: set[str] = set()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, child in value.items():
                paths.add(f"{path}.{key}")
                walk(child, f"{path}.{key}")
        elif isinstance(value, list):
            for child in value:
                walk(child, f"{path}[]")

    walk(item, "")
    return frozenset(paths)


def _folded_names(items: list[Any]) -> list[str]:
    """Event names in order, repeats taken together."""
    names: list[str] = []
    for item in items:
        name = item.get("event", "") if isinstance(item, dict) else ""
        if not names or names[-1] != name:
            names.append(name)
    return names


_TEXTS = ("response", "content", "thinking", "reasoning", "text", "delta", "status", "partial_json")


def joined(items: list[Any]) -> dict[str, Any]:
    """Everything that a stream says bit by bit: texts joined by their key, tool calls in a list."""
    texts: dict[str, str] = {}
    calls: list[Any] = []

    def walk(value: Any) -> None:
        if isinstance(value, list):
            for child in value:
                walk(child)
        elif isinstance(value, dict):
            for key, child in value.items():
                if key in _TEXTS and isinstance(child, str):
                    texts[key] = texts.get(key, "") + child + ("\n" if key == "status" else "")
                elif key == "tool_calls":
                    calls.extend(child)
                else:
                    walk(child)

    for item in items:
        walk(item.get("data", item))
    return {**texts, "tool_calls": calls}


def _differences(path: str, recorded: Any, got: Any, store: str, key: str = "") -> Iterator[str]:
    """`key`: the nearest key above, which decides how values are compared."""
    if json_type(recorded) != json_type(got):
        yield f"{path}: {_short(recorded)} -> {_short(got)}"
    elif key in VOLATILE or key.endswith("_duration"):
        return
    elif isinstance(recorded, dict):
        if recorded.keys() != got.keys() - ADDED:
            yield f"{path}: keys {sorted(recorded)} -> {sorted(got)}"
        for name in recorded.keys() & got.keys():
            yield from _differences(f"{path}.{name}", recorded[name], got[name], store, name)
    elif isinstance(recorded, list):
        yield from _list_differences(path, recorded, got, store, key)
    elif not _equal(key, recorded, got, store):
        yield f"{path}: {_short(recorded)} -> {_short(got)}"


def _list_differences(path: str, recorded: list[Any], got: list[Any], store: str, key: str) -> Iterator[str]:
    if len(recorded) != len(got):
        yield f"{path}: {len(recorded)} items {_short(recorded)} -> {len(got)} items {_short(got)}"
        return
    if _is_vector(recorded):
        if _is_vector(got) and cosine(recorded, got) >= _MIN_COSINE:
            return
        yield f"{path}: vectors point apart"
        return
    for index, (old, new) in enumerate(zip(_ordered(recorded), _ordered(got), strict=True)):
        yield from _differences(f"{path}[{index}]", old, new, store, key)


def _ordered(items: list[Any]) -> list[Any]:
    """Lists of models and of tensors by name, others as they are."""
    if items and all(isinstance(item, dict) and ("name" in item or "owned_by" in item) for item in items):
        return sorted(items, key=lambda item: str(item.get("name") or item["id"]))
    return items


def _equal(key: str, recorded: Any, got: Any, store: str) -> bool:
    if isinstance(recorded, str):
        if key == "embedding":
            return cosine(_floats(recorded), _floats(got)) >= _MIN_COSINE
        return normal_text(key, recorded, "") == normal_text(key, got, store)
    if key == "logprob":
        return bool(abs(recorded - got) <= _LOGPROB_TOLERANCE)
    return bool(recorded == got)


def normal_text(key: str, text: str, store: str) -> str:
    """A text without what is free in it."""
    text = _DIGEST.sub("sha256:<digest>", text)
    if store:
        text = text.replace(store, "$OLLAMA_MODELS")
    if key == "parameters":
        return "\n".join(sorted(text.splitlines()))
    if key == "modelfile":
        lines = text.splitlines()
        return "\n".join([line for line in lines if not line.startswith("PARAMETER ")]) + "\n".join(
            sorted(line for line in lines if line.startswith("PARAMETER "))
        )
    return text


def json_type(value: Any) -> str:
    """JSON's name for the type of a value: whole and other numbers are alike."""
    if value is None:
        return "null"
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _is_vector(items: list[Any]) -> bool:
    return len(items) >= _MIN_VECTOR and all(isinstance(item, float) for item in items)


def cosine(left: list[float], right: list[float]) -> float:
    """Cosine of the angle between two vectors, 0 when they differ in length."""
    if len(left) != len(right):
        return 0.0
    return _dot(left, right) / math.sqrt(_dot(left, left) * _dot(right, right))


def _dot(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True))


def _floats(text: str) -> list[float]:
    return list(array("f", base64.b64decode(text)))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."
