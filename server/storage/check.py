"""Checking a store: every manifest reads, every blob that it names is there and has the bytes of its name.

Nothing is changed and no lock is taken: other programs may go on. What seems wrong while a model is replaced
is looked at again before it is told.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from pathlib import Path, PurePosixPath

from server.errors import BadModelFile, InvalidModelName, OllaError
from server.gguf.reader import is_gguf, read_header
from server.prompts.template import go_template
from server.storage.blobs import digest_of_name, read_blob
from server.storage.config import read_config
from server.storage.manifests import Layer, Manifest, read_manifest
from server.storage.paths import StorePaths
from server.storage.texts import read_messages, read_params
from server.types.names import ModelName
from server.types.options import parse_options
from server.types.upkeep import CheckProgress, Fault

_PIECE_BYTES = 1 << 20
_REPORT_BYTES = 1 << 26  # progress between two reports within a blob
_MAX_TEXT_BYTES = 1 << 26
_MANIFEST_DEPTH = 4
_GGUF_KINDS = frozenset({"model", "projector", "adapter", "draft"})

_AGAIN = "Pull or create the model again, or remove it with `olla rm {model}`."

_Steps = Generator[CheckProgress, None, None]


def check_store(paths: StorePaths, *, quick: bool = False) -> _Steps:
    """Yield how far the check is, and each fault as it is found.

    Args:
        quick: do not read the blobs to compare their bytes with their names.
    """
    yield CheckProgress(status="reading manifests")
    users: dict[str, list[str]] = {}
    for path in _files_below(paths.manifests):
        for fault in _manifest_faults(paths, path, users):
            yield CheckProgress(status="reading manifests", fault=fault)
    blobs: list[tuple[Path, str, int]] = []
    for path in _entries(paths.blobs):
        digest = digest_of_name(path.name)
        if (wrong := _name_fault(paths, path, digest, users)) is not None:
            yield CheckProgress(status="reading blobs", fault=wrong)
        elif digest is not None and (size := _size_of(path)) is not None:
            blobs.append((path, digest, size))
    if not quick:
        yield from _compare(paths, blobs, users)


def _manifest_faults(paths: StorePaths, path: Path, users: dict[str, list[str]]) -> list[Fault]:
    """What is wrong with a file in the tree of manifests; `users` learns which model needs which blob."""
    relative = PurePosixPath(path.relative_to(paths.manifests))
    place = path.relative_to(paths.root).as_posix()
    try:
        name = ModelName.from_path(relative).display()
    except InvalidModelName:
        depth = len(relative.parts)
        effect = " and keeps Ollama from cleaning up" if depth == _MANIFEST_DEPTH else ""
        what = f"is no manifest{effect}"
        return [Fault(severity="warning", place=place, what=what, advice="Remove it.")]
    try:
        manifest = read_manifest(path)
    except FileNotFoundError:
        if not path.is_symlink():
            return []  # removed meanwhile
        advice = "Remove it: Ollama answers no request while it is there."
        return [
            Fault(severity="error", place=place, what="is a link to nothing", models=(name,), advice=advice)
        ]
    except (OSError, ValueError) as error:
        what = f"the manifest cannot be read: {error}"
        return [_broken(place, what, name)]
    for digest in manifest.digests:
        users.setdefault(digest, []).append(name)
    faults = _layer_faults(paths, place, name, manifest)
    return faults if not faults or _is_unchanged(path, manifest) else []


def _layer_faults(paths: StorePaths, place: str, name: str, manifest: Manifest) -> list[Fault]:
    faults = []
    config = Layer("config", manifest.config_digest, manifest.config_size_bytes)
    for layer in (config, *manifest.layers):
        what = _layer_fault(paths, layer) if layer.digest else f"the {layer.kind} layer has no digest"
        if what:
            faults.append(_broken(place, what, name))
    return faults


def _layer_fault(paths: StorePaths, layer: Layer) -> str:
    """What is wrong with a blob in its role, "" when nothing is."""
    path = paths.blob(layer.digest)
    blob = f"the {layer.kind} layer, {path.name},"
    size = _size_of(path)
    if size is None:
        return f"{blob} is missing"
    if size != layer.size_bytes:
        return f"{blob} has {size} bytes instead of {layer.size_bytes}"
    try:
        _read_layer(paths, layer)
    except OllaError as error:
        return f"{blob} does not read: {error.message}"
    except ValueError as error:
        return f"{blob} does not read: {error}"
    return ""


def _read_layer(paths: StorePaths, layer: Layer) -> None:
    """Read a layer as a request would. Raises: OllaError, ValueError."""
    match layer.kind:
        case "config":
            read_config(read_blob(paths, layer.digest, _MAX_TEXT_BYTES))
        case "template" | "prompt":
            go_template(read_blob(paths, layer.digest, _MAX_TEXT_BYTES).decode("utf-8", "replace"))
        case "params":
            parse_options(read_params(read_blob(paths, layer.digest, _MAX_TEXT_BYTES)))
        case "messages":
            read_messages(read_blob(paths, layer.digest, _MAX_TEXT_BYTES))
        case kind if kind in _GGUF_KINDS and is_gguf(paths.blob(layer.digest)):
            read_header(paths.blob(layer.digest))
        case kind if kind in _GGUF_KINDS:
            raise BadModelFile("it is not a GGUF file")


def _name_fault(
    paths: StorePaths, path: Path, digest: str | None, users: dict[str, list[str]]
) -> Fault | None:
    """What is wrong with an entry of the folder of blobs, before its bytes are looked at."""
    place = path.relative_to(paths.root).as_posix()
    if digest is not None and _size_of(path) is None and (path.is_symlink() or path.exists()):
        return Fault(
            severity="error" if digest in users else "warning",
            place=place,
            what="is no file of its own" if path.is_symlink() else "is no file",
            models=tuple(users.get(digest, ())),
            advice="Put the file itself there.",
        )
    if digest is None and path.name.startswith("sha256:"):
        what = "has the name of an old version"
        advice = "Rename it to begin with `sha256-`; Ollama does so when it starts."
        return Fault(severity="warning", place=place, what=what, advice=advice)
    return None


def _compare(paths: StorePaths, blobs: list[tuple[Path, str, int]], users: dict[str, list[str]]) -> _Steps:
    """Read all blobs and compare their digests with their names."""
    total = sum(size for _, _, size in blobs)
    done = 0
    for path, digest, size in blobs:
        what = ""
        try:
            if (yield from _digest_of_file(path, total, done)) != digest:
                what = "its bytes are not those of its name"
        except FileNotFoundError:
            pass  # removed meanwhile
        except OSError as error:
            what = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
        done += size
        yield _progress(total, done, _blob_fault(paths, path, what, digest, users) if what else None)


def _digest_of_file(path: Path, total: int, done: int) -> Generator[CheckProgress, None, str]:
    """Digest of a file, telling how far the reading is. Raises: OSError."""
    hasher = hashlib.sha256()
    n_read = n_told = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            hasher.update(piece)
            n_read += len(piece)
            if n_read - n_told >= _REPORT_BYTES:
                n_told = n_read
                yield _progress(total, min(done + n_read, total))
    return f"sha256:{hasher.hexdigest()}"


def _blob_fault(paths: StorePaths, path: Path, what: str, digest: str, users: dict[str, list[str]]) -> Fault:
    models = tuple(users.get(digest, ()))
    advice = (
        f"Remove it and pull or create {', '.join(models)} again."
        if models
        else "Remove it: no model needs it, and one that would is better made of whole bytes."
    )
    place = path.relative_to(paths.root).as_posix()
    return Fault(severity="error", place=place, what=what, models=models, advice=advice)


def _broken(place: str, what: str, model: str) -> Fault:
    advice = _AGAIN.format(model=model)
    return Fault(severity="error", place=place, what=what, models=(model,), advice=advice)


def _progress(total: int, done: int, fault: Fault | None = None) -> CheckProgress:
    return CheckProgress(status="reading blobs", total_bytes=total, completed_bytes=done, fault=fault)


def _is_unchanged(path: Path, manifest: Manifest) -> bool:
    try:
        return read_manifest(path).digest == manifest.digest
    except (OSError, ValueError):
        return False


def _size_of(path: Path) -> int | None:
    """Size of a regular file; None for anything else."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, file) for file in sorted(files))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
