"""Makes a draft of a prompt: reads the files that it names by "@path" and the pictures named by path."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from olla_tui.files.media import attach_files, paths_in, read_media
from olla_tui.state.drafts import Draft, MediaPart, TextFile
from server.errors import InvalidRequest

MAX_FILE_BYTES = 256 * 1024
MAX_ALL_BYTES = 1024 * 1024
MAX_NAMED = 20

MEDIA_ENDINGS = frozenset((".jpg", ".jpeg", ".png", ".webp", ".wav"))

_NAMED = re.compile(r'(?:^|(?<=\s))@(?:"([^"\n]+)"|(\S+))')
_TRAILING = ".,;:!?)]}'\""


def names_files(text: str) -> bool:
    """Whether a prompt may name files, so that the disk has to be looked at."""
    return bool(_NAMED.search(text) or paths_in(text))


def make_draft(text: str, root: Path, pasted: Mapping[str, MediaPart] = MappingProxyType({})) -> Draft:
    """Read what a prompt names. "@" before what is no file is left alone; a picture's bare path goes.

    Args:
        pasted: pictures that were pasted, by the names that the prompt has for them.
    Raises: InvalidRequest for a file that is too large or no text, InvalidImage for a bad picture.
    """
    files: dict[str, TextFile] = {}
    media: dict[str, MediaPart] = {}
    for match in _NAMED.finditer(text):
        if (match[2] or "").rstrip(_TRAILING) in pasted:
            name = match[2].rstrip(_TRAILING)
            media[name] = pasted[name]
            continue
        name = match[1] or _existing(match[2], root)
        path = root / os.path.expanduser(name)
        if path.is_dir() and match[1] is None and not name.endswith("/"):
            continue
        if not path.exists():
            continue
        if path.suffix.lower() in MEDIA_ENDINGS:
            media[name] = MediaPart(name, read_media(path))
        else:
            files[name] = TextFile(name, read_text(path, name))
        if len(files) + len(media) > MAX_NAMED:
            raise InvalidRequest(f"a prompt may name {MAX_NAMED} files", hint="Name fewer.")
    if sum(len(file.text) for file in files.values()) > MAX_ALL_BYTES:
        raise InvalidRequest(f"the named files have more than {MAX_ALL_BYTES // 1024} kB", hint="Name fewer.")
    bare = attach_files(text)
    named = [Path(note.partition("'")[2].rstrip("'")).name for note in bare.notes]
    media.update((name, MediaPart(name, data)) for name, data in zip(named, bare.files, strict=True))
    return Draft(bare.text, tuple(files.values()), tuple(media.values()))


def _existing(name: str, root: Path) -> str:
    """The name without what belongs to the sentence around it."""
    while name and not (root / os.path.expanduser(name)).exists() and name[-1] in _TRAILING:
        name = name[:-1]
    return name


def read_text(path: Path, name: str) -> str:
    """The text of a file. Raises: InvalidRequest when it is too large, no file, or no text."""
    if not path.is_file():
        raise InvalidRequest(f"@{name} is no file", hint="Name a file in it.")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"@{name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidRequest(
            f"@{name} has more than {MAX_FILE_BYTES // 1024} kB", hint="Paste the part that matters."
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidRequest(
            f"@{name} is a binary file", hint="Text, JPEG, PNG, WebP and WAV files are taken."
        )
    return text
