"""Unknown paths, wrong methods, superfluous slashes."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize(
    "path", ["/nope", "/api", "/api/chat/x", "/v1/models/a/b", "/v1/models/a%2Fb", "/metrics"]
)
async def test_unknown_paths(path: str, client: httpx.AsyncClient) -> None:
    reply = await client.get(path)
    assert (reply.status_code, reply.text) == (404, "404 page not found")
    assert reply.headers["content-type"] == "text/plain"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/show", "POST"),
        ("HEAD", "/api/ps", "GET"),
        ("DELETE", "/api/tags", "HEAD, GET"),
        ("PUT", "/", "HEAD, GET"),
        ("GET", "/api/blobs/sha256:0", "HEAD, POST"),
        ("GET", "/api/delete", "DELETE"),
        ("PATCH", "/v1/models/m", "GET"),
    ],
)
async def test_wrong_methods(method: str, path: str, allow: str, client: httpx.AsyncClient) -> None:
    reply = await client.request(method, path)
    assert (reply.status_code, reply.headers["allow"]) == (405, allow)
    assert reply.headers["content-type"] == "text/plain"
    assert reply.text == ("" if method == "HEAD" else "405 method not allowed")


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
async def test_head_where_it_is_listed(path: str, client: httpx.AsyncClient) -> None:
    reply = await client.head(path)
    assert (reply.status_code, reply.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "path", "status", "location"),
    [
        ("GET", "/api/tags/", 301, "/api/tags"),
        ("GET", "/api/tags/?a=1&b=2", 301, "/api/tags?a=1&b=2"),
        ("GET", "//api//tags", 301, "/api/tags"),
        ("POST", "/api/chat/", 307, "/api/chat"),
        ("POST", "//api/chat", 307, "/api/chat"),
        ("DELETE", "/api/delete/", 307, "/api/delete"),
        ("GET", "/v1/models/m/", 301, "/v1/models/m"),
        ("GET", "/v1/models/", 301, "/v1/models"),
        ("GET", "/v1/models/%0d%0aX-Evil:1%22%3e%c3%a9/", 301, "/v1/models/%0D%0AX-Evil:1%22%3E%C3%A9"),
    ],
)
async def test_superfluous_slashes(
    method: str, path: str, status: int, location: str, client: httpx.AsyncClient
) -> None:
    url = str(client.base_url).rstrip("/") + path
    reply = await client.request(method, url)
    assert (reply.status_code, reply.headers["location"]) == (status, location)


async def test_a_slash_too_many_does_not_excuse_a_wrong_method(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/chat/")).status_code == 404
