"""The files of a download that an Ollama has begun, as it leaves them when it is killed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path


def begin_download(
    blobs: Path, blob: bytes, parts: Sequence[tuple[int, int, int]], *, fill: bytes | None = None
) -> Path:
    """Write them; returns the file of the bytes.

    Args:
        parts: offset, size and how much of it has come.
        fill: what came in the place of the blob's own bytes.
    """
    blobs.mkdir(parents=True, exist_ok=True)
    data = blobs / f"sha256-{hashlib.sha256(blob).hexdigest()}-partial"
    with data.open("wb") as file:
        file.truncate(len(blob))
        for number, (offset, size, completed) in enumerate(parts):
            file.seek(offset)
            file.write((fill or blob)[offset : offset + completed])
            part = {"N": number, "Offset": offset, "Size": size, "Completed": completed}
            data.with_name(f"{data.name}-{number}").write_text(json.dumps(part) + "\n")
    return data
