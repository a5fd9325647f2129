"""Manifests: which blobs make up a model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from server.errors import InvalidModelName, InvalidRequest
from server.storage import gojson
from server.storage.paths import StorePaths, normal_digest
from server.types.names import ModelName

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_PREFIX = "application/vnd.ollama.image."

# A manifest is some kilobytes; one of a model of thousands of tensors, a megabyte.
MAX_MANIFEST_BYTES = 1 << 24
# Go's decoder reads 512 bytes, then 2 n + 512 more as long as the value has not ended.
_FIRST_READ_BYTES = 512


class Layer(msgspec.Struct, frozen=True):
    """A blob in a role.

    Attributes:
        kind: last part of the media type: "model", "template", ...; the whole type when it is not Ollama's.
        digest: "sha256:" and 64 hex digits.
        source: model or file that it came from, "" for none.
        name: path of a tensor or file inside a model of many blobs.
    """

    kind: str
    digest: str
    size_bytes: int
    source: str = ""
    name: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """A manifest file.

    Attributes:
        config_digest: "" when it names none.
        digest: of the file, as Ollama shows it: 64 hex digits.
        modified_at: Unix time, seconds.
    """

    config_digest: str
    config_size_bytes: int
    layers: tuple[Layer, ...]
    digest: str
    modified_at: float

    @property
    def size_bytes(self) -> int:
        """All layers and the config."""
        return self.config_size_bytes + sum(layer.size_bytes for layer in self.layers)

    @property
    def digests(self) -> frozenset[str]:
        """All blobs that it names."""
        return frozenset(d for d in (self.config_digest, *(x.digest for x in self.layers)) if d)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest as leniently as Ollama does.

    Raises: OSError when it cannot be read, ValueError when it is none.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_MANIFEST_BYTES + 1)
        modified_at = os.fstat(file.fileno()).st_mtime
    return parse_manifest(raw, modified_at)


def parse_manifest(raw: bytes, modified_at: float = 0.0) -> Manifest:
    """The manifest in these bytes. Raises: ValueError when they are none."""
    if len(raw) > MAX_MANIFEST_BYTES:
        raise ValueError("too large")
    value, n_bytes = gojson.decode_first(raw)
    fields = gojson.folded(value)
    config = _read_layer(fields.get("config"))
    return Manifest(
        config_digest=config.digest,
        config_size_bytes=config.size_bytes,
        layers=tuple(_read_layer(layer) for layer in gojson.list_field(fields, "layers")),
        digest=shown_digest(raw, n_bytes),
        modified_at=modified_at,
    )


def shown_digest(raw: bytes, n_json_bytes: int) -> str:
    """The digest by which Ollama knows a manifest: of all bytes that Go's decoder read until the value ended.

    Usually that is the whole file; when the value ends exactly where a read ends, the newline is left out.
    """
    n_read, buffer = _FIRST_READ_BYTES, _FIRST_READ_BYTES
    while n_read < n_json_bytes:
        buffer = 2 * buffer + _FIRST_READ_BYTES
        n_read = buffer
    return hashlib.sha256(raw[:n_read]).hexdigest()


def encode_manifest(config: Layer, layers: tuple[Layer, ...]) -> bytes:
    """The bytes that Ollama would write."""
    return gojson.encode(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _layer_object(CONFIG_TYPE, config),
            "layers": [_layer_object(_media_type(layer.kind), layer) for layer in layers],
        }
    )


def manifest_files(paths: StorePaths) -> Iterator[tuple[ModelName, Path]]:
    """Every file that stands where a manifest does and has a valid name; hidden and foreign ones do not.

    What vanishes while it is looked at is skipped.
    """
    for parts, entry in manifest_entries(paths):
        try:
            name = ModelName(*parts)
            if entry.is_file():
                yield name, Path(entry.path)
        except (InvalidModelName, OSError):
            continue


def manifest_entries(paths: StorePaths) -> Iterator[tuple[tuple[str, str, str, str], os.DirEntry[str]]]:
    """Everything that stands where manifests do, with the four parts of what would be its name."""
    for host in _subfolders(paths.manifests):
        for namespace in _subfolders(host):
            for model in _subfolders(namespace):
                for entry in _entries(model):
                    yield (host.name, namespace.name, model.name, entry.name), entry


def _read_layer(value: object) -> Layer:
    fields = gojson.folded(value)
    digest = gojson.text_field(fields, "digest")
    if digest:
        try:
            digest = normal_digest(digest)
        except InvalidRequest as error:
            raise ValueError(f"{digest!r} is no digest") from error
    return Layer(
        kind=gojson.text_field(fields, "mediaType").removeprefix(LAYER_PREFIX),
        digest=digest,
        size_bytes=gojson.int_field(fields, "size"),
        source=gojson.text_field(fields, "from"),
        name=gojson.text_field(fields, "name"),
    )


def _layer_object(media_type: str, layer: Layer) -> dict[str, object]:
    value: dict[str, object] = {
        "mediaType": media_type,
        "digest": layer.digest,
        "size": layer.size_bytes,
    }
    if layer.source:
        value["from"] = layer.source
    if layer.name:
        value["name"] = layer.name
    return value


def _media_type(kind: str) -> str:
    return kind if "/" in kind or not kind else LAYER_PREFIX + kind


def _entries(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _subfolders(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    return [entry for entry in _entries(folder) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return not entry.name.startswith(".") and entry.is_dir()
    except OSError:
        return False
