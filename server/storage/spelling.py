"""Names that differ only in case are one model: which spelling is in the store already."""

from __future__ import annotations

import os
from pathlib import Path

from server.storage.manifests import manifest_files
from server.storage.paths import StorePaths
from server.types.names import ModelName


def stored_spelling(paths: StorePaths, name: ModelName) -> ModelName:
    """A name as it is stored.

    A model of that very name comes first, then one that differs only in case. Without one, host, namespace
    and model take the spelling of folders that are there, from the left as far as they agree.
    """
    if paths.manifest(name).is_file():
        return name
    wanted = name.folded()
    for other, _ in manifest_files(paths):
        if other.folded() == wanted:
            return other
    parts = [name.host, name.namespace, name.model]
    folder = paths.manifests
    for i, part in enumerate(parts):
        spelled = _entry_like(folder, part)
        if spelled is None:
            break
        parts[i] = spelled
        folder = folder / spelled
    host, namespace, model = parts
    return ModelName(host, namespace, model, name.tag)


def _entry_like(folder: Path, part: str) -> str | None:
    """A folder's entry that is the part, or is it without regard to case; None when there is none."""
    try:
        # Beyond ASCII, letters fold to ASCII ones that are no spelling of a valid name.
        names = sorted(filter(str.isascii, os.listdir(folder)))
    except OSError:
        return None
    if part in names:
        return part
    return next((name for name in names if name.lower() == part.lower()), None)
