"""Origins and Host headers: who may call, and what browsers are told."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.app import ApiSettings, create_app
from server.api.middleware import HostGuard, _matches, interface_addresses
from server.api.routing import Router
from tests.support.scripted_services import ScriptedServices
from tests.support.served_app import served


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:8080",
        "https://0.0.0.0",
        "app://obsidian.md",
        "file://",
        "tauri://localhost",
        "vscode-webview://abc",
    ],
)
async def test_local_origins_are_echoed(origin: str, client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/tags", headers={"origin": origin})
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["vary"] == "Origin"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://localhost.evil.example", "null", "moz-extension://x"]
)
async def test_foreign_origins_get_an_empty_403_with_any_method(
    method: str, origin: str, client: httpx.AsyncClient
) -> None:
    reply = await client.request(method, "/api/tags", headers={"origin": origin})
    assert (reply.status_code, reply.content) == (403, b"")


async def test_the_same_origin_needs_no_marks(client: httpx.AsyncClient) -> None:
    origin = str(client.base_url).rstrip("/")
    reply = await client.get("/api/version", headers={"origin": origin})
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


async def test_a_preflight_tells_methods_and_headers(client: httpx.AsyncClient) -> None:
    headers = {"origin": "http://localhost", "access-control-request-method": "POST"}
    reply = await client.options("/api/chat", headers=headers)
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
    assert reply.headers["access-control-max-age"] == "43200"
    assert reply.headers["allow"] == "POST"
    assert reply.headers.get_list("vary") == [
        "Origin",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
    ]
    allowed = set(reply.headers["access-control-allow-headers"].split(","))
    assert {"Authorization", "X-Api-Key", "Anthropic-Version"} <= allowed
    assert "allow" not in (await client.options("/nope", headers=headers)).headers


async def test_origins_can_be_added_and_opened_to_all() -> None:
    async with served(
        create_app(ScriptedServices(), ApiSettings(origins=("https://*.mine.example",)))
    ) as client:
        good = await client.get("/", headers={"origin": "https://a.mine.example"})
        assert good.headers["access-control-allow-origin"] == "https://a.mine.example"
        assert (await client.get("/", headers={"origin": "https://mine.example"})).status_code == 403
    async with served(create_app(ScriptedServices(), ApiSettings(origins=("*",)))) as client:
        reply = await client.get("/", headers={"origin": "https://any.example"})
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "vary" not in reply.headers


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_a_star_stands_for_any_text(before: str, between: str, after: str) -> None:
    if "*" not in before + after:
        assert _matches(f"{before}*{after}", before + between + after)


def test_the_two_sides_of_a_star_do_not_overlap() -> None:
    assert not _matches("http://a*a", "http://a")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("127.0.0.1:11434", 200),
        ("127.8.8.8", 200),
        ("0.0.0.0", 200),
        ("10.1.2.3", 200),
        ("172.16.0.1", 200),
        ("172.32.0.1", 403),
        ("192.168.1.1:80", 200),
        ("[::1]:11434", 200),
        ("[fd00::1]", 200),
        ("8.8.8.8", 403),
        ("[2001:db8::1]", 403),
        ("box.local", 200),
        ("a.internal", 200),
        ("a.localhost", 200),
        ("evil.example", 403),
        ("local", 403),
        ("local.evil.example", 403),
        ("localhost.evil.example:11434", 403),
    ],
)
async def test_hosts_of_a_server_for_this_machine_alone(
    host: str, status: int, client: httpx.AsyncClient
) -> None:
    reply = await client.get("/api/version", headers={"host": host})
    assert reply.status_code == status
    assert (reply.content == b"") == (status == 403)


async def test_hosts_are_free_when_the_network_may_call() -> None:
    async with served(create_app(ScriptedServices(), ApiSettings(bound_host="0.0.0.0"))) as client:
        assert (await client.get("/", headers={"host": "evil.example"})).status_code == 200


async def test_an_address_of_this_machine_is_allowed() -> None:
    guard = HostGuard(Router([]), "127.0.0.1", own_addresses=lambda: {"8.8.8.8"})
    assert guard._allows_address("8.8.8.8")
    assert not guard._allows_address("8.8.4.4")
    assert "127.0.0.1" in interface_addresses()


async def test_options_without_an_origin(client: httpx.AsyncClient) -> None:
    assert (await client.options("/anything", headers={"host": "localhost"})).status_code == 204
    by_address = await client.options("/api/chat", headers={"host": "127.0.0.1"})
    assert (by_address.status_code, by_address.headers["allow"]) == (405, "POST")
