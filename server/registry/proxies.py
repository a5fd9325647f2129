"""Proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import urllib.request
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from server.errors import RegistryUnreachable


def proxy_for(url: SplitResult, proxies: Mapping[str, str] | None = None) -> SplitResult | None:
    """The proxy to ask for a URL, None to ask its host itself.

    Args:
        proxies: by scheme; None: those of the environment.
    Raises: RegistryUnreachable for a proxy of a kind that is not supported.
    """
    known = urllib.request.getproxies() if proxies is None else proxies
    text = known.get(url.scheme) or known.get("all")
    host = url.hostname or ""
    if not text or _is_loopback(host):
        return None
    if proxies is None and urllib.request.proxy_bypass(url.netloc):
        return None
    proxy = urlsplit(text if "://" in text else f"http://{text}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise RegistryUnreachable(
            f"a proxy of kind {proxy.scheme!r} is not supported",
            hint="Set HTTPS_PROXY to an http:// address, or NO_PROXY to the registry's host.",
        )
    return proxy


def authorization(proxy: SplitResult) -> dict[str, str]:
    """The header that a proxy with a user name in its URL wants."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"}


def open_tunnel(sock: socket.socket, host: str, port: int, proxy: SplitResult) -> None:
    """Have a proxy pass everything on to a host. Raises: OSError, http.client.HTTPException."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    lines += [f"{name}: {value}" for name, value in authorization(proxy).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    reply = http.client.HTTPResponse(sock, method="CONNECT")
    try:
        reply.begin()
        if reply.status != 200:
            raise OSError(f"the proxy {proxy.hostname} refuses: {reply.status} {reply.reason}")
    finally:
        reply.close()


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
