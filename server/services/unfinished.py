"""Downloads that did not come to their end, olla's own and those of an Ollama, as they are listed."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from server.storage.ollama_partials import OllamaPartial, list_ollama_partials
from server.storage.partials import PartialBlob, list_partials
from server.storage.paths import StorePaths
from server.types.transfers import PartialDownload

_BLOCK_BYTES = 512  # unit of st_blocks


def list_downloads(paths: StorePaths) -> tuple[PartialDownload, ...]:
    """All unfinished downloads of a store, olla's own first, by digest."""
    own = [partial_download(partial) for partial in list_partials(paths)]
    return (*own, *(ollama_download(partial) for partial in list_ollama_partials(paths)))


def partial_download(partial: PartialBlob) -> PartialDownload:
    """An unfinished blob of olla's own."""
    return PartialDownload(
        digest=partial.digest,
        model=partial.model,
        total_bytes=partial.total_bytes,
        completed_bytes=partial.completed_bytes,
        size_bytes=_disk_bytes(partial.files),
        modified_at=partial.modified_at,
        is_in_use=partial.is_in_use,
    )


def ollama_download(partial: OllamaPartial) -> PartialDownload:
    """An unfinished blob of an Ollama; it notes no model."""
    return PartialDownload(
        digest=partial.digest,
        total_bytes=partial.total_bytes,
        completed_bytes=partial.completed_bytes,
        size_bytes=_disk_bytes(partial.files),
        modified_at=partial.modified_at,
        program="Ollama",
    )


def _disk_bytes(files: Iterable[Path]) -> int:
    n_blocks = 0
    for file in files:
        with suppress(FileNotFoundError):
            n_blocks += file.lstat().st_blocks
    return n_blocks * _BLOCK_BYTES
