"""Texts as token ids and back, in olla's words and in llama-server's."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


async def post(client: httpx.AsyncClient, path: str, **fields: Any) -> Any:
    reply = await client.post(path, json={"model": "m", **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


async def test_the_same_under_two_names(client: httpx.AsyncClient) -> None:
    assert await post(client, "/olla/tokenize", text="bos:a") == {"tokens": [1, *b"bos:a"]}
    assert await post(client, "/olla/tokenize", text="bos:a", add_special=False) == {"tokens": [*b"bos:a"]}
    assert await post(client, "/tokenize", content="bos:a") == {"tokens": [*b"bos:a"]}
    assert await post(client, "/tokenize", content="bos:a", add_special=True) == {"tokens": [1, *b"bos:a"]}
    assert await post(client, "/olla/detokenize", tokens=[97, 98]) == {"text": "ab"}
    assert await post(client, "/detokenize", tokens=[97, 98]) == {"content": "ab"}
    reply = await client.post("/tokenize", json={"model": "m", "content": "a", "with_pieces": True})
    assert reply.headers["olla-ignored"] == "with_pieces"


@pytest.mark.parametrize("path", ["/olla/tokenize", "/olla/detokenize", "/tokenize", "/detokenize"])
async def test_a_model_is_needed(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.post(path, json={"tokens": [1]})).status_code == 400


@pytest.mark.parametrize("tokens", [[-1], [2**40], ["a"], "a", [1.5]])
@pytest.mark.parametrize("path", ["/olla/detokenize", "/detokenize"])
async def test_what_is_no_token_is_refused(client: httpx.AsyncClient, path: str, tokens: Any) -> None:
    assert (await client.post(path, json={"model": "m", "tokens": tokens})).status_code == 400
