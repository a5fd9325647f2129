from __future__ import annotations

import socket

import pytest

from server.errors import InvalidRequest, RegistryError
from server.registry.address import RegistryAddress, check_scheme, parse_url, shown
from server.registry.guard import AddressGuard, Target, is_private
from server.registry.proxies import authorization, proxy_for
from server.types.names import ModelName


def resolver(names: dict[str, list[str]]):  # type: ignore[no-untyped-def]
    def resolve(host: str, port: int) -> list[Target]:
        if host not in names:
            raise socket.gaierror("unknown")
        return [Target(socket.AF_INET, address, port) for address in names[host]]

    return resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
    ],
)
def test_an_address_of_this_machine_or_its_network_is_private(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_not(address: str) -> None:
    assert not is_private(address)


def test_cve_2026_5530_a_public_registry_may_not_lead_to_a_private_address() -> None:
    guard = AddressGuard("r.example", resolver({"r.example": ["8.8.8.8"], "evil.example": ["10.0.0.1"]}))
    assert guard.targets("r.example", 443) == [Target(socket.AF_INET, "8.8.8.8", 443)]
    with pytest.raises(RegistryError, match="private network"):
        guard.targets("evil.example", 80)


def test_cve_2024_28224_a_name_that_changes_its_address_is_vetted_each_time() -> None:
    names = {"r.example": ["8.8.8.8"]}
    guard = AddressGuard("r.example", resolver(names))
    guard.targets("r.example", 443)
    names["r.example"] = ["127.0.0.1"]
    with pytest.raises(RegistryError):
        guard.targets("r.example", 443)


def test_of_several_addresses_the_private_ones_are_left_out() -> None:
    guard = AddressGuard("r.example", resolver({"r.example": ["8.8.8.8", "10.0.0.1"]}))
    assert [target.address for target in guard.targets("r.example", 443)] == ["8.8.8.8"]


def test_a_private_registry_may_lead_to_others_like_it() -> None:
    names = {"r.corp": ["10.0.0.1"], "s3.corp": ["10.0.0.2"], "cdn.example": ["8.8.8.8"]}
    guard = AddressGuard("r.corp", resolver(names))
    assert guard.targets("s3.corp", 80)
    assert guard.targets("cdn.example", 80)


def test_not_even_a_private_registry_may_lead_to_the_credentials_of_a_cloud_machine() -> None:
    guard = AddressGuard("r.corp", resolver({"r.corp": ["10.0.0.1"], "meta": ["169.254.169.254"]}))
    with pytest.raises(RegistryError):
        guard.targets("meta", 80)


def test_behind_a_proxy_an_address_that_is_written_out_is_refused_all_the_same() -> None:
    guard = AddressGuard("r.example", resolver({}))
    with pytest.raises(RegistryError):
        guard.check_literal("10.0.0.1")
    guard.check_literal("8.8.8.8")
    guard.check_literal("intern.example")
    AddressGuard("10.0.0.1", resolver({})).check_literal("10.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        "ftp://r.example/x",
        "https:///x",
        "https://user@r.example/x",
        "https://r.example\\@evil.example/x",
        "https://r.example/a b",
        "https://r.example/\r\nX: y",
        "https://r.example:99999/x",
        "https://r.example:0/x",
        "r.example/x",
        "",
    ],
)
def test_an_address_that_is_not_plainly_http_is_refused(text: str) -> None:
    with pytest.raises(RegistryError):
        parse_url(text)


def test_signatures_are_not_shown() -> None:
    assert shown(parse_url("https://r.example:1/x?X-Amz-Signature=secret")) == "https://r.example:1/x"


def test_urls_of_a_model() -> None:
    address = RegistryAddress.of(ModelName.parse("localhost:5000/me/m:t"), insecure=True)
    assert address.manifest("t") == "http://localhost:5000/v2/me/m/manifests/t"
    assert address.blob("sha256:x") == "http://localhost:5000/v2/me/m/blobs/sha256:x"
    assert RegistryAddress.of(ModelName.parse("m"), insecure=False).uploads() == (
        "https://registry.ollama.ai/v2/library/m/blobs/uploads/"
    )


def test_plain_http_has_to_be_asked_for() -> None:
    check_scheme("http://h/n/m", insecure=True)
    check_scheme("https://h/n/m", insecure=False)
    with pytest.raises(InvalidRequest, match="insecure protocol http"):
        check_scheme("http://h/n/m", insecure=False)


def test_proxies_are_those_of_the_scheme_and_never_for_this_machine() -> None:
    proxies = {"https": "http://me:p%40ss@proxy.corp:3128", "all": "other:1"}
    proxy = proxy_for(parse_url("https://r.example/x"), proxies)
    assert proxy is not None
    assert (proxy.hostname, proxy.port) == ("proxy.corp", 3128)
    assert authorization(proxy) == {"Proxy-Authorization": "Basic bWU6cEBzcw=="}
    other = proxy_for(parse_url("http://r.example/x"), proxies)
    assert other is not None
    assert other.netloc == "other:1"
    assert authorization(other) == {}
    for local in ("https://localhost:1/x", "https://127.0.0.1/x"):
        assert proxy_for(parse_url(local), proxies) is None
    assert proxy_for(parse_url("https://r.example/x"), {}) is None


def test_the_environment_says_which_hosts_need_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.corp:3128")
    monkeypatch.setenv("no_proxy", ".intern.example")
    assert proxy_for(parse_url("https://r.example/x")) is not None
    assert proxy_for(parse_url("https://r.intern.example/x")) is None
