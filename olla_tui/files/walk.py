"""Files below a folder, for completion: a bounded walk that looks into no hidden or generated folder."""

from __future__ import annotations

import os
from pathlib import Path

MAX_FILES = 5000
MAX_FOLDERS = 2000
MAX_DEPTH = 12

SKIPPED = frozenset(("node_modules", "__pycache__", "venv", "target", "dist", "build", "site-packages"))


def list_files(root: Path, *, max_files: int = MAX_FILES) -> list[str]:
    """Paths of files below a folder, relative to it, those of higher folders first; at most `max_files`.

    Folders that cannot be read are left out, links to folders are not followed.
    """
    found: list[str] = []
    level = [""]
    n_folders = 0
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for folder in level:
            n_folders += 1
            if n_folders > MAX_FOLDERS:
                return found
            files, folders = _entries(root, folder)
            found += files[: max_files - len(found)]
            if len(found) >= max_files:
                return found
            below += folders
        level = below
    return found


def _entries(root: Path, folder: str) -> tuple[list[str], list[str]]:
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}{entry.name}"
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED:
                        folders.append(f"{name}/")
                elif entry.is_file():
                    files.append(name)
    except OSError:
        return sorted(files), sorted(folders)
    return sorted(files), sorted(folders)


def list_beside(typed: str, root: Path) -> list[str]:
    """Entries of the folder that a typed path stands in, written as it is; folders end with a slash."""
    folder, slash, _ = typed.rpartition("/")
    place = Path(os.path.expanduser(f"{folder}{slash}") or ".")
    files, folders = _entries(root / place, "")
    return [f"{folder}{slash}{name}" for name in (*folders, *files)][:MAX_FILES]
