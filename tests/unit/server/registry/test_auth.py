from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from server.errors import RegistryError, TransferFailed
from server.registry.auth import parse_challenge, text_to_sign, token_of_reply, token_url
from server.registry.keys import Signer

HEADER = 'Bearer realm="https://r.example/v2/token",service="r.example",scope="repository:a/b:pull x:y:z"'


def test_a_token_is_asked_for_with_each_scope_and_something_that_is_new() -> None:
    url = token_url(parse_challenge(HEADER), "https://r.example/v2/a/b", now_s=7, nonce="n-_")
    assert url == (
        "https://r.example/v2/token?nonce=n-_&scope=repository%3Aa%2Fb%3Apull&scope=x%3Ay%3Az"
        "&service=r.example&ts=7"
    )


def test_what_the_realm_asks_already_stays() -> None:
    challenge = parse_challenge('Bearer realm="https://r.example/t?a=1",service="s",scope="p"')
    query = parse_qs(urlsplit(token_url(challenge, "https://r.example/v2/a/b", now_s=7, nonce="n")).query)
    assert query == {"a": ["1"], "service": ["s"], "scope": ["p"], "ts": ["7"], "nonce": ["n"]}


@pytest.mark.parametrize(
    ("realm", "told"),
    [
        ("https://evil.example/token", "evil.example"),
        ("https://r.example:8443/token", "r.example:8443"),
        ("https://r.example.evil.example/token", "r.example.evil.example"),
        ("", ""),
    ],
)
def test_cve_2025_51471_nothing_is_signed_for_another_host(realm: str, told: str) -> None:
    challenge = parse_challenge(f'Bearer realm="{realm}",service="s",scope="p"')
    with pytest.raises(RegistryError) as caught:
        token_url(challenge, "https://r.example/v2/a/b", now_s=7, nonce="n")
    assert caught.value.message == f'realm host "{told}" does not match original host "r.example"'


@pytest.mark.parametrize(
    "realm",
    [
        "http://r.example/token",
        "https://r.example@evil.example/token",
        "https://r.example\\@evil.example/token",
        "file:///etc/passwd",
        "https://[::1/token",
        "//r.example/token",
    ],
)
def test_cve_2026_24779_a_realm_that_can_be_read_in_two_ways_is_refused(realm: str) -> None:
    challenge = parse_challenge(f'Bearer realm="{realm}",service="s",scope="p"')
    with pytest.raises(RegistryError):
        token_url(challenge, "https://r.example/v2/a/b", now_s=7, nonce="n")


def test_another_kind_of_login_says_so() -> None:
    with pytest.raises(RegistryError) as caught:
        token_url(parse_challenge('Basic realm="x"'), "https://r.example/v2/a/b", now_s=7, nonce="n")
    assert caught.value.message.startswith('realm host "" does not match')


def test_the_signature_is_that_of_the_key_over_the_request_and_an_empty_body(tmp_path: Path) -> None:
    signer = Signer(tmp_path / "ollama" / "id_ed25519")
    text = text_to_sign("https://r.example/t?a=1")
    assert text == (
        b"GET,https://r.example/t?a=1,"
        b"ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3ODUyYjg1NQ=="
    )
    public, signature = signer.authorization(text).split(":")
    key = load_ssh_public_key(f"ssh-ed25519 {public}".encode())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(base64.b64decode(signature), text)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature), b"other")


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ollama" / "id_ed25519"
    first = Signer(path).authorization(b"x")
    assert Signer(path).authorization(b"x") == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert path.with_name("id_ed25519.pub").read_text() == f"ssh-ed25519 {first.split(':')[0]}\n"
    assert {file.name for file in path.parent.iterdir()} == {"id_ed25519", "id_ed25519.pub"}


@pytest.mark.parametrize("content", [b"", b"-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n", b"\xff\x00"])
def test_a_file_that_is_no_key_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "id_ed25519"
    path.write_bytes(content)
    with pytest.raises(TransferFailed, match="is not a key"):
        Signer(path).authorization(b"x")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"token":1}', b'{"token":""}', b'{"token":"a\\nb"}', b"[" * 9999]
)
def test_a_reply_without_a_token_is_refused(body: bytes) -> None:
    with pytest.raises(RegistryError):
        token_of_reply(body)


def test_a_token_goes_by_either_name() -> None:
    assert token_of_reply(b'{"token":"t"}') == "t"
    assert token_of_reply(b'{"access_token":"t"}') == "t"
