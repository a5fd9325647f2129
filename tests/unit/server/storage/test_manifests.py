"""Manifests: reading, writing and the digest by which Ollama shows them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from server.storage.manifests import CONFIG_TYPE, Layer, encode_manifest, manifest_files, read_manifest
from server.storage.paths import StorePaths

STORE = Path(__file__).parents[3] / "data" / "store"
LIBRARY = STORE / "manifests/registry.ollama.ai/library"


@pytest.mark.parametrize(
    ("model", "digest", "size_bytes"),
    [
        ("spark", "6524526634ed8a46e939a758270b93b0e667603d811f5176bf2d4c226521202e", 6272538),
        ("plain", "24a21554700e49a3d09bdb665b56224b49b518c6a98bcf6ea691c7d2b6713ef4", 6268942),
        ("native", "f4e1bf10456fe7f350a6140ac92ced4f2f54132159d265162277aafbd59f5e74", 11677749),
        ("minilm", "2670b25abb73f65745ef608dcb1a7f5250d0d995dcdbfc5ea50dd18889f7e080", 25285461),
    ],
)
def test_reads_what_ollama_wrote(model: str, digest: str, size_bytes: int) -> None:
    manifest = read_manifest(LIBRARY / model / "latest")
    assert manifest.digest == digest
    assert manifest.size_bytes == size_bytes


@pytest.mark.parametrize("model", ["spark", "plain", "native", "minilm"])
def test_writes_the_bytes_that_ollama_wrote(model: str) -> None:
    path = LIBRARY / model / "latest"
    manifest = read_manifest(path)
    config = Layer(CONFIG_TYPE, manifest.config_digest, manifest.config_size_bytes)
    assert encode_manifest(config, manifest.layers) == path.read_bytes()


@pytest.mark.parametrize("n_bytes", [1, 511, 512, 513, 1535, 1536, 1537, 3584, 3585])
def test_digest_covers_what_gos_decoder_has_read(tmp_path: Path, n_bytes: int) -> None:
    """Go reads 512 bytes, then up to 1536, then to 3584; a newline behind a full read is not hashed."""
    body = '{"x":""}' if n_bytes >= 8 else "0"
    text = body.replace('""', f'"{"a" * (n_bytes - 8)}"') if n_bytes >= 8 else body
    assert len(text) == n_bytes
    path = tmp_path / "latest"
    path.write_text(text + "\n")
    covered = text if n_bytes in (512, 1536, 3584) else text + "\n"
    if n_bytes == 1:
        path.write_text('{"config":null}\n')
        covered = '{"config":null}\n'
    assert read_manifest(path).digest == hashlib.sha256(covered.encode()).hexdigest()


def test_reads_as_leniently_as_go(tmp_path: Path) -> None:
    path = tmp_path / "latest"
    digest = "a" * 64
    layer = {
        "MEDIATYPE": "application/vnd.ollama.image.model",
        "Digest": f"sha256-{digest}",
        "size": 5,
        "more": 1,
    }
    path.write_text(" " + json.dumps({"Layers": [layer], "config": None}) + " and more")
    manifest = read_manifest(path)
    assert manifest.layers == (Layer("model", f"sha256:{digest}", 5),)
    assert manifest.config_digest == ""
    assert manifest.digests == {f"sha256:{digest}"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"layers": {}}',
        '{"layers": [5]}',
        '{"layers": [{"digest": "sha256:short"}]}',
        '{"layers": [{"digest": "../../etc/passwd"}]}',
        '{"config": {"size": "big"}}',
    ],
)
def test_refuses_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    path = tmp_path / "latest"
    path.write_text(text)
    with pytest.raises(ValueError):
        read_manifest(path)


def test_hidden_and_foreign_files_are_no_manifests(tmp_path: Path) -> None:
    folder = tmp_path / "manifests/registry.ollama.ai/library/m"
    folder.mkdir(parents=True)
    for name in ("latest", ".DS_Store", ".latest.tmp", "x~", "a b"):
        (folder / name).write_text("{}")
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "manifests/stray").write_text("x")
    (tmp_path / "manifests/registry.ollama.ai/dotted.namespace/m").mkdir(parents=True)
    (tmp_path / "manifests/registry.ollama.ai/dotted.namespace/m/latest").write_text("{}")
    found = [name.display() for name, _ in manifest_files(StorePaths(tmp_path))]
    assert found == ["m:latest"]


def test_no_store_has_no_manifests(tmp_path: Path) -> None:
    assert list(manifest_files(StorePaths(tmp_path / "nowhere"))) == []
