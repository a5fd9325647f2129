"""What a registry asks for before it answers, and the request for a token. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from urllib.parse import parse_qsl, quote_plus, urlencode, urlunsplit

import msgspec

from server.errors import RegistryError
from server.registry.address import parse_url

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')

_EMPTY_BODY = base64.b64encode(hashlib.sha256(b"").hexdigest().encode("ascii")).decode("ascii")
"""The last field of what is signed: of the body, which a token's request does not have."""


class Challenge(msgspec.Struct, frozen=True):
    """A `WWW-Authenticate` header.

    Attributes:
        realm: URL that gives tokens.
        scopes: what the token is to be good for.
    """

    realm: str
    service: str
    scopes: tuple[str, ...]


def parse_challenge(header: str) -> Challenge:
    """Read a header; one of another kind than Bearer gives an empty realm."""
    scheme, _, rest = header.partition(" ")
    found = dict(_PARAMETER.findall(rest)) if scheme.lower() == "bearer" else {}
    return Challenge(
        realm=found.get("realm", ""),
        service=found.get("service", ""),
        scopes=tuple(found.get("scope", "").split(" ")),
    )


def token_url(challenge: Challenge, registry_url: str, *, now_s: int, nonce: str) -> str:
    """Where to get a token.

    Raises: RegistryError when that is not the registry itself: what is signed must not go anywhere else
        (CVE-2025-51471).
    """
    registry = parse_url(registry_url)
    realm = parse_url(challenge.realm) if challenge.realm else None
    realm_host = realm.netloc if realm else ""
    if realm is None or realm_host != registry.netloc:
        raise RegistryError(
            f'realm host "{realm_host}" does not match original host "{registry.netloc}"',
            hint="The registry asks for a kind of login that is not supported here.",
            status=401,
        )
    if realm.scheme != registry.scheme:
        raise RegistryError(f"the registry gives tokens over {realm.scheme} alone", status=401)
    values = parse_qsl(realm.query, keep_blank_values=True)
    values.append(("service", challenge.service))
    values.extend(("scope", scope) for scope in challenge.scopes)
    values += [("ts", str(now_s)), ("nonce", nonce)]
    query = urlencode(sorted(values, key=lambda pair: pair[0]), quote_via=quote_plus)
    return urlunsplit((realm.scheme, realm.netloc, realm.path, query, ""))


def text_to_sign(url: str) -> bytes:
    """What the request for a token is signed over."""
    return f"GET,{url},{_EMPTY_BODY}".encode()


def token_of_reply(body: bytes) -> str:
    """The token in a reply. Raises: RegistryError."""
    try:
        reply = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        reply = None
    token = (reply.get("token") or reply.get("access_token")) if isinstance(reply, dict) else None
    if not isinstance(token, str) or not token or not token.isprintable() or not token.isascii():
        raise RegistryError("the registry's reply holds no token")
    return token
