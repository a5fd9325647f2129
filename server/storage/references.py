"""Which blobs something in the store still needs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from server.storage.manifests import MAX_MANIFEST_BYTES, manifest_files, read_manifest
from server.storage.paths import StorePaths

_DIGEST = re.compile(rb"sha256[:-]([0-9a-fA-F]{64})")


class References(msgspec.Struct, frozen=True):
    """What is in use.

    Attributes:
        digests: blobs that a file in a manifest tree names.
        unreadable: manifests whose blobs cannot be told; while there are any, no blob may be removed.
    """

    digests: frozenset[str]
    unreadable: tuple[Path, ...]


def find_references(paths: StorePaths) -> References:
    """Read every manifest tree of the store.

    Trees beside `manifests` whose names begin the same are of newer versions of Ollama; they, and files that
    are no manifests, are searched for digests as text, so that an unknown form still protects its blobs.
    """
    digests: set[str] = set()
    unreadable: list[Path] = []

    def on_error(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            unreadable.append(Path(error.filename or paths.root))

    for _, path in manifest_files(paths):
        try:
            digests |= read_manifest(path).digests
        except OSError as error:
            # One that is not found was removed meanwhile, by Ollama for instance, and needs nothing any more.
            on_error(error)
        except ValueError:
            unreadable.append(path)
    for tree in _trees(paths.root, on_error):
        for folder, _, files in os.walk(tree, onerror=on_error):
            for file in files:
                try:
                    digests |= _digests_in(Path(folder, file))
                except OSError as error:
                    on_error(error)
    return References(frozenset(digests), tuple(unreadable))


def _trees(root: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    try:
        return [Path(e.path) for e in os.scandir(root) if e.name.startswith("manifest") and e.is_dir()]
    except OSError as error:
        on_error(error)
        return []


def _digests_in(path: Path) -> set[str]:
    with path.open("rb") as file:
        raw = file.read(MAX_MANIFEST_BYTES)
    return {f"sha256:{match.decode().lower()}" for match in _DIGEST.findall(raw)}
