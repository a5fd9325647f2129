"""Request bodies that come compressed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from server.api import encoding
from server.api.encoding import BodyTooLarge, plain_body
from server.errors import InvalidRequest


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip ": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": bare_deflate,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
}
COMPRESSORS = [(name, pack) for name, pack in ENCODERS.items() if pack is not bytes]


@given(body=st.binary(max_size=2000))
def test_what_was_compressed_is_the_body_again(body: bytes) -> None:
    for name, pack in ENCODERS.items():
        assert plain_body(pack(body), name) == body


@given(body=st.binary(max_size=200), name=st.sampled_from(["gzip", "deflate", "zstd"]))
def test_any_bytes_are_a_body_or_an_invalid_request(body: bytes, name: str) -> None:
    try:
        plain_body(body, name)
    except InvalidRequest as error:
        assert str(error).startswith(f"the request body is not {name}: ")


@pytest.mark.parametrize(("name", "pack"), COMPRESSORS)
def test_a_body_that_ends_too_early_or_goes_on_is_refused(name: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"a body" * 100)
    with pytest.raises(InvalidRequest, match="ends too early"):
        plain_body(packed[:-5], name)
    with pytest.raises(InvalidRequest, match="something follows its end"):
        plain_body(packed + packed, name)


@pytest.mark.parametrize(("name", "pack"), COMPRESSORS)
def test_a_small_body_cannot_become_a_large_one(
    monkeypatch: pytest.MonkeyPatch, name: str, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(encoding, "MAX_PLAIN_BYTES", 100_000)
    assert plain_body(pack(bytes(100_000)), name) == bytes(100_000)
    with pytest.raises(BodyTooLarge, match="larger than 100000 bytes"):
        plain_body(pack(bytes(100_001)), name)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize(("name", "pack"), COMPRESSORS)
async def test_routes_take_compressed_bodies(
    client: httpx.AsyncClient, path: str, name: str, pack: Callable[[bytes], bytes]
) -> None:
    messages = [{"role": "user", "content": "x"}]
    body = json.dumps({"model": "m", "messages": messages, "input": "x", "max_tokens": 5, "stream": False})
    plain = await client.post(path, content=body)
    packed = await client.post(path, content=pack(body.encode()), headers={"content-encoding": name.strip()})
    assert (plain.status_code, packed.status_code) == (200, 200)
    assert set(packed.json()) == set(plain.json())


async def test_other_encodings_and_bad_bodies_are_refused_in_the_words_of_the_route(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "MAX_PLAIN_BYTES", 1000)

    async def ask(path: str, name: str, body: bytes) -> httpx.Response:
        return await client.post(path, content=body, headers={"content-encoding": name})

    unknown = await ask("/api/chat", "br", b"x")
    assert (unknown.status_code, unknown.json()) == (415, {"error": "Content-Encoding 'br' is not supported"})
    assert "zstd" in unknown.headers["olla-hint"]
    twice = await ask("/api/chat", "gzip, zstd", b"x")
    assert twice.status_code == 415
    broken = await ask("/v1/chat/completions", "gzip", b"x")
    assert broken.status_code == 400 and broken.json()["error"]["type"] == "invalid_request_error"
    bomb = await ask("/v1/messages", "zstd", zstd.compress(bytes(5000)))
    assert bomb.status_code == 413 and bomb.json()["error"]["type"] == "request_too_large"
