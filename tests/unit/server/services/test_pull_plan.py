from __future__ import annotations

import json
from typing import Any

import pytest

from server.errors import RegistryError
from server.services.pull_plan import MAX_LAYERS, plan_pull

A, B = ("sha256:" + digit * 64 for digit in "ab")


def manifest(layers: list[dict[str, Any]], config: dict[str, Any] | None = None) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": config or layer(B, 2), "layers": layers}).encode()


def layer(digest: str, size: Any, kind: str = "model") -> dict[str, Any]:
    return {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": digest, "size": size}


def refusal(raw: bytes) -> str:
    with pytest.raises(RegistryError) as caught:
        plan_pull(raw, "me/m")
    return caught.value.message


def test_cve_2025_0315_a_blob_that_is_named_twice_is_fetched_once_and_the_config_last() -> None:
    plan = plan_pull(manifest([layer(A, 5), layer(A, 5, "draft")]), "me/m")
    assert [(item.digest, item.size_bytes) for item in plan.layers] == [(A, 5), (B, 2)]
    assert plan.total_bytes == 7


@pytest.mark.parametrize(
    "digest",
    [
        "sha256:../../../../etc/passwd",
        "../" * 20 + "etc/passwd",
        "sha256:" + "a" * 63,
        "sha256:" + "a" * 64 + "/../x",
        "sha256-" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha512:" + "a" * 128,
        "sha256:" + "a" * 64 + "\n",
    ],
)
def test_cve_2024_37032_a_digest_of_another_form_is_refused(digest: str) -> None:
    assert "is no digest" in refusal(manifest([layer(digest, 5)])) or "cannot be read" in refusal(
        manifest([layer(digest, 5)])
    )


def test_a_digest_cannot_hide_behind_another_spelling_of_its_key() -> None:
    raw = (
        manifest([layer(A, 5)])
        .replace(b'"digest"', b'"Digest"', 1)
        .replace(A.encode(), b"sha256-" + b"a" * 64)
    )
    assert "digest" in refusal(raw)


@pytest.mark.parametrize("size", [-1, 1 << 50])
def test_cve_2025_0315_a_length_that_cannot_be_meant_is_refused(size: int) -> None:
    assert "bytes" in refusal(manifest([layer(A, size)]))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"layers":[' * 50_000]
)
def test_cve_2025_0315_what_is_no_manifest_or_too_deep_is_refused(raw: bytes) -> None:
    assert refusal(raw)


def test_cve_2025_0315_a_manifest_of_too_many_layers_is_refused() -> None:
    layers = [layer(f"sha256:{i:064x}", 1) for i in range(MAX_LAYERS + 1)]
    assert "layers" in refusal(manifest(layers))


def test_a_blob_has_one_length() -> None:
    assert "two lengths" in refusal(manifest([layer(A, 5), layer(A, 6)]))


def test_a_layer_without_a_digest_is_told_in_ollamas_words() -> None:
    assert refusal(manifest([layer("", 5)])) == "me/m: digest is empty"


def test_a_model_of_tensors_is_refused_before_gigabytes_come() -> None:
    assert refusal(manifest([layer(A, 5, "tensor")])).startswith("this model requires MLX support")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"layers": null}',
        b'{"layers": {"0": {}}}',
        b'{"layers": [null], "config": null}',
        b'{"layers": [[]]}',
        b'{"layers": [{"digest": []}]}',
        b'{"config": []}',
    ],
)
def test_cve_2025_1975_a_manifest_with_something_else_in_a_place_is_refused(raw: bytes) -> None:
    assert refusal(raw)
